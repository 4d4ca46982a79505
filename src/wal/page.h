#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "wal/lsn.h"

namespace weir::wal {

/// XLOG_BLCKSZ. PostgreSQL can be built with another size; the long header has it, and such WAL is
/// rejected with a clear message.
inline constexpr std::uint64_t kPageSize = 8192;
inline constexpr std::size_t kShortHeaderSize = 24;   ///< SizeOfXLogShortPHD
inline constexpr std::size_t kLongHeaderSize = 40;    ///< SizeOfXLogLongPHD
inline constexpr std::size_t kRecordHeaderSize = 24;  ///< SizeOfXLogRecord

inline constexpr int kOldestKnownMajor = 13;
inline constexpr int kNewestKnownMajor = 19;

/// The major version that writes pages with this magic (XLOG_PAGE_MAGIC), nullopt if unknown.
[[nodiscard]] std::optional<int> major_version_of_magic(std::uint16_t magic);
/// The magic that a released major version writes; nullopt if the version is unknown.
[[nodiscard]] std::optional<std::uint16_t> magic_of_major_version(int major);
/// True for a magic above all known ones: WAL of a newer server, archived unchecked.
[[nodiscard]] bool magic_is_newer_than_known(std::uint16_t magic);

/// XLogPageHeaderData and, on the first page of a segment, XLogLongPageHeaderData
/// (access/xlog_internal.h), decoded. In the byte order of the server's host, which must be
/// little-endian.
struct PageHeader {
  std::uint16_t magic = 0;
  std::uint16_t info = 0;  ///< raw xlp_info; its bits changed in 19: use the functions below
  TimelineId timeline = 0;
  Lsn address;                  ///< xlp_pageaddr
  std::uint32_t remaining = 0;  ///< xlp_rem_len: remaining bytes of the record from the preceding
                                ///< page
  bool long_header = false;     ///< the three fields below are set
  std::uint64_t system_identifier = 0;
  std::uint32_t segment_size = 0;
  std::uint32_t page_size = 0;

  /// Bytes of this header on disk.
  [[nodiscard]] std::size_t size() const {
    return long_header ? kLongHeaderSize : kShortHeaderSize;
  }
  [[nodiscard]] bool first_is_continuation() const;    ///< XLP_FIRST_IS_CONTRECORD
  [[nodiscard]] bool overwrites_continuation() const;  ///< XLP_FIRST_IS_OVERWRITE_CONTRECORD
  [[nodiscard]] bool info_bits_known() const;          ///< no bit outside XLP_ALL_FLAGS of `magic`
};

/// Decodes the header at the start of `page`; nullopt if there are too few bytes for the header
/// that its own flags announce. Does not validate.
[[nodiscard]] std::optional<PageHeader> decode_page_header(std::span<const std::byte> page);

/// XLogRecord (access/xlogrecord.h), decoded.
struct RecordHeader {
  std::uint32_t total_length = 0;
  std::uint32_t transaction = 0;
  Lsn previous;
  std::uint8_t info = 0;
  std::uint8_t resource_manager = 0;
  std::uint32_t crc = 0;
};

/// Decodes kRecordHeaderSize bytes. Does not validate.
[[nodiscard]] RecordHeader decode_record_header(
    std::span<const std::byte, kRecordHeaderSize> bytes);

}  // namespace weir::wal
