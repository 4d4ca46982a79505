#include "prune/barman_backup.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "archive/backup_error.h"
#include "base/text.h"

namespace weir::prune {

namespace {

/// A string literal of Python at the front of `rest` ("Lexical analysis" in its reference).
std::optional<std::string> take_string(std::string_view& rest) {
  if (rest.empty() || (rest.front() != '\'' && rest.front() != '"')) return std::nullopt;
  const char quote = rest.front();
  std::string text;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      rest.remove_prefix(i + 1);
      return text;
    }
    if (rest[i] != '\\') {
      text += rest[i];
      continue;
    }
    if (++i == rest.size()) break;
    constexpr std::size_t kByteDigits = 2;
    if (rest[i] == 'n') {
      text += '\n';
    } else if (rest[i] == 't') {
      text += '\t';
    } else if (rest[i] == 'r') {
      text += '\r';
    } else if (rest[i] == 'x') {
      const auto byte = parse_number<unsigned char>(rest.substr(i + 1, kByteDigits), 16);
      if (!byte) return std::nullopt;
      text += static_cast<char>(*byte);
      i += kByteDigits;
    } else {
      // A quote or a backslash. The letters of other escapes stay: nothing that is read has any.
      text += rest[i];
    }
  }
  return std::nullopt;
}

bool take(std::string_view& rest, std::string_view word) {
  rest = trimmed(rest);
  if (!rest.starts_with(word)) return false;
  rest = trimmed(rest.substr(word.size()));
  return true;
}

/// "[('name', 16387, '/path'), …]": the second of each.
std::optional<std::vector<std::string>> parse_tablespaces(std::string_view rest) {
  std::vector<std::string> oids;
  if (!take(rest, "[")) return std::nullopt;
  while (take(rest, "(")) {
    if (!take_string(rest) || !take(rest, ",")) return std::nullopt;
    const auto end = rest.find(',');
    if (end == std::string_view::npos) return std::nullopt;
    const auto oid = parse_number<std::uint32_t>(trimmed(rest.substr(0, end)));
    rest = rest.substr(end);
    if (!oid || !take(rest, ",") || !take_string(rest) || !take(rest, ")")) return std::nullopt;
    oids.push_back(std::to_string(*oid));
    take(rest, ",");
  }
  if (!take(rest, "]") || !rest.empty()) return std::nullopt;
  return oids;
}

class InfoReader {
 public:
  InfoReader(std::string_view text, const std::string& file) : file_(file) {
    while (!text.empty()) {
      const auto end = text.find('\n');
      const auto line = trimmed(text.substr(0, end));
      text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
      if (line.empty() || line.front() == '#') continue;
      const auto sign = line.find('=');
      if (sign == std::string_view::npos) throw wrong("has a line without \"=\"", line);
      fields_[std::string(trimmed(line.substr(0, sign)))] = trimmed(line.substr(sign + 1));
    }
  }

  BarmanBackup read() {
    BarmanBackup backup;
    backup.status = field("status").value_or("");
    if (backup.status.empty()) throw wrong("has no status", "");
    backup.error = field("error").value_or("");
    backup.parent_id = field("parent_backup_id").value_or("");
    backup.snapshot = field("snapshots_info").has_value();
    if (const auto told = field("tablespaces")) {
      auto oids = parse_tablespaces(*told);
      if (!oids) throw wrong("has no valid tablespaces", *told);
      backup.tablespaces = std::move(*oids);
    }
    if (field("begin_xlog")) backup.point = read_point();
    return backup;
  }

 private:
  [[nodiscard]] Error wrong(std::string_view what, std::string_view found) const {
    Error error(ErrorKind::damage, fmt::format("not a backup.info file of Barman: it {}", what));
    error.with("object", file_);
    if (!found.empty()) error.with("found", found);
    return error;
  }
  [[nodiscard]] std::optional<std::string> field(const std::string& name) const {
    const auto found = fields_.find(name);
    if (found == fields_.end() || found->second == "None" || found->second.empty())
      return std::nullopt;
    return std::string(found->second);
  }
  template <typename Value>
  std::optional<Value> number(const std::string& name) const {
    const auto text = field(name);
    if (!text) return std::nullopt;
    const auto value = parse_number<Value>(*text);
    if (!value) throw wrong("has no valid " + name, *text);
    return value;
  }
  /// A position, and the segment that Barman says it is in.
  std::optional<wal::Lsn> position(archive::BackupPoint& point, const std::string& which) const {
    const auto text = field(which + "_xlog");
    if (!text) return std::nullopt;
    const auto lsn = wal::Lsn::parse(*text);
    if (!lsn || !lsn->valid()) throw wrong(fmt::format("has no valid {}_xlog", which), *text);
    if (const auto name = field(which + "_wal")) {
      const auto segment = wal::SegmentName::parse(*name);
      if (!segment) throw wrong(fmt::format("has no valid {}_wal", which), *name);
      point.places.push_back({*lsn, *segment, which == "end"});
    }
    return lsn;
  }

  [[nodiscard]] archive::BackupPoint read_point() const {
    archive::BackupPoint point;
    if (const auto literal = field("backup_label")) {
      std::string_view rest = *literal;
      const auto label = take_string(rest);
      if (!label || !rest.empty()) throw wrong("has no valid backup_label", *literal);
      point = archive::parse_backup_label(*label, file_);
    }
    const auto told_start = point.start;
    point.file = file_;
    point.start = position(point, "begin").value();
    const auto timeline = number<wal::TimelineId>("timeline");
    if (!timeline || *timeline == 0) throw wrong("has no timeline", "");
    if (told_start.valid() && (told_start != point.start || point.timeline != *timeline))
      throw archive::backup_contradiction(
          file_, "the start position in its backup_label differs from its begin_xlog and timeline",
          fmt::format("{} on timeline {}", told_start, point.timeline),
          fmt::format("{} on timeline {}", point.start, *timeline));
    point.timeline = *timeline;
    point.end = position(point, "end");
    if (point.end)
      point.end_timeline =
          field("end_wal") ? point.places.back().segment.timeline() : point.timeline;
    if (point.end && *point.end < point.start)
      throw archive::backup_contradiction(file_, "it ends before it starts", point.end->to_string(),
                                          point.start.to_string());
    point.system_identifier = number<std::uint64_t>("systemid").value_or(0);
    if (const auto began = field("begin_time"))
      if (const auto time = wal::PgTime::parse(*began)) point.began = time;
    if (const auto name = field("backup_name")) point.label = *name;
    return point;
  }

  const std::string& file_;
  std::map<std::string, std::string_view> fields_;
};

}  // namespace

BarmanBackup parse_barman_info(std::string_view text, const std::string& file) {
  return InfoReader(text, file).read();
}

}  // namespace weir::prune
