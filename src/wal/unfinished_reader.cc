#include "wal/unfinished_reader.h"

#include <algorithm>

namespace weir::wal {

void UnfinishedReader::take(std::span<const std::byte> wal) {
  while (!wal.empty()) {
    const auto piece = wal.first(std::min(wal.size(), kPageSize - fill_));
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
  if (!damage_) {
    damage_ = verifier_.feed(bytes);
    if (damage_) look_behind(bytes, address);
  } else if (const auto header = decode_page_header(bytes);
             header && header->address == address && major_version_of_magic(header->magic)) {
    if (!written_behind_ && zeros_ > 0 && !others_) goes_on_behind_zeros_ = address;
    written_behind_ = true;
  } else if (std::all_of(bytes.begin(), bytes.end(),
                         [](std::byte byte) { return byte == std::byte{0}; })) {
    ++zeros_;
  } else {
    others_ = true;
  }
  at_ += fill_;
  fill_ = 0;
}

/// On the page where the records end: checks whether a record with a correct checksum was written
/// after them, whose link is to the last record or beyond.
void UnfinishedReader::look_behind(std::span<const std::byte> page, Lsn address) {
  if (damage_->found_at < address) return;
  const auto lowest = verifier_.last_record_start();
  // A complete record, linked to the preceding one, but with a wrong checksum: WAL not yet received
  // would be zeros or have other links.
  if (damage_->record && damage_->at >= address && damage_->record->previous == lowest &&
      damage_->record->crc != 0) {
    const auto record = page.subspan(damage_->at - address);
    const auto length = damage_->record->total_length;
    if (length >= kRecordHeaderSize && length <= record.size() &&
        std::any_of(record.begin() + (length - 8), record.begin() + length,
                    [](std::byte byte) { return byte != std::byte{0}; })) {
      written_behind_ = true;
      return;
    }
  }
  auto offset =
      static_cast<std::size_t>(damage_->at < address ? kShortHeaderSize : damage_->at - address);
  offset = (offset + 7) / 8 * 8;
  for (offset += 8; offset + kRecordHeaderSize <= page.size(); offset += 8) {
    const auto bytes = page.subspan(offset);
    const auto header = decode_record_header(bytes.first<kRecordHeaderSize>());
    if (header.total_length < kRecordHeaderSize || header.total_length > bytes.size() ||
        header.previous < lowest || header.previous >= address + offset || header.crc == 0)
      continue;
    if (record_crc(bytes.first(header.total_length)) == header.crc) {
      written_behind_ = true;
      return;
    }
  }
}

}  // namespace weir::wal
