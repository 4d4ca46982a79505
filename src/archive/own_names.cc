#include "archive/own_names.h"

#include "archive/listing.h"

namespace weir::archive {

namespace {

constexpr std::string_view kPrefix = ".pgweir-";
constexpr std::string_view kSuffix = ".tmp";
constexpr std::string_view kHoleMark = ".pgweir-behind-hole-";

}  // namespace

std::string temporary_name(std::string_view name) {
  return std::string(kPrefix) + std::string(name) + std::string(kSuffix);
}

std::string hole_mark_name(wal::SegmentName segment) {
  return std::string(kHoleMark) + segment.to_string();
}

std::optional<wal::SegmentName> parse_hole_mark(std::string_view name) {
  if (!name.starts_with(kHoleMark)) return std::nullopt;
  return wal::SegmentName::parse(name.substr(kHoleMark.size()));
}

bool is_own_hidden_name(std::string_view name) {
  if (name == kSpareName) return true;
  if (name.size() < kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(kSuffix))
    return false;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  return SegmentFileName::parse(name) || wal::parse_history_name(name);
}

}  // namespace weir::archive
