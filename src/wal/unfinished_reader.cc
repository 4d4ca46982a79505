#include "wal/unfinished_reader.h"

#include <algorithm>

namespace weir::wal {

namespace {

bool is_zero(std::byte byte) { return byte == std::byte{0}; }

}  // namespace

void UnfinishedReader::take(std::span<const std::byte> wal) {
  while (!wal.empty()) {
    const auto piece = wal.first(std::min(wal.size(), kPageSize - fill_));
    if (!damage_) damage_ = verifier_.feed(piece);
    std::copy(piece.begin(), piece.end(), page_.begin() + static_cast<std::ptrdiff_t>(fill_));
    fill_ += piece.size();
    wal = wal.subspan(piece.size());
    if (fill_ == kPageSize) page();
  }
}

void UnfinishedReader::finish() {
  if (fill_ > 0) page();
}

void UnfinishedReader::page() {
  const auto bytes = std::span(page_).first(fill_);
  const auto address = start_ + at_;
  if (at_ == 0) first_page_ = decode_page_header(bytes);
  if (damage_ && !looked_behind_) {
    looked_behind_ = true;
    look_behind(bytes, address);
  } else if (damage_) {
    if (const auto header = decode_page_header(bytes); header && header->address == address) {
      if (!written_behind() && zeros_ > 0 && !others_) goes_on_behind_zeros_ = address;
      written_to_ = address + kShortHeaderSize;
    } else if (std::all_of(bytes.begin(), bytes.end(), is_zero)) {
      ++zeros_;
    } else {
      others_ = true;
    }
  }
  at_ += fill_;
  fill_ = 0;
}

/// On the page where the records end.
void UnfinishedReader::look_behind(std::span<const std::byte> page, Lsn address) {
  if (is_complete_record(page, address)) written_to_ = damage_->at + 1;
  // Records after it. In old content, their links are to older segments.
  const auto lowest = std::max(verifier_.last_record_start(), start_);
  auto offset =
      static_cast<std::size_t>(damage_->at < address ? kShortHeaderSize : damage_->at - address);
  offset = (offset + 7) / 8 * 8;
  for (offset += 8; offset + kRecordHeaderSize <= page.size(); offset += 8) {
    const auto bytes = page.subspan(offset);
    const auto header = decode_record_header(bytes.first<kRecordHeaderSize>());
    if (header.total_length < kRecordHeaderSize || header.total_length > bytes.size() ||
        header.previous < lowest || header.previous >= address + offset || header.crc == 0)
      continue;
    if (record_crc(bytes.first(header.total_length)) == header.crc)
      written_to_ = address + (offset + header.total_length);
  }
}

/// The damage is in a record that is linked to the preceding one, and ends on this page, where it
/// was written to its end: what was not yet received would be zeros, or have other links.
bool UnfinishedReader::is_complete_record(std::span<const std::byte> page, Lsn address) const {
  const auto& record = damage_->record;
  if (!record || record->previous != verifier_.last_record_start() || record->crc == 0 ||
      record->total_length < kRecordHeaderSize)
    return false;
  std::uint64_t begin = 0;
  std::uint64_t length = record->total_length;
  if (damage_->at >= address) {
    begin = damage_->at - address;
  } else if (const auto header = decode_page_header(page);
             header && damage_->found_at < address) {  // this page continues it
    begin = header->long_header ? kLongHeaderSize : kShortHeaderSize;
    length = header->remaining;
  } else {
    return false;
  }
  const auto end = begin + length;
  if (end > page.size()) return false;
  // After a power loss, the last sector may be missing.
  constexpr std::uint64_t kSector = 512;
  const auto from =
      std::max(end - std::min<std::uint64_t>(length, 8), (end - 1) / kSector * kSector);
  const auto tail = page.subspan(from, end - from);
  // Old content in place of the record's end would go on to the page's end.
  const auto rest = page.last(std::min<std::size_t>(page.size() - end, 8));
  return !std::all_of(tail.begin(), tail.end(), is_zero) &&
         std::all_of(rest.begin(), rest.end(), is_zero);
}

}  // namespace weir::wal
