#include "support/wal_builder.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace weir::testing {

namespace {

using wal::Lsn;

constexpr std::uint64_t kPage = 8192;
constexpr std::size_t kHeader = 24;
constexpr std::uint8_t kSwitch = 0x40;
constexpr std::uint8_t kOverwriteContrecord = 0xD0;

template <typename Integer>
void put(std::vector<std::byte>& to, Integer value) {
  const auto at = to.size();
  to.resize(at + sizeof(value));
  std::memcpy(to.data() + at, &value, sizeof(value));
}

std::uint16_t magic(int server_major) {
  switch (server_major) {
    case 13:
      return 0xD106;
    case 14:
      return 0xD10D;
    case 15:
      return 0xD110;
    case 16:
      return 0xD113;
    case 17:
      return 0xD116;
    case 18:
      return 0xD118;
    case 19:
      return 0xD122;
    default:
      std::fprintf(stderr, "no page magic known for PostgreSQL %d\n", server_major);
      std::abort();
  }
}

std::uint64_t align(std::uint64_t size) { return (size + 7) & ~std::uint64_t{7}; }

}  // namespace

WalBuilder::WalBuilder(Options options) : options_(options), generator_(options.seed) {
  PGWEIR_CHECK(options_.segment_size.offset(options_.start) == 0 && options_.start.valid());
}

WalBuilder WalBuilder::fork(Lsn switchpoint, wal::TimelineId timeline, std::uint64_t seed) const {
  PGWEIR_CHECK(timeline > options_.timeline && switchpoint.valid() &&
               switchpoint == fork_point(switchpoint));
  auto child = *this;
  child.options_.timeline = timeline;
  child.options_.seed = seed;
  child.generator_.seed(seed);
  child.wal_.resize(switchpoint - options_.start);
  while (child.records_.back().end > switchpoint) child.records_.pop_back();
  // A record whose continuation is missing at the fork belongs to the parent alone.
  while (child.records_.back().kind == Kind::aborted) child.records_.pop_back();
  child.previous_ = child.records_.back().start;
  return child;
}

WalBuilder WalBuilder::other_branch(Lsn from, std::uint64_t seed, bool same_layout) const {
  // (As a child would be, with this timeline's id.)
  auto other = fork(from, options_.timeline + 1, seed);
  other.options_.timeline = options_.timeline;
  other.overwrite_time_ += seed + 1;
  if (!same_layout) return other;
  for (auto record = records_.begin() + static_cast<std::ptrdiff_t>(other.records_.size());
       record != records_.end(); ++record) {
    switch (record->kind) {
      case Kind::ordinary:
        other.append(record->resource_manager, record->info,
                     other.random_bytes(record->length - kHeader));
        break;
      case Kind::xlog_switch:
        other.append_switch();
        break;
      case Kind::aborted:
        other.append_aborted(
            record->length,
            static_cast<unsigned>(record->end.byte() / kPage - record->start.byte() / kPage - 1));
        break;
      case Kind::overwrite:
        break;  // came with the one before it
    }
    PGWEIR_CHECK(record->kind == Kind::aborted || other.records_.back().end == record->end);
  }
  return other;
}

const WalBuilder::Record& WalBuilder::append(std::uint8_t resource_manager, std::uint8_t info,
                                             std::span<const std::byte> body) {
  return add(Kind::ordinary, resource_manager, info, body);
}

const WalBuilder::Record& WalBuilder::append_random(std::uint32_t length) {
  PGWEIR_CHECK(length >= kHeader);
  // Any manager but RM_XLOG_ID, whose records mean something to a reader.
  const auto custom = options_.server_major >= 15 && random(20) == 0;
  const auto manager = static_cast<std::uint8_t>(custom ? 128 + random(128) : 1 + random(21));
  const auto info = static_cast<std::uint8_t>(random(256));
  return append(manager, info, random_bytes(length - kHeader));
}

bool WalBuilder::append_switch() {
  if (options_.segment_size.offset(end()) == 0) return false;
  add(Kind::xlog_switch, 0, kSwitch, {});
  const auto offset = options_.segment_size.offset(end());
  if (offset != 0) wal_.resize(wal_.size() + options_.segment_size.bytes() - offset);
  return true;
}

