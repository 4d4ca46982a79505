// Records of losses sort after all WAL in the order of a store's keys (`…/weir/` after `…/wals/`):
// a listing up to the archive's end includes them, without another request.

#include "store/layout.h"

#include "archive/forms.h"
#include "archive/own_names.h"
#include "archive/published_open.h"

namespace weir::store {

namespace {

/// barman.cloud's hash_dir: timeline and log.
constexpr std::size_t kHashDirectory = 16;

constexpr std::size_t kSegmentDigits = 24;
constexpr std::string_view kOwn = ".pgweir-";

bool is_record(std::string_view name) {
  return archive::parse_loss_record(name) || archive::parse_loss_record(name, true) ||
         archive::parse_published_open_name(name);
}

std::string joined(const std::string& one, std::string_view other) {
  if (other.empty()) return one;
  return one.empty() ? std::string(other) : one + "/" + std::string(other);
}

}  // namespace

Layout::Layout(Form form, const Place& place, std::string_view name) : form_(form) {
  root_ = form == Form::barman ? joined(place.prefix, name) : place.prefix;
  if (!root_.empty()) root_ += '/';
  wal_ = root_ + (form == Form::barman ? "wals/" : "wal_005/");
}

std::string Layout::key(wal::SegmentName segment) const {
  const auto name = segment.to_string();
  return form_ == Form::barman ? wal_ + name.substr(0, kHashDirectory) + "/" + name : wal_ + name;
}

std::string Layout::key(const archive::SegmentFileName& file) const {
  return key(file.segment) + file.to_string().substr(file.segment.to_string().size());
}

std::string Layout::history_key(wal::TimelineId timeline) const {
  return wal_ + wal::history_name(timeline);
}

std::optional<std::string> Layout::key_of(std::string_view name) const {
  if (const auto file = archive::SegmentFileName::parse(name))
    return file->partial ? std::nullopt : std::optional(key(*file));
  if (archive::parse_history_name(name)) return wal_ + std::string(name);
  if (name.starts_with(kOwn) && is_record(name))
    return records_prefix() + std::string(name.substr(kOwn.size()));
  const auto segment = wal::SegmentName::parse(name.substr(0, kSegmentDigits));
  if (segment && archive::is_backup_history_name(name))
    return key(*segment) + std::string(name.substr(kSegmentDigits));
  return std::nullopt;
}

std::optional<std::string> Layout::file_of(std::string_view key) const {
  if (const auto records = records_prefix(); key.starts_with(records)) {
    auto name = std::string(kOwn) + std::string(key.substr(records.size()));
    return is_record(name) ? std::optional(std::move(name)) : std::nullopt;
  }
  if (!key.starts_with(wal_)) return std::nullopt;
  auto rest = key.substr(wal_.size());
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    const auto directory = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
    if (form_ != Form::barman || directory.size() != kHashDirectory ||
        !rest.starts_with(directory) || rest.find('/') != std::string_view::npos)
      return std::nullopt;
  } else if (form_ == Form::barman && wal::SegmentName::parse(rest.substr(0, kSegmentDigits))) {
    return std::nullopt;  // a segment outside its directory would not be found
  }
  if (rest.ends_with(kAgeSuffix))
    if (const auto content = rest.substr(0, rest.size() - kAgeSuffix.size());
        archive::SegmentFileName::parse(content))
      rest = content;
  if (rest.empty()) return std::nullopt;
  return std::string(rest);
}

std::string Layout::before(wal::SegmentName segment, wal::SegmentSize size) const {
  const auto segno = segment.segno(size);
  if (segno == 0) return "";
  // After all forms of the preceding segment, regardless of their suffixes.
  return key(wal::SegmentName(segment.timeline(), segno - 1, size)) + "~";
}

std::string_view to_string(Layout::Form form) {
  return form == Layout::Form::barman ? "barman" : "wal-g";
}

}  // namespace weir::store
