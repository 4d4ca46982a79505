#include "archive/backup_point.h"

#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

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
std::optional<wal::Lsn> location(std::optional<std::string_view> text) {
  if (!text) return std::nullopt;
  return wal::Lsn::parse(text->substr(0, text->find(' ')));
}

std::optional<wal::TimelineId> timeline(std::optional<std::string_view> text) {
  if (!text) return std::nullopt;
  wal::TimelineId value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value == 0) return std::nullopt;
  return value;
}

/// The timeline of the segment named in "… (file 000000010000000000000002)".
std::optional<wal::TimelineId> timeline_of_file(std::optional<std::string_view> text) {
  constexpr std::string_view kFile = "(file ";
  if (!text) return std::nullopt;
  const auto at = text->find(kFile);
  if (at == std::string_view::npos) return std::nullopt;
  const auto digits = text->substr(at + kFile.size(), 8);
  wal::TimelineId value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size() || value == 0)
    return std::nullopt;
  return value;
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
  if (point.system_identifier == 0)
    point.system_identifier = system_identifier_of(path + "/global/pg_control");
  // The manifest has the end, the label has the rest.
  if (has_manifest && has_label) point.from_standby = read_parsed(label).from_standby;
  return point;
}

BackupPoint parse_backup_label(std::string_view content, const std::string& file) {
  const auto start_text = field(content, "START WAL LOCATION");
  const auto start = location(start_text);
  // START TIMELINE is there since PostgreSQL 11.
  const auto written = field(content, "START TIMELINE");
  const auto start_timeline = written ? timeline(written) : timeline_of_file(start_text);
  if (!start || !start->valid())
    throw broken(file, "no backup_label: it has no valid START WAL LOCATION");
  if (!start_timeline) throw broken(file, "no backup_label: it has no valid START TIMELINE");

  BackupPoint point;
  point.timeline = *start_timeline;
  point.start = *start;
  point.from_standby = field(content, "BACKUP FROM") == "standby";
  point.file = file;
  if (const auto stop_text = field(content, "STOP WAL LOCATION")) {
    point.end = location(stop_text);
    if (!point.end || *point.end < point.start)
      throw broken(file, "no valid STOP WAL LOCATION in the backup history file");
    point.end_timeline = timeline(field(content, "STOP TIMELINE")).value_or(point.timeline);
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
  for (const auto& range : *ranges) {
    const auto lsn = [&](const char* name) -> wal::Lsn {
      if (range.is_object() && range.contains(name) && range[name].is_string())
        if (const auto value = wal::Lsn::parse(range[name].get<std::string>())) return *value;
      throw broken(file, fmt::format("a WAL range of the backup_manifest has no valid {}", name));
    };
    if (!range.is_object() || !range.contains("Timeline") ||
        !range["Timeline"].is_number_unsigned())
      throw broken(file, "a WAL range of the backup_manifest has no valid Timeline");
    const auto line = range["Timeline"].get<std::uint64_t>();
    if (line == 0 || line > UINT32_MAX)
      throw broken(file, "a WAL range of the backup_manifest has no valid Timeline");
    const auto start = lsn("Start-LSN");
    const auto end = lsn("End-LSN");
    if (end < start) throw broken(file, "a WAL range of the backup_manifest ends before it starts");
    if (!point.start.valid() || start < point.start) {
      point.start = start;
      point.timeline = static_cast<wal::TimelineId>(line);
    }
    if (!point.end || end > *point.end) {
      point.end = end;
      point.end_timeline = static_cast<wal::TimelineId>(line);
    }
  }
  // Since PostgreSQL 17.
  if (const auto id = manifest.find("System-Identifier");
      id != manifest.end() && id->is_number_unsigned())
    point.system_identifier = id->get<std::uint64_t>();
  return point;
}

}  // namespace weir::archive
