#include "archive/backup_manifest.h"

#include <algorithm>
#include <array>
#include <istream>
#include <nlohmann/json.hpp>
#include <optional>
#include <streambuf>
#include <utility>
#include <vector>

#include "archive/backup_error.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/digest.h"

namespace weir::archive {

namespace {

constexpr std::string_view kRanges = "\"WAL-Ranges\"";
constexpr std::string_view kFiles = "\"Files\"";
constexpr std::uint64_t kFront = 4096;
constexpr std::uint64_t kEnd = std::uint64_t{64} << 10;

/// Drops each entry of "Files" where it starts: they take no memory, regardless of their number.
class WithoutFiles {
 public:
  bool operator()(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& value) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key) in_files_ = value == "Files";
    return !(in_files_ && depth > 1);
  }

 private:
  bool in_files_ = false;
};

/// Presents a file as a stream for the standard library.
class ByteStream final : public std::streambuf {
 public:
  explicit ByteStream(io::Bytes& bytes) : bytes_(bytes) {}

 protected:
  int_type underflow() override {
    const auto count = bytes_.read_at(offset_, std::as_writable_bytes(std::span(buffer_)));
    if (count == 0) return traits_type::eof();
    offset_ += count;
    setg(buffer_.data(), buffer_.data(), buffer_.data() + count);
    return traits_type::to_int_type(buffer_.front());
  }

 private:
  io::Bytes& bytes_;
  std::uint64_t offset_ = 0;
  std::array<char, 64 * 1024> buffer_;
};

std::string read_text(io::Bytes& bytes, std::uint64_t from, std::uint64_t behind) {
  std::string text(behind - from, '\0');
  text.resize(bytes.read_at(from, std::as_writable_bytes(std::span(text))));
  return text;
}

/// When the server generated the backup_label, the first file that it sends of the data directory:
/// just after the backup's start (perform_base_backup in backup/basebackup.c). In a manifest it is
/// in GMT, and in the label in a time zone by its abbreviation. nullopt: many files precede it,
/// those of tablespaces.
std::optional<wal::PgTime> time_of_label(std::string_view front) {
  constexpr std::string_view kEntry = "{ \"Path\": \"backup_label\",",
                             kTime = "\"Last-Modified\": \"";
  const auto at = front.find(kEntry);
  if (at == std::string_view::npos) return std::nullopt;
  const auto entry = front.substr(at, front.find('}', at) - at);
  const auto time = entry.find(kTime);
  if (time == std::string_view::npos) return std::nullopt;
  const auto value = entry.substr(time + kTime.size());
  return wal::PgTime::parse(value.substr(0, value.find('"')));
}

/// The object without the entries between its first and its last ones; nullopt if it is not written
/// as a server does it.
std::optional<nlohmann::json> without_middle(io::Bytes& manifest, std::string front) {
  const auto size = manifest.size();
  const auto files = front.find(kFiles);
  if (files == std::string::npos) return std::nullopt;
  front.resize(files);
  const auto end = read_text(manifest, size - std::min(size, kEnd), size);
  const auto ranges = end.rfind(kRanges);
  // Within a file's name its quotes would have a backslash before them.
  if (ranges == std::string::npos || (ranges > 0 && end[ranges - 1] == '\\')) return std::nullopt;
  // If this is not the end of an object, it is not an object.
  auto object = nlohmann::json::parse(front + end.substr(ranges), nullptr, false);
  if (object.is_discarded()) return std::nullopt;
  return object;
}

std::string text_of(const nlohmann::json& entry, const char* name) {
  const auto value = entry.find(name);
  return value != entry.end() && value->is_string() ? value->get<std::string>() : std::string();
}

/// An entry of "Files". A path that is no UTF-8 is written in hexadecimal digits.
std::optional<ManifestFile> file_of(const nlohmann::json& entry) {
  const auto size = entry.find("Size");
  if (size == entry.end() || !size->is_number_unsigned()) return std::nullopt;
  ManifestFile file{.size = size->get<std::uint64_t>(),
                    .algorithm = text_of(entry, "Checksum-Algorithm"),
                    .checksum = text_of(entry, "Checksum")};
  if (const auto path = entry.find("Path"); path != entry.end() && path->is_string()) {
    file.path = path->get<std::string>();
    return file;
  }
  const auto encoded = entry.find("Encoded-Path");
  if (encoded == entry.end() || !encoded->is_string()) return std::nullopt;
  const auto digits = encoded->get<std::string>();
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    const auto byte = parse_number<unsigned>(std::string_view(digits).substr(i, 2), 16);
    if (!byte) return std::nullopt;
    file.path.push_back(static_cast<char>(*byte));
  }
  return file;
}

struct Range {
  wal::TimelineId timeline;
  wal::Lsn start, end;
};

Range read_range(const nlohmann::json& range, const std::string& file) {
  const auto lsn = [&](const char* name) -> wal::Lsn {
    if (range.is_object() && range.contains(name) && range[name].is_string())
      if (const auto value = wal::Lsn::parse(range[name].get<std::string>());
          value && value->valid())
        return *value;
    throw no_backup_file(file,
                         fmt::format("a WAL range of the backup_manifest has no valid {}", name));
  };
  if (!range.is_object() || !range.contains("Timeline") || !range["Timeline"].is_number_unsigned())
    throw no_backup_file(file, "a WAL range of the backup_manifest has no valid Timeline");
  const auto line = range["Timeline"].get<std::uint64_t>();
  if (line == 0 || line > UINT32_MAX)
    throw no_backup_file(file, "a WAL range of the backup_manifest has no valid Timeline");
  const Range read{static_cast<wal::TimelineId>(line), lsn("Start-LSN"), lsn("End-LSN")};
  if (read.end < read.start)
    throw backup_contradiction(file, "a WAL range ends before it starts", read.start.to_string(),
                               read.end.to_string());
  return read;
}