const WalBuilder::Record& WalBuilder::append_aborted(std::uint32_t length, unsigned pages) {
  const auto start = begin_record(false);
  Record record{.start = start,
                .length = length,
                .previous = previous_,
                .resource_manager = 10,
                .kind = Kind::aborted};
  const auto bytes = record_bytes(record, random_bytes(length - kHeader));
  const auto border = Lsn((start.byte() / kPage + 1 + pages) * kPage);
  std::size_t written = 0;
  const std::span<const std::byte> whole(bytes);
  while (end() < border) {
    if (end().byte() % kPage == 0)
      write_page_header(static_cast<std::uint32_t>(length - written), false);
    const auto room = room_on_page();
    PGWEIR_CHECK(length - written > room);  // it must not be complete when the page ends
    const auto piece = whole.subspan(written, room);
    wal_.insert(wal_.end(), piece.begin(), piece.end());
    written += room;
  }
  record.end = border;
  records_.push_back(record);

  std::vector<std::byte> body{std::byte{255}, std::byte{16}};
  put(body, start.byte());
  put(body, overwrite_time_);
  return add(Kind::overwrite, 0, kOverwriteContrecord, body, true);
}

const WalBuilder::Record& WalBuilder::append_up_to(Lsn to) {
  const auto start = begin_record(false);
  PGWEIR_CHECK(to.byte() % 8 == 0 && to >= start + kHeader && to - start <= room_on_page());
  return append_random(static_cast<std::uint32_t>(to - start));
}

