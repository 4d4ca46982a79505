#include "store/shelf/open_object.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/text.h"

namespace weir::store {

namespace {

constexpr std::string_view kForm = ".zst";
constexpr std::size_t kSegmentDigits = 24;
constexpr std::size_t kPositionDigits = 16;

bool is_id(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
  });
}

}  // namespace

std::string OpenObject::prefix(const Layout& layout) { return layout.own_key("open/"); }

std::string OpenObject::prefix(const Layout& layout, wal::SegmentName segment) {
  const auto name = segment.to_string();
  return prefix(layout) + name.substr(0, wal::kTimelineDigits) + "/" + name + ".";
}

std::string OpenObject::key(const Layout& layout) const {
  return fmt::format("{}{:016X}.{}{}{}", prefix(layout, segment), end.byte(), id, kForm,
                     encrypted ? kAgeSuffix : std::string_view());
}

std::optional<OpenObject> OpenObject::parse(const Layout& layout, std::string_view key) {
  const auto all = prefix(layout);
  if (!key.starts_with(all)) return std::nullopt;
  auto rest = key.substr(all.size());
  if (rest.size() < wal::kTimelineDigits + 1 + kSegmentDigits) return std::nullopt;
  const auto segment =
      wal::SegmentName::parse(rest.substr(wal::kTimelineDigits + 1, kSegmentDigits));
  if (!segment || !key.starts_with(prefix(layout, *segment))) return std::nullopt;
  rest = key.substr(prefix(layout, *segment).size());
  OpenObject object{.segment = *segment, .end = {}, .id = {}};
  if (rest.ends_with(kAgeSuffix)) {
    object.encrypted = true;
    rest.remove_suffix(kAgeSuffix.size());
  }
  if (!rest.ends_with(kForm)) return std::nullopt;
  rest.remove_suffix(kForm.size());
  if (rest.size() < kPositionDigits + 2 || rest[kPositionDigits] != '.') return std::nullopt;
  const auto end = parse_number<std::uint64_t>(rest.substr(0, kPositionDigits), 16);
  if (!end) return std::nullopt;
  object.end = wal::Lsn(*end);
  object.id = rest.substr(kPositionDigits + 1);
  if (!is_id(object.id) || object.key(layout) != key) return std::nullopt;
  return object;
}

}  // namespace weir::store
