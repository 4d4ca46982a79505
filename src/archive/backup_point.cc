#include "archive/backup_point.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "io/small_file.h"

namespace weir::archive {

namespace {

constexpr std::uint64_t kMostBytes = 1 << 30;  // a manifest has a line for each file of the cluster

Error broken(const std::string& file, std::string what) {
  return Error(ErrorKind::damage, std::move(what))
      .with("file", file)
      .hint(
          "Give a backup_label, a backup history file (<segment>.<offset>.backup), a "
          "backup_manifest, or the directory of a backup.");
}

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
  wal::TimelineId value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) return std::nullopt;
  return value;
}

/// Two places of one file, or of two, that say different things: somebody edited or mixed them, and
/// nobody knows which is right.
Error contradiction(const std::string& file, std::string_view what, const std::string& left,
                    const std::string& right) {
  return Error(ErrorKind::conflict, fmt::format("what a backup says of itself contradicts itself: "
                                                "{}",
                                                what))
      .with("file", file)
      .with("says", left)
      .with("and", right)
      .hint(
          "Nothing was decided by it, and nothing removed. Take the file from the backup itself; "
          "do "
          "not edit it. If it came so out of the backup, say where the backup begins in another "
          "way.");
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
  throw contradiction(point.file, "with no segment size a segment of this name has this position",
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
  const auto digits = name.substr(kDigits + 1, 8);
  std::uint64_t offset = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + 8, offset, 16);
  if (!segment || error != std::errc() || end != digits.data() + 8) return std::nullopt;
  return BackupHistoryName{*segment, offset};
}

BackupPoint parse(std::string_view content, const std::string& file) {
  const auto first = content.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && content[first] == '{')
    return parse_backup_manifest(content, file);
  return parse_backup_label(content, file);
}

/// The first field of ControlFileData (catalog/pg_control.h); 0 if it cannot be read.
std::uint64_t system_identifier_of(const std::string& control_file) {
  std::uint64_t value = 0;
  if (io::type_of(control_file) != io::PathType::file) return 0;
  const auto front = io::read_front(control_file, sizeof(value));
  if (front.size() == sizeof(value)) std::memcpy(&value, front.data(), sizeof(value));
  return value;
}

BackupPoint read_parsed(const std::string& path) {
  return parse(io::read_small_file(path, kMostBytes), path);
}

}  // namespace

BackupPoint read_backup_point(const std::string& path) {
  const auto type = io::type_of(path);
  if (type == io::PathType::nothing)
    throw Error(ErrorKind::usage, "there is no such backup")
        .with("path", path)
        .hint("Give a backup_label, a .backup file, a backup_manifest, or a backup's directory.");
  if (type != io::PathType::directory) return read_parsed(path);

  const auto manifest = path + "/backup_manifest";
  const auto label = path + "/backup_label";
  const bool has_label = io::type_of(label) != io::PathType::nothing;
  const bool has_manifest = io::type_of(manifest) != io::PathType::nothing;
  if (!has_label && !has_manifest)
    throw Error(ErrorKind::usage, "the directory has neither backup_manifest nor backup_label")
        .with("path", path)
        .hint(
            "Give the directory of a plain backup that no server was started in, or the "
            "backup_label from inside a tar backup.");
  auto point = read_parsed(has_manifest ? manifest : label);
  const auto control = system_identifier_of(path + "/global/pg_control");
  if (point.system_identifier == 0)
    point.system_identifier = control;
  else if (control != 0 && control != point.system_identifier)
    throw contradiction(path, "backup_manifest and global/pg_control are of two clusters",
                        std::to_string(point.system_identifier), std::to_string(control));
  if (has_manifest && has_label) {
    // The manifest has the end, the label has the rest.
    const auto other = read_parsed(label);
    if (other.start != point.start || other.timeline != point.timeline)
      throw contradiction(path, "backup_manifest and backup_label start at two places",
                          fmt::format("{} on timeline {}", point.start, point.timeline),
                          fmt::format("{} on timeline {}", other.start, other.timeline));
    point.from_standby = other.from_standby;
    point.checkpoint = other.checkpoint;
    point.places = other.places;
  }
  return point;
}

void require_agreement(const BackupPoint& point, wal::SegmentSize size) {
  for (const auto& place : point.places)
    if (!segment_has(place.segment, size, place.lsn, place.is_end))
      throw contradiction(
          point.file,
          fmt::format(
              "with segments of {} bytes, as the archive's are, the position lies in another "
              "segment",
              size.bytes()),
          place.lsn.to_string(), place.segment.to_string());
  if (!point.name_offset || size.offset(point.start) == *point.name_offset) return;
  throw contradiction(point.file, "the file's name has another offset than START WAL LOCATION",
                      fmt::format("{:08X}", *point.name_offset), point.start.to_string());
}

