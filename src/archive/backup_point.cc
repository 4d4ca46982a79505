#include "archive/backup_point.h"

#include <algorithm>
#include <vector>

#include "archive/backup_error.h"
#include "base/text.h"

namespace weir::archive {

namespace {

/// So many lines begin with "<name>: ".
std::size_t count_of(std::string_view content, std::string_view name) {
  std::size_t count = 0;
  const auto key = std::string(name) + ": ";
  for (auto at = content.find(key); at != std::string_view::npos; at = content.find(key, at + 1))
    if (at == 0 || content[at - 1] == '\n') ++count;
  return count;
}

/// What follows "<name>: " on its line.
std::optional<std::string_view> field(std::string_view content, std::string_view name) {
  while (!content.empty()) {
    const auto newline = content.find('\n');
    auto line = content.substr(0, newline);
    content = newline == std::string_view::npos ? std::string_view() : content.substr(newline + 1);
    if (!line.starts_with(name) || !line.substr(name.size()).starts_with(": ")) continue;
    line.remove_prefix(name.size() + 2);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  return std::nullopt;
}

/// "0/2000028 (file 000000010000000000000002)"
struct Location {
  std::optional<wal::Lsn> lsn;
  bool has_file = false;
  std::optional<wal::SegmentName> file;
};

Location location(std::string_view text) {
  constexpr std::string_view kFile = " (file ";
  Location read;
  const auto at = text.find(kFile);
  read.lsn = wal::Lsn::parse(text.substr(0, std::min(at, text.size())));
  if (at == std::string_view::npos) return read;
  read.has_file = true;
  auto name = text.substr(at + kFile.size());
  if (!name.ends_with(')')) return read;
  name.remove_suffix(1);
  read.file = wal::SegmentName::parse(name);
  return read;
}

std::optional<wal::TimelineId> timeline(std::string_view text) {
  const auto value = parse_number<wal::TimelineId>(text);
  return value == 0 ? std::nullopt : value;
}

/// "2026-11-20 03:14:15 CET". Names of zones are ambiguous: of one that is not known here the
/// latest time that it can be is taken, that of the zone farthest west.
std::optional<wal::PgTime> time_of(std::string_view text) {
  if (const auto time = wal::PgTime::parse(text)) return time;
  const auto zone = text.rfind(' ');
  if (zone == std::string_view::npos) return std::nullopt;
  return wal::PgTime::parse(std::string(text.substr(0, zone)) + "-12");
}

/// The segment size with which `name` is the segment that has the byte. Of the stop location the
/// name is that of the segment that ends there, too, if the position is a segment's first byte.
bool segment_has(wal::SegmentName name, wal::SegmentSize size, wal::Lsn lsn, bool is_end) {
  if (!name.fits(size)) return false;
  if (size.segno(lsn) == name.segno(size)) return true;
  return is_end && size.offset(lsn) == 0 && name.segno(size) + 1 == size.segno(lsn);
}

/// The segment sizes with which what was read of `places` is true.
std::vector<wal::SegmentSize> possible_sizes(const std::vector<BackupPoint::Place>& places) {
  std::vector<wal::SegmentSize> sizes;
  for (std::uint64_t bytes = 1 << 20; bytes <= std::uint64_t{1} << 30; bytes *= 2) {
    const auto size = wal::SegmentSize::of(bytes);
    if (size && std::all_of(places.begin(), places.end(), [&](const auto& place) {
          return segment_has(place.segment, *size, place.lsn, place.is_end);
        }))
      sizes.push_back(*size);
  }
  return sizes;
}

void require_possible(const BackupPoint& point) {
  if (!possible_sizes(point.places).empty()) return;
  const auto& place = point.places.back();
  throw backup_contradiction(point.file,
                             "with no segment size a segment of this name has this position",
                             place.lsn.to_string(), place.segment.to_string());
}

/// "000000010000000000000002.00000028.backup", at the end of a path.
struct BackupHistoryName {
  wal::SegmentName segment;
  std::uint64_t offset = 0;
};
std::optional<BackupHistoryName> parse_backup_history_name(std::string_view path) {
  constexpr std::size_t kDigits = 24;
  constexpr std::string_view kSuffix = ".backup";
  const auto name = path.substr(path.find_last_of('/') + 1);
  if (name.size() != kDigits + 1 + 8 + kSuffix.size() || !name.ends_with(kSuffix) ||
      name[kDigits] != '.')
    return std::nullopt;
  const auto segment = wal::SegmentName::parse(name.substr(0, kDigits));
  const auto offset = parse_number<std::uint64_t>(name.substr(kDigits + 1, 8), 16);
  if (!segment || !offset) return std::nullopt;
  return BackupHistoryName{*segment, *offset};
}

}  // namespace

void require_agreement(const BackupPoint& point, wal::SegmentSize size) {
  for (const auto& place : point.places)
    if (!segment_has(place.segment, size, place.lsn, place.is_end))
      throw backup_contradiction(
          point.file,
          fmt::format(
              "with segments of {} bytes, as the archive's are, the position lies in another "
              "segment",
              size.bytes()),
          place.lsn.to_string(), place.segment.to_string());
  if (!point.name_offset || size.offset(point.start) == *point.name_offset) return;
  throw backup_contradiction(point.file,
                             "the file's name has another offset than START WAL LOCATION",
                             fmt::format("{:08X}", *point.name_offset), point.start.to_string());
}

BackupPoint parse_backup_label(std::string_view content, const std::string& file) {
  BackupPoint point;
  point.file = file;
  for (const auto* const name : {"START WAL LOCATION", "STOP WAL LOCATION", "CHECKPOINT LOCATION",
                                 "BACKUP METHOD", "BACKUP FROM", "START TIMELINE", "STOP TIMELINE",
                                 "START TIME", "INCREMENTAL FROM LSN", "INCREMENTAL FROM TLI"})
    if (const auto times = count_of(content, name); times > 1)
      throw backup_contradiction(file, fmt::format("{} is there {} times", name, times),
                                 std::string(*field(content, name)), "another line");
  const auto take = [&](std::string_view name, bool is_end) -> std::optional<wal::Lsn> {
    const auto text = field(content, name);
    if (!text) return std::nullopt;
    const auto read = location(*text);
    if (!read.lsn || !read.lsn->valid() || (read.has_file && !read.file))
      throw no_backup_file(file, fmt::format("no backup_label: it has no valid {}", name))
          .with("found", *text);
    if (read.file) point.places.push_back({*read.lsn, *read.file, is_end});
    return read.lsn;
  };
  const auto take_timeline = [&](std::string_view name) -> std::optional<wal::TimelineId> {
    const auto text = field(content, name);
    if (!text) return std::nullopt;
    const auto read = timeline(*text);
    if (!read)
      throw no_backup_file(file, fmt::format("no backup_label: it has no valid {}", name))
          .with("found", *text);
    return read;
  };
  const auto require_same_timeline = [&](std::string_view line, std::optional<wal::TimelineId> told,
                                         std::string_view other, wal::SegmentName name) {
    if (told && *told != name.timeline())
      throw backup_contradiction(file, fmt::format("{} and {} are of two timelines", line, other),
                                 std::to_string(*told), name.to_string());
  };

  const auto start = take("START WAL LOCATION", false);
  if (!start) throw no_backup_file(file, "no backup_label: it has no valid START WAL LOCATION");
  const auto start_file =
      point.places.empty() ? std::nullopt : std::optional(point.places[0].segment);
  // START TIMELINE is there since PostgreSQL 11.
  const auto start_timeline = take_timeline("START TIMELINE");
  if (!start_timeline && !start_file)
    throw no_backup_file(file, "no backup_label: it has no valid START TIMELINE");
  if (start_file)
    require_same_timeline("START TIMELINE", start_timeline, "the file of START WAL LOCATION",
                          *start_file);
  require_possible(point);
  point.timeline = start_timeline.value_or(start_file ? start_file->timeline() : 0);
  point.start = *start;
  point.from_standby = field(content, "BACKUP FROM") == "standby";
  if (const auto began = field(content, "START TIME")) point.began = time_of(*began);
  // Since PostgreSQL 17 (build_backup_content in access/transam/xlogbackup.c): both or neither.
  const auto parent = take("INCREMENTAL FROM LSN", false);
  const auto parent_timeline = take_timeline("INCREMENTAL FROM TLI");
  if (parent.has_value() != parent_timeline.has_value())
    throw no_backup_file(file, "no backup_label: it says only half of what it is incremental to");
  if (parent) point.parent = BackupPoint::Parent{*parent_timeline, *parent};

  // The redo position never lies behind its checkpoint's record (pg_start_backup in
  // access/transam/xlog.c).
  const auto checkpoint = point.checkpoint = take("CHECKPOINT LOCATION", false);
  if (checkpoint && *checkpoint < *start)
    throw backup_contradiction(file, "the checkpoint lies before the start of its own WAL",
                               checkpoint->to_string(), start->to_string());

  const auto places_before = point.places.size();
  if (const auto stop = take("STOP WAL LOCATION", true)) {
    point.end = *stop;
    const auto stop_timeline = take_timeline("STOP TIMELINE");
    if (point.places.size() > places_before)
      require_same_timeline("STOP TIMELINE", stop_timeline, "the file of STOP WAL LOCATION",
                            point.places.back().segment);
    point.end_timeline = stop_timeline.value_or(point.places.size() > places_before
                                                    ? point.places.back().segment.timeline()
                                                    : point.timeline);
    if (*stop < *start)
      throw backup_contradiction(file, "it ends before it starts", start->to_string(),
                                 stop->to_string());
    if (checkpoint && *stop < *checkpoint)
      throw backup_contradiction(file, "it ends before its checkpoint", checkpoint->to_string(),
                                 stop->to_string());
    if (point.end_timeline < point.timeline)
      throw backup_contradiction(file, "it ends on an older timeline than it starts on",
                                 std::to_string(point.timeline),
                                 std::to_string(point.end_timeline));
    require_possible(point);
  } else if (take_timeline("STOP TIMELINE")) {
    throw backup_contradiction(file, "it has a STOP TIMELINE and no STOP WAL LOCATION", "a stop",
                               "none");
  }

  // A backup history file is named after where the backup starts.
  if (const auto name = parse_backup_history_name(file)) {
    point.places.push_back({point.start, name->segment, false});
    point.name_offset = name->offset;
    require_same_timeline("START TIMELINE", point.timeline, "the file's own name", name->segment);
    const auto sizes = possible_sizes(point.places);
    if (std::none_of(sizes.begin(), sizes.end(), [&](wal::SegmentSize size) {
          return size.offset(point.start) == name->offset;
        }))
      throw backup_contradiction(file, "its name says another start than START WAL LOCATION",
                                 fmt::format("{}.{:08X}", name->segment, name->offset),
                                 point.start.to_string());
  }
  return point;
}

}  // namespace weir::archive
