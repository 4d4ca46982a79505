#include "prune/walg_backup.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/backup_error.h"

namespace weir::prune {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kBase = "base_";
constexpr std::size_t kSegmentDigits = 24;
constexpr std::size_t kFractionDigits = 6;

Error unreadable(const std::string& file, std::string what) {
  return Error(ErrorKind::damage, std::move(what)).with("object", file);
}

/// Without the lists of files that older versions put there: they may be larger than all else.
Json parse_object(std::string_view text, const std::string& file) {
  const auto wanted = [](int depth, Json::parse_event_t event, Json& value) {
    return depth != 1 || event != Json::parse_event_t::key ||
           (value != "Files" && value != "TarFileSets" && value != "DatabasesByNames");
  };
  auto json = Json::parse(text, wanted, false);
  if (!json.is_object()) throw unreadable(file, "not a JSON file of WAL-G");
  return json;
}

/// nullptr: it is not there.
const Json* member(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::uint64_t> number(const Json& json, const char* name, const std::string& file) {
  const auto* const found = member(json, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_number_unsigned())
    throw unreadable(file, fmt::format("its {} is not a number", name));
  return found->get<std::uint64_t>();
}

std::optional<std::string> text_of(const Json& json, const char* name, const std::string& file) {
  const auto* const found = member(json, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) throw unreadable(file, fmt::format("its {} is not a string", name));
  return found->get<std::string>();
}

/// RFC 3339, with up to nine digits of a second.
std::optional<wal::PgTime> time_of(std::string text) {
  const auto point = text.find('.');
  if (point != std::string::npos) {
    const auto end = text.find_first_not_of("0123456789", point + 1);
    const auto digits = (end == std::string::npos ? text.size() : end) - point - 1;
    if (digits > kFractionDigits) text.erase(point + 1 + kFractionDigits, digits - kFractionDigits);
  }
  return wal::PgTime::parse(text);
}

}  // namespace

std::optional<wal::SegmentName> first_segment_of_walg(std::string_view name) {
  if (!name.starts_with(kBase)) return std::nullopt;
  const auto rest =
      name.substr(kBase.size() + std::min(kSegmentDigits, name.size() - kBase.size()));
  if (!rest.empty() && rest.front() != '_') return std::nullopt;
  return wal::SegmentName::parse(name.substr(kBase.size(), kSegmentDigits));
}

archive::BackupPoint parse_walg_sentinel(std::string_view text, std::string_view name,
                                         const std::string& file) {
  const auto json = parse_object(text, file);
  const auto first = first_segment_of_walg(name);
  archive::BackupPoint point;
  point.file = file;
  const auto start = number(json, "LSN", file);
  if (!start || *start == 0) throw unreadable(file, "it has no LSN");
  point.start = wal::Lsn(*start);
  if (first) point.places.push_back({point.start, *first});
  const auto timeline = number(json, "Timeline", file);
  if (timeline && first && *timeline != first->timeline())
    throw archive::backup_contradiction(file, "its Timeline differs from that in its name",
                                        std::to_string(*timeline), std::string(name));
  // Versions before 1.0 have it in the name alone.
  point.timeline = timeline ? static_cast<wal::TimelineId>(*timeline)
                   : first  ? first->timeline()
                            : 0;
  if (point.timeline == 0) throw unreadable(file, "it has no Timeline");
  if (const auto end = number(json, "FinishLSN", file); end && *end != 0) {
    point.end = wal::Lsn(*end);
    point.end_timeline = point.timeline;
    if (*point.end < point.start)
      throw archive::backup_contradiction(file, "it ends before it starts", point.end->to_string(),
                                          point.start.to_string());
  }
  point.system_identifier = number(json, "SystemIdentifier", file).value_or(0);
  if (const auto began = text_of(json, "StartTime", file)) point.began = time_of(*began);
  const auto from = text_of(json, "DeltaFrom", file);
  if (!from) return point;
  const auto base = first_segment_of_walg(*from);
  const auto at = number(json, "DeltaLSN", file);
  if (!base || !at) throw unreadable(file, "it has only one of DeltaFrom and DeltaLSN");
  point.parent = archive::BackupPoint::Parent{base->timeline(), wal::Lsn(*at)};
  return point;
}

WalgMetadata parse_walg_metadata(std::string_view text, const std::string& file) {
  const auto json = parse_object(text, file);
  WalgMetadata metadata;
  if (const auto began = text_of(json, "start_time", file)) metadata.began = time_of(*began);
  if (const auto* const permanent = member(json, "is_permanent")) {
    if (!permanent->is_boolean())
      throw unreadable(file, "its is_permanent is neither true nor false");
    metadata.permanent = permanent->get<bool>();
  }
  return metadata;
}

}  // namespace weir::prune
