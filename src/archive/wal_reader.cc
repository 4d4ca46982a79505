#include "archive/wal_reader.h"

#include <algorithm>
#include <utility>

#include "archive/forms.h"
#include "archive/look_again.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"

namespace weir::archive {

WalSource::Read WalReader::read(wal::Lsn at, std::span<std::byte> into) {
  PGWEIR_CHECK(!into.empty());
  change_to(segment_at(at));
  const auto offset = options_.segment_size.offset(at);
  for (int looks = 0; looks < kMostLooksAtSegment; ++looks) {
    try {
      if (!bytes_ && !open()) break;
      if (const auto read = read_open(offset, into)) return *read;
      // It has been completed, or is being renamed: it is reopened.
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::damage && !damage_) damage_ = error;
      if (error.kind() == ErrorKind::damage && bytes_) damaged_.insert(bytes_->name().to_string());
      if (error.kind() != ErrorKind::damage && !is_gone(error)) throw;
    }
    bytes_.reset();
  }
  if (damage_) return {State::damaged, 0, damage_};
  return {State::gone, 0, std::nullopt};
}

wal::SegmentName WalReader::segment_at(wal::Lsn at) const {
  const auto& size = options_.segment_size;
  const auto segno = size.segno(at);
  const auto timeline =
      options_.history ? timeline_of_segment(*options_.history, segno, size) : options_.timeline;
  return {timeline, segno, size};
}

std::optional<SegmentFileName> WalReader::file() const {
  return bytes_ ? std::optional(bytes_->name()) : std::nullopt;
}

std::optional<UnfinishedEnd> WalReader::unfinished_end(wal::Lsn at) const {
  const auto segment = segment_at(at);
  std::optional<UnfinishedEnd> most;
  for (const auto& file : unfinished_of(segment)) {
    const auto end = find_unfinished_end(archive_, file, segment, options_.segment_size, history(),
                                         options_.durable_end);
    if (end && (!most || *end > *most)) most = end;
  }
  return most;
}

void WalReader::change_to(wal::SegmentName segment) {
  if (std::exchange(choose_again_, false)) bytes_.reset();
  if (segment_ == segment) return;
  segment_ = segment;
  bytes_.reset();
  damaged_.clear();
  damage_.reset();
}

bool WalReader::is_left_out(const SegmentFileName& name) const {
  return options_.left_out != nullptr && options_.left_out->contains(name.to_string());
}

/// The form that counts, of those that were not found damaged. False if there is none.
bool WalReader::open() {
  limit_ = options_.segment_size.bytes();
  one_of_several_ = false;
  const auto opens = [&](const SegmentFileName& name) { return try_form(name); };
  const auto finished = finished_names(*segment_);
  if (std::any_of(finished.begin(), finished.end(), opens)) return true;
  if (!options_.unfinished || damage_) return false;
  if (open_unfinished()) return true;
  // Between the two looks it may have been finished.
  return std::any_of(finished.begin(), finished.end(), opens);
}

bool WalReader::try_form(const SegmentFileName& name) {
  if (damaged_.contains(name.to_string()) || is_left_out(name)) return false;
  try {
    bytes_ = SegmentBytes::open(archive_, name, options_.segment_size);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    if (!damage_) damage_ = error;
    damaged_.insert(name.to_string());
  }
  return bytes_ != nullptr;
}

/// Those that may be read.
std::vector<UnfinishedFile> WalReader::unfinished_of(wal::SegmentName segment) const {
  auto files = unfinished_files(archive_, segment, options_.segment_size, history());
  std::erase_if(files, [&](const UnfinishedFile& file) { return is_left_out(file.name); });
  const bool own = std::any_of(files.begin(), files.end(), [&](const UnfinishedFile& file) {
    return file.name.segment == segment;
  });
  if (!own && !options_.ancestors_alone) files.clear();
  return files;
}

bool WalReader::open_unfinished() {
  const auto& size = options_.segment_size;
  auto files = unfinished_of(*segment_);
  std::erase_if(
      files, [&](const UnfinishedFile& file) { return damaged_.contains(file.name.to_string()); });
  const bool several = files.size() > 1;
  while (!files.empty()) {
    const auto best = farthest(archive_, files, *segment_, size, history(), options_.durable_end);
    if (try_form(best.name)) {
      limit_ = best.limit - segment_->start(size);
      one_of_several_ = several;
      return true;
    }
    std::erase(files, best);  // it has another name by now
  }
  return false;
}

/// nullopt: the file must be reopened.
std::optional<WalSource::Read> WalReader::read_open(std::uint64_t offset,
                                                    std::span<std::byte> into) {
  const auto& size = options_.segment_size;
  const auto& name = bytes_->name();
  auto limit = limit_;
  const auto end = [&] {
    choose_again_ = one_of_several_;
    return Read{State::end, 0, std::nullopt};
  };
  if (name.partial && name.method == codec::Method::none && options_.durable_end) {
    limit = std::min(limit, settled_bytes(name.segment, size, options_.durable_end()));
    // Once durable to its end, it is renamed into place. The partial file may never have contained
    // its WAL: a segment that is buffered in memory leaves zeros there.
    if (limit == size.bytes() && finished_meanwhile()) return std::nullopt;
  }
  if (offset >= limit) {
    if (limit < size.bytes() && limit == limit_ && finished_meanwhile()) return std::nullopt;
    return end();
  }
  const auto count =
      bytes_->read_at(offset, into.first(std::min<std::uint64_t>(into.size(), limit - offset)));
  if (count > 0) return Read{State::bytes, count, std::nullopt};
  if (finished_meanwhile()) return std::nullopt;
  return end();
}

bool WalReader::finished_meanwhile() { return find_finished(archive_, *segment_).has_value(); }

}  // namespace weir::archive
