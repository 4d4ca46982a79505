#include "archive/backup_point.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "archive/backup_error.h"
#include "base/text.h"

namespace weir::archive {

namespace {

/// Number of lines that start with "<name>: ".
std::size_t count_of(std::string_view content, std::string_view name) {
  std::size_t count = 0;
  const auto key = std::string(name) + ": ";
  for (auto at = content.find(key); at != std::string_view::npos; at = content.find(key, at + 1))
    if (at == 0 || content[at - 1] == '\n') ++count;
  return count;
}

/// Returns the text after "<name>: " on its line.
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

/// "2026-11-20 03:14:15 CET". Time zone abbreviations are ambiguous: for an unknown one the latest
/// possible time is used, that of the westernmost zone.
std::optional<wal::PgTime> time_of(std::string_view text) {
  if (const auto time = wal::PgTime::parse(text)) return time;
  const auto zone = text.rfind(' ');
  if (zone == std::string_view::npos) return std::nullopt;
  return wal::PgTime::parse(std::string(text.substr(0, zone)) + "-12");
}

/// The segment size with which `name` is the segment that contains the byte. For a stop location,
/// the name may also be that of the segment that ends there, if the position is a segment's first
/// byte.
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
                             "no segment size puts this position into a segment of this name",
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

/// Reads a backup_label or a backup history file, line by line as they depend on each other.
class LabelReader {
 public:
  LabelReader(std::string_view content, const std::string& file) : content_(content) {
    point_.file = file;
  }

  BackupPoint read() {
    require_single_lines();
    read_start();
    read_parent();
    read_checkpoint();
    read_end();
    read_file_name();
    return std::move(point_);
  }

 private:
  [[nodiscard]] Error contradiction(std::string_view what, const std::string& one,
                                    const std::string& other) const {
    return backup_contradiction(point_.file, what, one, other);
  }
  [[nodiscard]] Error no_label(std::string_view what) const {
    return no_backup_file(point_.file, fmt::format("no backup_label: it {}", what));
  }

  std::optional<wal::Lsn> take(std::string_view name, bool is_end) {
    const auto text = field(content_, name);
    if (!text) return std::nullopt;
    const auto read = location(*text);
    if (!read.lsn || !read.lsn->valid() || (read.has_file && !read.file))
      throw no_label(fmt::format("has no valid {}", name)).with("found", *text);
    if (read.file) point_.places.push_back({*read.lsn, *read.file, is_end});
    return read.lsn;
  }
  [[nodiscard]] std::optional<wal::TimelineId> take_timeline(std::string_view name) const {
    const auto text = field(content_, name);
    if (!text) return std::nullopt;
    const auto read = timeline(*text);
    if (!read) throw no_label(fmt::format("has no valid {}", name)).with("found", *text);
    return read;
  }
  void require_same_timeline(std::string_view line, std::optional<wal::TimelineId> told,
                             std::string_view other, wal::SegmentName name) const {
    if (told && *told != name.timeline())
      throw contradiction(fmt::format("{} and {} name different timelines", line, other),
                          std::to_string(*told), name.to_string());
  }

  void require_single_lines() const {
    for (const auto* const name :
         {"START WAL LOCATION", "STOP WAL LOCATION", "CHECKPOINT LOCATION", "BACKUP METHOD",
          "BACKUP FROM", "START TIMELINE", "STOP TIMELINE", "START TIME", "INCREMENTAL FROM LSN",
          "INCREMENTAL FROM TLI"})
      if (const auto times = count_of(content_, name); times > 1)
        throw contradiction(fmt::format("{} occurs {} times", name, times),
                            std::string(*field(content_, name)), "another line");
  }

  void read_start() {
    const auto start = take("START WAL LOCATION", false);
    if (!start) throw no_label("has no valid START WAL LOCATION");
    const auto file =
        point_.places.empty() ? std::nullopt : std::optional(point_.places[0].segment);
    // START TIMELINE exists since PostgreSQL 11.
    const auto told = take_timeline("START TIMELINE");
    if (!told && !file) throw no_label("has no valid START TIMELINE");
    if (file)
      require_same_timeline("START TIMELINE", told, "the file of START WAL LOCATION", *file);
    require_possible(point_);
    point_.timeline = told.value_or(file ? file->timeline() : 0);
    point_.start = *start;
    point_.from_standby = field(content_, "BACKUP FROM") == "standby";
    if (const auto began = field(content_, "START TIME")) point_.began = time_of(*began);
    if (const auto label = field(content_, "LABEL")) point_.label = *label;
  }

