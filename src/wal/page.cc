#include "wal/page.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace weir::wal {

namespace {

struct Version {
  int major;
  std::uint16_t magic;
};

/// Ascending in both. Other magics between them were only used by development versions (0xD121 by
/// the betas of 19).
constexpr std::array<Version, 7> kVersions{{
    {13, 0xD106},
    {14, 0xD10D},
    {15, 0xD110},
    {16, 0xD113},
    {17, 0xD116},
    {18, 0xD118},
    {19, 0xD122},
}};

/// The last magic with the old meaning of the info bits: 19 removed XLP_BKP_REMOVABLE (0x0004) and
/// gave its bit to XLP_FIRST_IS_OVERWRITE_CONTRECORD, which had been 0x0008.
constexpr std::uint16_t kLastMagicWithOldFlags = 0xD118;

constexpr std::uint16_t kFirstIsContinuation = 0x0001;
constexpr std::uint16_t kLongHeader = 0x0002;
constexpr std::uint16_t kOverwritesContinuationOld = 0x0008;
constexpr std::uint16_t kOverwritesContinuation = 0x0004;
constexpr std::uint16_t kAllFlagsOld = 0x000F;
constexpr std::uint16_t kAllFlags = 0x0007;

// WAL is in the byte order of the host that wrote it, and PostgreSQL cannot read any other.
static_assert(std::endian::native == std::endian::little,
              "pgweir reads little-endian WAL without swapping bytes");

template <typename Integer>
Integer load(const std::byte* from) {
  Integer value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace

std::optional<PageHeader> decode_page_header(std::span<const std::byte> page) {
  if (page.size() < kShortHeaderSize) return std::nullopt;
  PageHeader header;
  header.magic = load<std::uint16_t>(page.data());
  header.info = load<std::uint16_t>(page.data() + 2);
  header.timeline = load<std::uint32_t>(page.data() + 4);
  header.address = Lsn(load<std::uint64_t>(page.data() + 8));
  header.remaining = load<std::uint32_t>(page.data() + 16);
  if ((header.info & kLongHeader) == 0) return header;

  if (page.size() < kLongHeaderSize) return std::nullopt;
  header.long_header = true;
  header.system_identifier = load<std::uint64_t>(page.data() + 24);
  header.segment_size = load<std::uint32_t>(page.data() + 32);
  header.page_size = load<std::uint32_t>(page.data() + 36);
  return header;
}

RecordHeader decode_record_header(std::span<const std::byte, kRecordHeaderSize> bytes) {
  RecordHeader header;
  header.total_length = load<std::uint32_t>(bytes.data());
  header.transaction = load<std::uint32_t>(bytes.data() + 4);
  header.previous = Lsn(load<std::uint64_t>(bytes.data() + 8));
  header.info = load<std::uint8_t>(bytes.data() + 16);
  header.resource_manager = load<std::uint8_t>(bytes.data() + 17);
  header.crc = load<std::uint32_t>(bytes.data() + 20);
  return header;
}

bool PageHeader::first_is_continuation() const { return (info & kFirstIsContinuation) != 0; }

bool PageHeader::overwrites_continuation() const {
  const auto flag =
      magic <= kLastMagicWithOldFlags ? kOverwritesContinuationOld : kOverwritesContinuation;
  return (info & flag) != 0;
}

bool PageHeader::info_bits_known() const {
  const auto known = magic <= kLastMagicWithOldFlags ? kAllFlagsOld : kAllFlags;
  return (info & ~known) == 0;
}

std::optional<int> major_version_of_magic(std::uint16_t magic) {
  const auto found = std::find_if(kVersions.begin(), kVersions.end(),
                                  [&](const Version& version) { return version.magic == magic; });
  if (found == kVersions.end()) return std::nullopt;
  return found->major;
}

std::optional<std::uint16_t> magic_of_major_version(int major) {
  const auto found = std::find_if(kVersions.begin(), kVersions.end(),
                                  [&](const Version& version) { return version.major == major; });
  if (found == kVersions.end()) return std::nullopt;
  return found->magic;
}

bool magic_is_newer_than_known(std::uint16_t magic) { return magic > kVersions.back().magic; }

}  // namespace weir::wal
