#include "archive/forms.h"

#include <algorithm>
#include <tuple>

namespace weir::archive {

namespace {

FormNames names(wal::SegmentName segment, bool partial) {
  const auto name = [&](codec::Method method) { return SegmentFileName{segment, method, partial}; };
  return std::apply([&](auto... methods) { return FormNames{name(methods)...}; }, kForms);
}

std::size_t place(codec::Method method) {
  return static_cast<std::size_t>(std::find(kForms.begin(), kForms.end(), method) - kForms.begin());
}

}  // namespace

FormNames finished_names(wal::SegmentName segment) { return names(segment, false); }

FormNames partial_names(wal::SegmentName segment) { return names(segment, true); }

std::array<std::pair<std::string, codec::Method>, kForms.size()> history_names(
    wal::TimelineId timeline) {
  std::array<std::pair<std::string, codec::Method>, kForms.size()> names;
  const auto raw = wal::history_name(timeline);
  std::transform(kForms.begin(), kForms.end(), names.begin(), [&](codec::Method method) {
    return std::pair(raw + std::string(codec::suffix(method)), method);
  });
  return names;
}

std::optional<SegmentFileName> find_finished(io::Shelf& directory, wal::SegmentName segment) {
  for (const auto& name : finished_names(segment))
    if (directory.find(name.to_string())) return name;
  return std::nullopt;
}

bool counts_before(const SegmentFileName& one, const SegmentFileName& other) {
  return std::pair(one.partial, place(one.method)) < std::pair(other.partial, place(other.method));
}

void EachSegmentForms::next() {
  forms_.finished.clear();
  forms_.partial.clear();
  over_ = left_.empty();
  if (over_) return;
  const auto segment = left_.front().name.segment;
  for (; !left_.empty() && left_.front().name.segment == segment; left_ = left_.subspan(1)) {
    const auto& entry = left_.front();
    (entry.name.partial ? forms_.partial : forms_.finished).push_back(entry);
  }
  const auto in_order = [](const SegmentEntry& one, const SegmentEntry& other) {
    return counts_before(one.name, other.name);
  };
  for (auto* const forms : {&forms_.finished, &forms_.partial})
    if (forms->size() > 1) std::sort(forms->begin(), forms->end(), in_order);
}

}  // namespace weir::archive