  /// Since PostgreSQL 17 (build_backup_content in access/transam/xlogbackup.c): both or neither.
  void read_parent() {
    const auto parent = take("INCREMENTAL FROM LSN", false);
    const auto parent_timeline = take_timeline("INCREMENTAL FROM TLI");
    if (parent.has_value() != parent_timeline.has_value())
      throw no_label("has only one of INCREMENTAL FROM LSN and INCREMENTAL FROM TLI");
    if (parent) point_.parent = BackupPoint::Parent{*parent_timeline, *parent};
  }

  /// The redo position is never after its checkpoint's record (pg_start_backup in
  /// access/transam/xlog.c).
  void read_checkpoint() {
    const auto checkpoint = point_.checkpoint = take("CHECKPOINT LOCATION", false);
    if (checkpoint && *checkpoint < point_.start)
      throw contradiction("the checkpoint precedes the start of its own WAL",
                          checkpoint->to_string(), point_.start.to_string());
  }

  void read_end() {
    const auto places_before = point_.places.size();
    const auto stop = take("STOP WAL LOCATION", true);
    const auto told = take_timeline("STOP TIMELINE");
    if (!stop) {
      if (told)
        throw contradiction("it has a STOP TIMELINE and no STOP WAL LOCATION", "a stop", "none");
      return;
    }
    const auto file = point_.places.size() > places_before
                          ? std::optional(point_.places.back().segment)
                          : std::nullopt;
    if (file) require_same_timeline("STOP TIMELINE", told, "the file of STOP WAL LOCATION", *file);
    point_.end = *stop;
    point_.end_timeline = told.value_or(file ? file->timeline() : point_.timeline);
    if (*stop < point_.start)
      throw contradiction("it ends before it starts", point_.start.to_string(), stop->to_string());
    if (point_.checkpoint && *stop < *point_.checkpoint)
      throw contradiction("it ends before its checkpoint", point_.checkpoint->to_string(),
                          stop->to_string());
    if (point_.end_timeline < point_.timeline)
      throw contradiction("it ends on an older timeline than it starts on",
                          std::to_string(point_.timeline), std::to_string(point_.end_timeline));
    require_possible(point_);
  }

  /// A backup history file is named after where the backup starts.
  void read_file_name() {
    const auto name = parse_backup_history_name(point_.file);
    if (!name) return;
    point_.places.push_back({point_.start, name->segment, false});
    point_.name_offset = name->offset;
    require_same_timeline("START TIMELINE", point_.timeline, "the file's own name", name->segment);
    const auto sizes = possible_sizes(point_.places);
    if (std::none_of(sizes.begin(), sizes.end(), [&](wal::SegmentSize size) {
          return size.offset(point_.start) == name->offset;
        }))
      throw contradiction("the start position in its name differs from START WAL LOCATION",
                          fmt::format("{}.{:08X}", name->segment, name->offset),
                          point_.start.to_string());
  }

  const std::string_view content_;
  BackupPoint point_;
};

}  // namespace

void require_agreement(const BackupPoint& point, wal::SegmentSize size) {
  for (const auto& place : point.places)
    if (!segment_has(place.segment, size, place.lsn, place.is_end))
      throw backup_contradiction(
          point.file,
          fmt::format(
              "with the archive's segment size of {} bytes, the position is in a different segment",
              size.bytes()),
          place.lsn.to_string(), place.segment.to_string());
  if (!point.name_offset || size.offset(point.start) == *point.name_offset) return;
  throw backup_contradiction(point.file,
                             "the offset in the file's name differs from START WAL LOCATION",
                             fmt::format("{:08X}", *point.name_offset), point.start.to_string());
}

bool is_parent(const BackupPoint& child, const BackupPoint& other) {
  const bool same_cluster = child.system_identifier == 0 || other.system_identifier == 0 ||
                            child.system_identifier == other.system_identifier;
  return same_cluster && child.parent == BackupPoint::Parent{other.timeline, other.start} &&
         other.start < child.start;
}

BackupPoint parse_backup_label(std::string_view content, const std::string& file) {
  return LabelReader(content, file).read();
}

}  // namespace weir::archive