void WalBuilder::grow_to(Lsn at) {
  const auto one_in = [&](unsigned every) { return every != 0 && random(every) == 0; };
  while (end() < at) {
    if (one_in(options_.switch_every) && !records_.empty() && append_switch()) continue;
    if (one_in(options_.abort_every)) {
      // One after the other: in which order arguments are computed differs between processors.
      const auto pages = random(3);
      append_aborted(static_cast<std::uint32_t>(5 * kPage) + random(10'000), pages);
      continue;
    }
    if (one_in(options_.large_every)) {
      append_random(kHeader + random(options_.large_body));
      continue;
    }
    // Mostly small ones, as heap and index inserts are; now and then one without a body or with a
    // page's image.
    switch (random(8)) {
      case 0:
        append_random(kHeader);
        break;
      case 1:
        append_random(kHeader + random(8'300));
        break;
      default:
        append_random(kHeader + 2 + random(200));
    }
  }
}

std::span<const std::byte> WalBuilder::bytes(Lsn from, Lsn to) {
  PGWEIR_CHECK(options_.start <= from && from <= to);
  grow_to(to);
  return bytes().subspan(from - options_.start, to - from);
}

Lsn WalBuilder::complete_end(Lsn at) const {
  const auto* last = last_complete(at);
  if (last == nullptr) return Lsn();
  const auto offset = options_.segment_size.offset(last->end);
  if (last->kind != Kind::xlog_switch || offset == 0) return last->end;
  const auto filled = last->end + (options_.segment_size.bytes() - offset);
  return filled <= at ? filled : last->end;
}

Lsn WalBuilder::fork_point(Lsn at) const {
  const auto end = complete_end(at);
  const auto* last = last_complete(at);
  const bool before_filler =
      last != nullptr && last->kind == Kind::xlog_switch && options_.segment_size.offset(end) != 0;
  return before_filler ? complete_end(last->start) : end;
}

const WalBuilder::Record* WalBuilder::last_complete(Lsn at) const {
  PGWEIR_CHECK(at <= end());
  auto after = std::partition_point(records_.begin(), records_.end(),
                                    [&](const Record& record) { return record.end <= at; });
  while (after != records_.begin() && std::prev(after)->kind == Kind::aborted) --after;
  return after == records_.begin() ? nullptr : &*std::prev(after);
}

Lsn WalBuilder::byte_of_record(Lsn start, std::uint64_t offset) const {
  for (;;) {
    const auto room = kPage - start.byte() % kPage;
    if (offset < room) return start + offset;
    offset -= room;
    start = start + room;
    start = start + page_header_size(start);
  }
}

// ---- writing

const WalBuilder::Record& WalBuilder::add(Kind kind, std::uint8_t resource_manager,
                                          std::uint8_t info, std::span<const std::byte> body,
                                          bool overwrites) {
  Record record{.start = begin_record(overwrites),
                .length = static_cast<std::uint32_t>(kHeader + body.size()),
                .previous = previous_,
                .resource_manager = resource_manager,
                .info = info,
                .kind = kind};
  write(record_bytes(record, body));
  wal_.resize(align(wal_.size()));
  record.end = end();
  previous_ = record.start;
  return records_.emplace_back(record);
}

std::vector<std::byte> WalBuilder::record_bytes(const Record& record,
                                                std::span<const std::byte> body) const {
  std::vector<std::byte> bytes;
  bytes.reserve(kHeader + body.size());
  put(bytes, record.length);
  put(bytes, std::uint32_t{740});  // xl_xid
  put(bytes, record.previous.byte());
  put(bytes, record.info);
  put(bytes, record.resource_manager);
  put(bytes, std::uint16_t{0});  // padding, which the CRC covers
  put(bytes, ~crc32c(crc32c(~0u, body), bytes));
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

/// Where the next record starts; writes the page header before it if there is none yet.
Lsn WalBuilder::begin_record(bool overwrites) {
  if (end().byte() % kPage == 0) write_page_header(0, overwrites);
  return end();
}

void WalBuilder::write(std::span<const std::byte> record) {
  while (!record.empty()) {
    if (end().byte() % kPage == 0)
      write_page_header(static_cast<std::uint32_t>(record.size()), false);
    const auto piece = record.first(std::min<std::size_t>(record.size(), room_on_page()));
    wal_.insert(wal_.end(), piece.begin(), piece.end());
    record = record.subspan(piece.size());
  }
}

void WalBuilder::write_page_header(std::uint32_t remaining, bool overwrites) {
  const auto at = end();
  const bool old_flags = options_.server_major < 19;
  const bool long_header = page_header_size(at) != 24;
  unsigned info = 0;
  if (remaining != 0) info |= 0x0001;
  if (long_header) info |= 0x0002;
  // XLP_BKP_REMOVABLE, as servers set it while no backup is running.
  if (old_flags && (at.byte() / kPage) % 64 < 48) info |= 0x0004;
  if (overwrites) info |= old_flags ? 0x0008 : 0x0004;

  put(wal_, magic(options_.server_major));
  put(wal_, static_cast<std::uint16_t>(info));
  put(wal_, options_.timeline);
  put(wal_, at.byte());
  put(wal_, remaining);
  put(wal_, std::uint32_t{0});  // padding
  if (!long_header) return;
  put(wal_, options_.system_identifier);
  put(wal_, static_cast<std::uint32_t>(options_.segment_size.bytes()));
  put(wal_, static_cast<std::uint32_t>(kPage));
}

std::size_t WalBuilder::page_header_size(Lsn page) const {
  return options_.segment_size.offset(page) < kPage ? 40 : 24;
}

std::uint64_t WalBuilder::room_on_page() const { return kPage - end().byte() % kPage; }

// The standard distributions differ between libraries; these bytes must not.
std::uint32_t WalBuilder::random(std::uint32_t below) {
  return below == 0 ? 0 : static_cast<std::uint32_t>(generator_() % below);
}

std::vector<std::byte> WalBuilder::random_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t value = generator_();
    std::memcpy(bytes.data() + at, &value, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      auto value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0);
      entries[i] = value;
    }
    return entries;
  }();
  for (const auto byte : bytes)
    crc = (crc >> 8) ^ table[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFF];
  return crc;
}

std::uint64_t test_seed(std::uint64_t fallback) {
  const char* given = std::getenv("PGWEIR_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 10) : fallback;
  std::printf("PGWEIR_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace weir::testing