BackupPoint point_of(const nlohmann::json& manifest, const std::string& file) {
  if (manifest.is_discarded() || !manifest.is_object())
    throw no_backup_file(file, "no backup_manifest: it is not a JSON object");
  const auto ranges = manifest.find("WAL-Ranges");
  if (ranges == manifest.end() || !ranges->is_array() || ranges->empty())
    throw no_backup_file(file, "no backup_manifest: it has no WAL-Ranges");

  std::vector<Range> read;
  for (const auto& range : *ranges) read.push_back(read_range(range, file));
  // One for each timeline, the newest first as the server writes them, each starting where the
  // older one ends (AddWALInfoToBackupManifest in backup/backup_manifest.c).
  std::sort(read.begin(), read.end(),
            [](const Range& left, const Range& right) { return left.timeline < right.timeline; });
  for (std::size_t i = 1; i < read.size(); ++i) {
    if (read[i].timeline == read[i - 1].timeline)
      throw backup_contradiction(file, "two WAL ranges have the same timeline",
                                 read[i - 1].start.to_string(), read[i].start.to_string());
    if (read[i].start != read[i - 1].end)
      throw backup_contradiction(
          file,
          fmt::format("the WAL range of timeline {} does not end where that of timeline {} starts",
                      read[i - 1].timeline, read[i].timeline),
          read[i - 1].end.to_string(), read[i].start.to_string());
  }
  BackupPoint point;
  point.file = file;
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

}  // namespace

BackupPoint parse_backup_manifest(std::string_view content, const std::string& file) {
  auto point = point_of(nlohmann::json::parse(content, WithoutFiles(), false), file);
  point.began = time_of_label(content.substr(0, kFront));
  return point;
}

BackupPoint read_backup_manifest(io::Bytes& manifest, const std::string& file) {
  const auto front = read_text(manifest, 0, std::min(manifest.size(), kFront));
  auto object = without_middle(manifest, front);
  if (!object) {
    ByteStream bytes(manifest);
    std::istream stream(&bytes);
    object = nlohmann::json::parse(stream, WithoutFiles(), false);
  }
  auto point = point_of(*object, file);
  point.began = time_of_label(front);
  return point;
}

void for_each_file(io::Bytes& manifest, const std::string& file,
                   const std::function<bool(std::string_view path, std::uint64_t size)>& visit) {
  for_each_entry(manifest, file,
                 [&](const ManifestFile& entry) { return visit(entry.path, entry.size); });
}

void for_each_entry(io::Bytes& manifest, const std::string& file,
                    const std::function<bool(ManifestFile entry)>& visit) {
  bool wanted = true;
  bool in_files = false;
  bool odd = false;
  const auto take = [&](int depth, nlohmann::json::parse_event_t event,
                        const nlohmann::json& value) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key) in_files = value == "Files";
    if (!in_files || depth < 2) return true;
    if (depth == 2 && event == nlohmann::json::parse_event_t::object_end && wanted) {
      auto entry = file_of(value);
      odd = odd || !entry;
      if (entry) wanted = visit(std::move(*entry));
    }
    // The fields of an entry are kept until it ends; the entry itself is not.
    return depth > 2 || event == nlohmann::json::parse_event_t::object_start;
  };
  ByteStream bytes(manifest);
  std::istream stream(&bytes);
  const auto object = nlohmann::json::parse(stream, take, false);
  if (wanted && (object.is_discarded() || odd))
    throw Error(ErrorKind::damage,
                "the backup_manifest cannot be read: its list of files is damaged")
        .with("file", file);
}

void require_manifest_checksum(io::Bytes& manifest, const std::string& file) {
  constexpr std::uint64_t kLastLine = 256;
  constexpr std::string_view kName = "\"Manifest-Checksum\"";
  const auto size = manifest.size();
  const auto from = size - std::min(size, kLastLine);
  const auto end = read_text(manifest, from, size);
  const auto at = end.rfind(kName);
  // It is the last line, and covers all before it (SendBackupManifest() in
  // backup/backup_manifest.c).
  const auto told = at == std::string::npos || at == 0 || end[at - 1] != '\n'
                        ? nlohmann::json(nlohmann::json::value_t::discarded)
                        : nlohmann::json::parse("{" + end.substr(at), nullptr, false);
  crypto::Digest digest(crypto::Digest::Kind::sha256);
  if (!told.is_discarded()) {
    const auto behind = from + at;
    std::vector<std::byte> piece(std::size_t{64} << 10);
    for (std::uint64_t done = 0; done < behind;) {
      const auto most = std::min<std::uint64_t>(piece.size(), behind - done);
      const auto count = manifest.read_at(done, std::span(piece).first(most));
      if (count == 0) break;
      digest.add(std::span(piece).first(count));
      done += count;
    }
  }
  if (!told.is_discarded() && text_of(told, "Manifest-Checksum") == crypto::to_hex(digest.finish()))
    return;
  throw Error(ErrorKind::damage, "the backup_manifest is damaged: its checksum is wrong")
      .with("file", file);
}

}  // namespace weir::archive