BackupPoint parse_backup_label(std::string_view content, const std::string& file) {
  BackupPoint point;
  point.file = file;
  for (const auto* const name : {"START WAL LOCATION", "STOP WAL LOCATION", "CHECKPOINT LOCATION",
                                 "BACKUP METHOD", "BACKUP FROM", "START TIMELINE", "STOP TIMELINE"})
    if (const auto times = count_of(content, name); times > 1)
      throw contradiction(file, fmt::format("{} is there {} times", name, times),
                          std::string(*field(content, name)), "another line");
  const auto take = [&](std::string_view name, bool is_end) -> std::optional<wal::Lsn> {
    const auto text = field(content, name);
    if (!text) return std::nullopt;
    const auto read = location(*text);
    if (!read.lsn || !read.lsn->valid() || (read.has_file && !read.file))
      throw broken(file, fmt::format("no backup_label: it has no valid {}", name))
          .with("found", *text);
    if (read.file) point.places.push_back({*read.lsn, *read.file, is_end});
    return read.lsn;
  };
  const auto take_timeline = [&](std::string_view name) -> std::optional<wal::TimelineId> {
    const auto text = field(content, name);
    if (!text) return std::nullopt;
    const auto read = timeline(*text);
    if (!read)
      throw broken(file, fmt::format("no backup_label: it has no valid {}", name))
          .with("found", *text);
    return read;
  };
  const auto require_same_timeline = [&](std::string_view line, std::optional<wal::TimelineId> told,
                                         std::string_view other, wal::SegmentName name) {
    if (told && *told != name.timeline())
      throw contradiction(file, fmt::format("{} and {} are of two timelines", line, other),
                          std::to_string(*told), name.to_string());
  };

  const auto start = take("START WAL LOCATION", false);
  if (!start) throw broken(file, "no backup_label: it has no valid START WAL LOCATION");
  const auto start_file =
      point.places.empty() ? std::nullopt : std::optional(point.places[0].segment);
  // START TIMELINE is there since PostgreSQL 11.
  const auto start_timeline = take_timeline("START TIMELINE");
  if (!start_timeline && !start_file)
    throw broken(file, "no backup_label: it has no valid START TIMELINE");
  if (start_file)
    require_same_timeline("START TIMELINE", start_timeline, "the file of START WAL LOCATION",
                          *start_file);
  require_possible(point);
  point.timeline = start_timeline.value_or(start_file ? start_file->timeline() : 0);
  point.start = *start;
  point.from_standby = field(content, "BACKUP FROM") == "standby";

  // The redo position never lies behind its checkpoint's record (pg_start_backup in
  // access/transam/xlog.c).
  const auto checkpoint = point.checkpoint = take("CHECKPOINT LOCATION", false);
  if (checkpoint && *checkpoint < *start)
    throw contradiction(file, "the checkpoint lies before the start of its own WAL",
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
      throw contradiction(file, "it ends before it starts", start->to_string(), stop->to_string());
    if (checkpoint && *stop < *checkpoint)
      throw contradiction(file, "it ends before its checkpoint", checkpoint->to_string(),
                          stop->to_string());
    if (point.end_timeline < point.timeline)
      throw contradiction(file, "it ends on an older timeline than it starts on",
                          std::to_string(point.timeline), std::to_string(point.end_timeline));
    require_possible(point);
  } else if (take_timeline("STOP TIMELINE")) {
    throw contradiction(file, "it has a STOP TIMELINE and no STOP WAL LOCATION", "a stop", "none");
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
      throw contradiction(file, "its name says another start than START WAL LOCATION",
                          fmt::format("{}.{:08X}", name->segment, name->offset),
                          point.start.to_string());
  }
  return point;
}

BackupPoint parse_backup_manifest(std::string_view content, const std::string& file) {
  const auto manifest = nlohmann::json::parse(content, nullptr, false);
  if (manifest.is_discarded() || !manifest.is_object())
    throw broken(file, "no backup_manifest: it is no JSON object");
  const auto ranges = manifest.find("WAL-Ranges");
  if (ranges == manifest.end() || !ranges->is_array() || ranges->empty())
    throw broken(file, "no backup_manifest: it has no WAL-Ranges");

  BackupPoint point;
  point.file = file;
  struct Range {
    wal::TimelineId timeline;
    wal::Lsn start, end;
  };
  std::vector<Range> read;
  for (const auto& range : *ranges) {
    const auto lsn = [&](const char* name) -> wal::Lsn {
      if (range.is_object() && range.contains(name) && range[name].is_string())
        if (const auto value = wal::Lsn::parse(range[name].get<std::string>());
            value && value->valid())
          return *value;
      throw broken(file, fmt::format("a WAL range of the backup_manifest has no valid {}", name));
    };
    if (!range.is_object() || !range.contains("Timeline") ||
        !range["Timeline"].is_number_unsigned())
      throw broken(file, "a WAL range of the backup_manifest has no valid Timeline");
    const auto line = range["Timeline"].get<std::uint64_t>();
    if (line == 0 || line > UINT32_MAX)
      throw broken(file, "a WAL range of the backup_manifest has no valid Timeline");
    read.push_back({static_cast<wal::TimelineId>(line), lsn("Start-LSN"), lsn("End-LSN")});
    if (read.back().end < read.back().start)
      throw contradiction(file, "a WAL range ends before it starts", read.back().start.to_string(),
                          read.back().end.to_string());
  }
  // One for each timeline, the newest first as the server writes them, each beginning where the
  // older one ends (AddWALInfoToBackupManifest in backup/backup_manifest.c).
  std::sort(read.begin(), read.end(),
            [](const Range& left, const Range& right) { return left.timeline < right.timeline; });
  for (std::size_t i = 1; i < read.size(); ++i) {
    if (read[i].timeline == read[i - 1].timeline)
      throw contradiction(file, "two WAL ranges are of one timeline", read[i - 1].start.to_string(),
                          read[i].start.to_string());
    if (read[i].start != read[i - 1].end)
      throw contradiction(
          file,
          fmt::format("the WAL ranges of timelines {} and {} do not go on one from the other",
                      read[i - 1].timeline, read[i].timeline),
          read[i - 1].end.to_string(), read[i].start.to_string());
  }
  point.timeline = read.front().timeline;
  point.start = read.front().start;
  point.end_timeline = read.back().timeline;
  point.end = read.back().end;
  // Since PostgreSQL 17.
  if (const auto id = manifest.find("System-Identifier");
      id != manifest.end() && id->is_number_unsigned())
    point.system_identifier = id->get<std::uint64_t>();
  return point;
}

}  // namespace weir::archive
