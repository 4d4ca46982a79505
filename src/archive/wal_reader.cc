#include "archive/wal_reader.h"

#include <algorithm>

#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"

namespace weir::archive {

WalSource::Read WalReader::read(wal::Lsn at, std::span<std::byte> into) {
  PGWEIR_CHECK(!into.empty());
  change_to(segment_at(at));
  const auto offset = options_.segment_size.offset(at);
  // Maximum number of format changes of a segment, plus one.
  constexpr int kTries = 6;
  for (int tries = 0; tries < kTries; ++tries) {
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

void WalReader::change_to(wal::SegmentName segment) {
  if (segment_ == segment) return;
  segment_ = segment;
  bytes_.reset();
  damaged_.clear();
  damage_.reset();
}

/// Opens the first file that was not found damaged. Returns false if there is none.
bool WalReader::open() {
  const auto try_form = [&](const SegmentFileName& name) {
    if (damaged_.contains(name.to_string())) return false;
    if (options_.left_out != nullptr && options_.left_out->contains(name.to_string())) return false;
    try {
      bytes_ = SegmentBytes::open(archive_, name, options_.segment_size);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      if (!damage_) damage_ = error;
      damaged_.insert(name.to_string());
    }
    return bytes_ != nullptr;
  };
  const auto finished = finished_names(*segment_);
  if (std::any_of(finished.begin(), finished.end(), try_form)) return true;
  if (!options_.unfinished || damage_) return false;
  const auto partial = partial_names(*segment_);
  if (std::any_of(partial.begin(), partial.end(), try_form)) return true;
  // It may have been completed between the two look-ups.
  return std::any_of(finished.begin(), finished.end(), try_form);
}

/// nullopt: the file must be reopened.
std::optional<WalSource::Read> WalReader::read_open(std::uint64_t offset,
                                                    std::span<std::byte> into) {
  const auto& size = options_.segment_size;
  auto limit = size.bytes();
  if (bytes_->name().partial) {
    if (bytes_->name().method == codec::Method::none && options_.durable_end) {
      limit = settled_bytes(*segment_, size, options_.durable_end());
      // Durable to its end, it was renamed into place. The partial file may never have held what
      // it holds: a segment that is buffered in memory leaves zeros there.
      if (limit == size.bytes() && finished_meanwhile()) return std::nullopt;
    }
    if (offset >= limit) return Read{State::end, 0, std::nullopt};
  }
  const auto count =
      bytes_->read_at(offset, into.first(std::min<std::uint64_t>(into.size(), limit - offset)));
  if (count > 0) return Read{State::bytes, count, std::nullopt};
  if (finished_meanwhile()) return std::nullopt;
  return Read{State::end, 0, std::nullopt};
}

bool WalReader::finished_meanwhile() { return find_finished(archive_, *segment_).has_value(); }

}  // namespace weir::archive
