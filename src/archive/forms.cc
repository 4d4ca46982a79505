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
  std::transform(kForms.begin(), kForms.end(), names.begin(), [&](codec::Method method) {
    return std::pair(wal::history_name(timeline) + std::string(codec::suffix(method)), method);
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

std::vector<SegmentForms> segment_forms(const Listing& listing) {
  std::vector<SegmentForms> segments;
  for (const auto& entry : listing.segments) {
    if (segments.empty() || segments.back().segment() != entry.name.segment)
      segments.emplace_back();
    auto& forms = segments.back();
    (entry.name.partial ? forms.partial : forms.finished).push_back(entry);
  }
  const auto in_order = [](const SegmentEntry& one, const SegmentEntry& other) {
    return counts_before(one.name, other.name);
  };
  for (auto& forms : segments) {
    std::sort(forms.finished.begin(), forms.finished.end(), in_order);
    std::sort(forms.partial.begin(), forms.partial.end(), in_order);
  }
  return segments;
}

}  // namespace weir::archive
