#include "archive/own_names.h"

#include <fmt/format.h>

#include "archive/listing.h"

namespace weir::archive {

namespace {

constexpr std::string_view kPrefix = ".pgweir-";
constexpr std::string_view kSuffix = ".tmp";
constexpr std::string_view kHoleMark = ".pgweir-behind-hole-";
constexpr std::string_view kDamaged = ".pgweir-damaged-";
constexpr std::string_view kLoss = "loss-";
constexpr std::string_view kAcknowledged = ".ack";
constexpr auto kLastWord = kLastWordName.substr(kPrefix.size());

}  // namespace

std::string temporary_name(std::string_view name) {
  return std::string(kPrefix) + std::string(name) + std::string(kSuffix);
}

std::string loss_record_name(std::string_view id) {
  return std::string(kPrefix) + std::string(kLoss) + std::string(id);
}

std::string loss_acknowledgement_name(std::string_view id) {
  return loss_record_name(id) + std::string(kAcknowledged);
}

std::optional<std::string> parse_loss_record(std::string_view name, bool acknowledgement) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  if (!name.starts_with(kLoss) || name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kLoss.size());
  if (name.ends_with(kAcknowledged) != acknowledgement) return std::nullopt;
  if (acknowledgement) name.remove_suffix(kAcknowledged.size());
  return std::string(name);
}

std::string hole_mark_name(wal::SegmentName segment) {
  return std::string(kHoleMark) + segment.to_string();
}

std::optional<wal::SegmentName> parse_hole_mark(std::string_view name) {
  if (!name.starts_with(kHoleMark)) return std::nullopt;
  return wal::SegmentName::parse(name.substr(kHoleMark.size()));
}

std::string damaged_name(std::string_view file, int number) {
  auto name = std::string(kDamaged) + std::string(file);
  if (number > 1) name += fmt::format("-{}", number);
  return name;
}

std::optional<wal::SegmentName> parse_damaged_name(std::string_view name) {
  if (!name.starts_with(kDamaged)) return std::nullopt;
  name.remove_prefix(kDamaged.size());
  const auto file = SegmentFileName::parse(name.substr(0, name.find('-')));
  return file ? std::optional(file->segment) : std::nullopt;
}

bool is_own_hidden_name(std::string_view name) {
  if (name == kSpareName) return true;
  if (name.size() < kPrefix.size() + kSuffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(kSuffix))
    return false;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  return name.starts_with(kLoss) || name == kLastWord || SegmentFileName::parse(name) ||
         wal::parse_history_name(name);
}

}  // namespace weir::archive
