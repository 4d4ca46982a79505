#include "wal/record_verifier.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "wal/crc32c.h"
#include "wal/records.h"

// How it works: the position alone determines whether the next byte belongs to a page header (less
// than a header's size after the start of a page) or to the page's content; state_ says what the
// content is. So a record that spans a page boundary needs no state of its own: its state is kept
// while the header is read and compared with the rest of the record.
//
// Checks run when the last byte they need has arrived, in the order of the stream, regardless of
// the pieces. Only headers of 24 and 40 bytes are copied; bodies only go through the CRC.
//
// WAL of a newer version is read by the rules of the newest known one, as far as they apply. The
// first record with a correct checksum shows that they do. Until then, a violation may be a change
// of the format, and nothing is checked from there on. After that, a violation is damage; except
// for what earlier versions have extended: page flags, resource managers, larger records.

namespace weir::wal {

namespace {

constexpr std::uint64_t kAlignment = 8;  // MAXALIGN on every platform with 8-byte pointers
constexpr std::size_t kLengthSize = 4;   // xl_tot_len
constexpr std::size_t kCrcOffset = 20;   // of xl_crc; the CRC covers the header up to here

// XLogRecordMaxSize. Servers since 16 do not write larger ones; before, the only limit was their
// memory allocator.
constexpr std::uint32_t kMaxRecordSize = 1020u * 1024 * 1024;
constexpr int kFirstMajorWithMaxRecordSize = 16;

// access/rmgrlist.h and access/rmgr.h. 22 built-in ids in 13 to 19. Ids from 128 on are for
// extensions, since 15; ids in between are invalid for PostgreSQL, too.
constexpr std::uint8_t kMaxBuiltinManager = 21;
constexpr std::uint8_t kMinCustomManager = 128;
constexpr int kFirstMajorWithCustomManagers = 15;

// Offsets in the page header.
constexpr std::uint64_t kInfoAt = 2, kTimelineAt = 4, kAddressAt = 8, kRemainingAt = 16,
                        kSystemIdentifierAt = 24, kSegmentSizeAt = 32, kPageSizeAt = 36;
// Offsets in the record header.
constexpr std::uint64_t kPreviousAt = 8, kRecordInfoAt = 16, kManagerAt = 17;

Lsn align(Lsn at) { return Lsn((at.byte() + kAlignment - 1) & ~(kAlignment - 1)); }

template <typename Integer>
Integer load(std::span<const std::byte> from) {
  Integer value;
  std::memcpy(&value, from.data(),
              sizeof value);  // PostgreSQL writes them in native byte order
  return value;
}

std::size_t offset_in_page(Lsn at) { return at.byte() & (kPageSize - 1); }

std::string name_of_magic(std::uint16_t magic) {
  if (const auto major = major_version_of_magic(magic))
    return fmt::format("0x{:04X} (PostgreSQL {})", magic, *major);
  const auto swapped = static_cast<std::uint16_t>((magic << 8) | (magic >> 8));
  if (major_version_of_magic(swapped)) return fmt::format("0x{:04X} (the other byte order)", magic);
  return fmt::format("0x{:04X}", magic);
}

/// The WAL is from a newer version than any in the table.
bool is_beyond_known(int major) { return major > kNewestKnownMajor; }

std::string magic_beside(Lsn at, const PageHeader& page) {
  return fmt::format("unexpected page magic: of an unknown version, but the page at {} has {}", at,
                     name_of_magic(page.magic));
}

bool manager_is_valid(std::uint8_t manager, int major) {
  if (is_beyond_known(major)) return true;  // it may have more of them
  if (manager >= kMinCustomManager) return major >= kFirstMajorWithCustomManagers;
  return manager <= kMaxBuiltinManager;
}

}  // namespace

std::uint32_t record_crc(std::span<const std::byte> record) {
  PGWEIR_CHECK(record.size() >= kRecordHeaderSize);
  return ~crc32c(~0u, record.subspan(kRecordHeaderSize), record.first(kCrcOffset));
}

RecordVerifier::RecordVerifier(Options options, Lsn start)
    : options_(options),
      position_(start),
      system_identifier_(options.system_identifier),
      previous_(options.previous_record),
      newest_record_start_(options.previous_record.value_or(Lsn())) {
  PGWEIR_CHECK(offset_in_page(start) == 0);
  if (!options_.server_major) return;
  if (const auto magic = magic_of_major_version(*options_.server_major)) {
    magic_ = *magic;
    major_ = *options_.server_major;
  } else if (is_beyond_known(*options_.server_major)) {
    major_ = *options_.server_major;
    options_.observer = nullptr;  // the meaning of records may have changed
  }
}

std::optional<Damage> RecordVerifier::feed(std::span<const std::byte> wal) {
  while (!wal.empty() && !damage_) {
    const auto in_page = offset_in_page(position_);
    std::size_t taken = 0;
    if (state_ == State::unchecked) {
      taken = skip_unchecked(wal);
    } else if (state_ == State::filler) {
      taken = skip_filler(wal.size());
    } else if (in_page < page_header_size(position_)) {
      taken = take_page_header(wal);
    } else {
      taken = take_page_content(wal.first(std::min<std::size_t>(wal.size(), kPageSize - in_page)));
    }
    wal = wal.subspan(taken);
  }
  return damage_;
}

RecordVerifier RecordVerifier::begin_afresh() const {
  auto options = options_;
  options.observer = nullptr;
  options.previous_record = std::nullopt;
  return {options, position_};
}

void RecordVerifier::follow(TimelineId timeline, const TimelineHistory* history) {
  options_.timeline = timeline;
  options_.history = history;
}

// ---- pages

std::size_t RecordVerifier::take_page_header(std::span<const std::byte> wal) {
  const auto in_page = offset_in_page(position_);
  const auto size = page_header_size(position_);
  const auto taken = std::min(size - in_page, wal.size());
  std::memcpy(page_bytes_.data() + in_page, wal.data(), taken);
  position_ = position_ + taken;
  if (in_page + taken < size) return taken;

  // If a header is wrongly flagged as long, the long part is zeros; it is rejected for the flag.
  if (size < kLongHeaderSize)
    std::fill(page_bytes_.begin() + kShortHeaderSize, page_bytes_.end(), std::byte{0});
  check_page(*decode_page_header(page_bytes_));
  first_page_ = false;
  return taken;
}

void RecordVerifier::check_page(const PageHeader& page) {
  const Lsn at(position_.byte() & ~(kPageSize - 1));
  const bool starts_segment = options_.segment_size.offset(at) == 0;

  if (std::all_of(page_bytes_.begin(), page_bytes_.end(),
                  [](std::byte byte) { return byte == std::byte{0}; })) {
    fail(at, at, "no page here: the WAL ends (the page header is all zeros)");
    if (damage_) damage_->is_unwritten = true;
    return;
  }
  if (!check_version(at, page) || state_ == State::unchecked) return;
  // Checked first: in a recycled file that was not written yet, everything else may be valid.
  if (page.address != at) {
    const bool is_old =
        page.address.valid() && page.address < at &&
        options_.segment_size.offset(page.address) == options_.segment_size.offset(at);
    fail(at, at + kAddressAt,
         fmt::format("unexpected page address: expected {}, found {}{}", at, page.address,
                     is_old ? " (old content of a recycled file)" : ""));
    if (damage_) damage_->is_unwritten = is_old;
    return;
  }
  if (is_beyond_known(major_) && (page.overwrites_continuation() || !page.info_bits_known())) {
    state_ = State::unchecked;  // flags change: 19 has moved one
    return;
  }
  if (!page.info_bits_known()) {
    fail(at, at + kInfoAt, fmt::format("unknown bits in page info 0x{:04X}", page.info));
    return;
  }
  if (page.long_header != starts_segment) {
    fail(at, at + kInfoAt,
         fmt::format("unexpected page info 0x{:04X}: a long header belongs on the first page of a "
                     "segment only, with segments of {} bytes",
                     page.info, options_.segment_size.bytes()));
    return;
  }
  // The first segment of a timeline starts with pages of its ancestors.
  if (page.timeline < page_timeline_ || page.timeline == 0 || page.timeline > options_.timeline) {
    fail(at, at + kTimelineAt,
         fmt::format("unexpected timeline in page header: expected {} to {}, found {}",
                     std::max<TimelineId>(page_timeline_, 1), options_.timeline, page.timeline));
    return;
  }
  if (options_.history != nullptr && page.timeline != options_.history->timeline_of(at)) {
    fail(at, at + kTimelineAt,
         fmt::format("unexpected timeline in page header: expected {}, by the history of timeline "
                     "{}, found {}",
                     options_.history->timeline_of(at), options_.history->timeline(),
                     page.timeline));
    return;
  }
  page_timeline_ = page.timeline;
  if (starts_segment && !check_cluster(at, page)) return;
  check_continuation(at, page);
}

/// Returns false after damage. The first page decides if server_major is not set; then all must be
/// equal.
bool RecordVerifier::check_version(Lsn at, const PageHeader& page) {
  if (first_page_ && is_beyond_known(major_)) {  // according to server_major
    magic_ = page.magic;
    return true;
  }
  // Magics increase until a major version is released: a server of the newest known version may be
  // a release that this table does not have. Another page of the stream with a known magic shows
  // that this one is damaged.
  if (first_page_ && magic_is_newer_than_known(page.magic) &&
      options_.server_major.value_or(kNewestKnownMajor) == kNewestKnownMajor) {
    magic_ = page.magic;
    major_ = kNewestKnownMajor + 1;
    options_.observer = nullptr;
    unchecked_page_ = at;
    return true;
  }
  if (magic_ == 0 && !options_.server_major) {
    if (const auto major = major_version_of_magic(page.magic)) {
      magic_ = page.magic;
      major_ = *major;
    }
  }
  if (magic_ == page.magic) return true;
  if (unchecked_page_.valid() && page.address == at && major_version_of_magic(page.magic)) {
    state_ = State::unchecked;
    forget_records();
    return fail(unchecked_page_, unchecked_page_, magic_beside(at, page));
  }
  const auto expected = magic_ != 0 ? name_of_magic(magic_)
                                    : fmt::format("that of PostgreSQL {} to {}", kOldestKnownMajor,
                                                  kNewestKnownMajor);
  return fail(at, at,
              fmt::format("unexpected page magic: expected {}, found {}", expected,
                          name_of_magic(page.magic)));
}

/// The version's rules do not apply after all: otherwise the last record read would be taken for
/// the end of the meaningful WAL.
void RecordVerifier::forget_records() {
  first_record_start_ = first_record_previous_ = newest_record_start_ = Lsn();
  last_record_start_ = last_record_end_ = records_end_ = Lsn();
}

/// Nothing is checked. But if only one page claimed to be from a newer server, another page of a
/// known version at its right address shows that the first is damaged.
std::size_t RecordVerifier::skip_unchecked(std::span<const std::byte> wal) {
  forget_records();
  if (!unchecked_page_.valid()) {  // server_major is set
    position_ = position_ + wal.size();
    return wal.size();
  }
  const auto in_page = offset_in_page(position_);
  if (in_page >= kShortHeaderSize) {
    const auto taken = std::min(kPageSize - in_page, wal.size());
    position_ = position_ + taken;
    return taken;
  }
  const Lsn at = Lsn(position_.byte() - in_page);
  const auto taken = std::min(kShortHeaderSize - in_page, wal.size());
  std::memcpy(page_bytes_.data() + in_page, wal.data(), taken);
  position_ = position_ + taken;
  if (in_page + taken < kShortHeaderSize) return taken;
  const auto page = *decode_page_header(page_bytes_);
  if (page.address == at && major_version_of_magic(page.magic))
    fail(unchecked_page_, unchecked_page_, magic_beside(at, page));
  return taken;
}

bool RecordVerifier::check_cluster(Lsn at, const PageHeader& page) {
  if (system_identifier_ != 0 && page.system_identifier != system_identifier_)
    return fail(at, at + kSystemIdentifierAt,
                fmt::format("WAL of another cluster: expected system identifier {}, found {}",
                            system_identifier_, page.system_identifier));
  if (page.segment_size != options_.segment_size.bytes())
    return fail(at, at + kSegmentSizeAt,
                fmt::format("unexpected segment size in page header: expected {}, found {}",
                            options_.segment_size.bytes(), page.segment_size));
  if (page.page_size != kPageSize)
    return fail(at, at + kPageSizeAt,
                fmt::format("unexpected WAL block size (XLOG_BLCKSZ): expected {}, found {}",
                            kPageSize, page.page_size));
  system_identifier_ = page.system_identifier;
  return true;
}

/// Compares the page with the incomplete record of the preceding page.
bool RecordVerifier::check_continuation(Lsn at, const PageHeader& page) {
  const auto left = bytes_left_of_record();
  const auto record = left != 0 && record_start_.valid() ? record_start_ : at;

  if (page.first_is_continuation() && page.overwrites_continuation())
    return fail(record, at + kInfoAt,
                fmt::format("unexpected page info 0x{:04X}: it both continues a record and "
                            "overwrites the continuation",
                            page.info));
  if (!page.first_is_continuation() && page.remaining != 0)
    return fail(record, at + kRemainingAt,
                fmt::format("unexpected length of a continued record where no record continues: "
                            "expected 0, found {}",
                            page.remaining));
  if (page.first_is_continuation() && page.remaining == 0)
    return fail(record, at + kRemainingAt,
                "unexpected length of a continued record: expected more than 0, found 0");

  if (first_page_ && page.first_is_continuation()) {
    state_ = State::skipped_body;
    record_start_ = Lsn();
    left_ = page.remaining;
    return true;
  }
  if (page.overwrites_continuation()) {
    if (left == 0 && !first_page_)
      return fail(at, at + kInfoAt,
                  fmt::format("unexpected page info 0x{:04X}: no record continues here whose "
                              "continuation could be overwritten",
                              page.info));
    drop_record();
    return true;
  }
  if (left == 0 && page.first_is_continuation())
    return fail(at, at + kInfoAt,
                fmt::format("unexpected page info 0x{:04X}: the preceding record is complete, so "
                            "no record can continue here",
                            page.info));
  if (left != 0 && !page.first_is_continuation())
    return fail(
        record, at + kInfoAt,
        fmt::format(
            "the record is not continued: expected {} more bytes of it, found page info 0x{:04X}",
            left, page.info));
  if (page.remaining != left)
    return fail(record, at + kRemainingAt,
                fmt::format("unexpected length of the continued record: expected {}, found {}",
                            left, page.remaining));
  return true;
}

/// The server crashed before the rest of the record was on disk, and overwrites that rest: the page
/// starts with a new record, whose prev-link points to the last complete one.
void RecordVerifier::drop_record() {
  after_overwrite_ = true;
  if (record_start_.valid()) {
    overwritten_ = record_start_;
  } else {
    // Started before the stream: the known previous record, if any, is the dropped one.
    overwritten_ = options_.previous_record;
    previous_ = std::nullopt;
  }
  state_ = State::record_header;
  have_ = 0;
  body_.clear();
}

// ---- records

/// Takes the available part of the page's content; less only if the filler starts.
std::size_t RecordVerifier::take_page_content(std::span<const std::byte> page) {
  const auto size = page.size();
  const auto take = [&](std::size_t bytes) {
    const auto piece = page.first(bytes);
    page = page.subspan(bytes);
    position_ = position_ + bytes;
    return piece;
  };
  while (!page.empty() && !damage_) {
    switch (state_) {
      case State::record_header: {
        const auto had = have_;
        if (had == 0) {
          take(take_plain_records(page));
          if (page.empty()) break;
          record_start_ = position_;
          header_known_ = false;
        }
        const auto piece = take(std::min(kRecordHeaderSize - had, page.size()));
        std::memcpy(header_bytes_.data() + had, piece.data(), piece.size());
        have_ = had + piece.size();
        // The length is always on the record's first page, and the next page's header is compared
        // with it: it is checked first.
        if (had < kLengthSize && have_ >= kLengthSize && !check_length()) break;
        if (have_ == kRecordHeaderSize && check_header()) begin_body();
        break;
      }
      case State::body: {
        const auto piece = take(std::min<std::size_t>(left_, page.size()));
        crc_ = crc32c(crc_, piece);
        left_ -= static_cast<std::uint32_t>(piece.size());
        if (collect_ && !(left_ == 0 && body_.empty())) {
          body_.insert(body_.end(), piece.begin(), piece.end());
          if (left_ == 0) end_of_body(body_);
        } else if (left_ == 0) {
          end_of_body(piece);
        }
        break;
      }
      case State::skipped_body:
        left_ -= static_cast<std::uint32_t>(take(std::min<std::size_t>(left_, page.size())).size());
        if (left_ == 0) begin_padding();
        break;
      case State::padding:
        take(std::min<std::size_t>(align(position_) - position_, page.size()));
        if (align(position_) == position_) finish_record();
        break;
      case State::filler:
      case State::unchecked:
        return size - page.size();
    }
  }
  return size - page.size();
}

/// Fast path: nearly all records are complete on their page, valid, and not needed by the observer.
/// Takes such records from the start of `page` at once; returns their size. Everything else, such
/// as damage, is left to the state machine, which reads it piece by piece and can report it.
std::size_t RecordVerifier::take_plain_records(std::span<const std::byte> page) {
  if (!previous_ || after_overwrite_ || !first_record_start_.valid()) return 0;
  auto* const observer = options_.observer != nullptr && !options_.observer->needs_xlog_only()
                             ? options_.observer
                             : nullptr;
  const auto begin = position_;
  auto previous = *previous_;
  std::size_t taken = 0, newest = 0;
  std::uint64_t count = 0;
  while (page.size() - taken >= kRecordHeaderSize) {
    const auto left = page.subspan(taken);
    const auto length = load<std::uint32_t>(left);
    if (length < kRecordHeaderSize || length > left.size()) break;
    const std::size_t aligned = (length + kAlignment - 1) & ~std::size_t{kAlignment - 1};
    if (aligned > left.size() || load<std::uint64_t>(left.subspan(kPreviousAt)) != previous.byte())
      break;
    const auto manager = std::to_integer<std::uint8_t>(left[kManagerAt]);
    if (manager == kXlogManager || manager > kMaxBuiltinManager) break;
    if (record_crc(left.first(length)) != load<std::uint32_t>(left.subspan(kCrcOffset))) break;
    newest = taken;
    previous = begin + taken;
    taken += aligned;
    ++count;
    if (observer == nullptr) continue;
    const auto header = decode_record_header(left.first<kRecordHeaderSize>());
    const auto body = left.first(length).subspan(kRecordHeaderSize);
    observer->on_record(previous, begin + taken, header,
                        observer->wants(header) ? body : std::span<const std::byte>());
  }
  if (count == 0) return 0;
  // As left by finish_record().
  header_ = decode_record_header(page.subspan(newest).first<kRecordHeaderSize>());
  header_known_ = true;
  record_start_ = newest_record_start_ = last_record_start_ = previous;
  previous_ = previous;
  overwritten_ = std::nullopt;
  last_record_end_ = records_end_ = begin + taken;
  records_ += count;
  return taken;
}

/// Returns false after damage, or if nothing is checked any more; so do all checks.
bool RecordVerifier::check_length() {
  std::memcpy(&header_.total_length, header_bytes_.data(), kLengthSize);
  const auto length = header_.total_length;
  if (length == 0) {
    fail(record_start_, record_start_, "no record here: the WAL ends (xl_tot_len is 0)");
    if (damage_) damage_->is_unwritten = true;
    return false;
  }
  if (length < kRecordHeaderSize)
    return fail(record_start_, record_start_,
                fmt::format("invalid record length: expected at least {}, found {}",
                            kRecordHeaderSize, length));
  if (is_beyond_known(major_) && length > kMaxRecordSize) {
    state_ = State::unchecked;  // avoids a false alarm
    return false;
  }
  if (major_ >= kFirstMajorWithMaxRecordSize && length > kMaxRecordSize)
    return fail(record_start_, record_start_,
                fmt::format("invalid record length: expected at most {}, found {}", kMaxRecordSize,
                            length));
  newest_record_start_ = record_start_;
  if (!first_record_start_.valid()) first_record_start_ = record_start_;
  return true;
}

bool RecordVerifier::check_header() {
  header_ = decode_record_header(header_bytes_);
  header_known_ = true;
  if (!manager_is_valid(header_.resource_manager, major_))
    return fail(record_start_, byte_of_record(kManagerAt),
                fmt::format("invalid resource manager {} for PostgreSQL {}",
                            header_.resource_manager, major_));
  if (previous_ && header_.previous != *previous_)
    return fail(record_start_, byte_of_record(kPreviousAt),
                fmt::format("incorrect link to the previous record: expected {}, found {}",
                            *previous_, header_.previous));
  if (header_.previous >= record_start_)
    return fail(
        record_start_, byte_of_record(kPreviousAt),
        fmt::format("incorrect link to the previous record: expected one below {}, found {}",
                    record_start_, header_.previous));
  // The server writes it before any other record (CreateOverwriteContrecordRecord).
  if (after_overwrite_ && !is_overwrite_record())
    return fail(
        record_start_, byte_of_record(kRecordInfoAt),
        fmt::format(
            "the page overwrites a record's continuation, but does not begin with the record that "
            "marks this: expected resource manager {} and info 0x{:02X}, found {} and 0x{:02X}",
            kXlogManager, static_cast<int>(XlogRecord::overwrite_contrecord),
            header_.resource_manager, header_.info));
  if (record_start_ == first_record_start_) first_record_previous_ = header_.previous;
  return true;
}

void RecordVerifier::begin_body() {
  have_ = 0;
  left_ = header_.total_length - static_cast<std::uint32_t>(kRecordHeaderSize);
  crc_ = ~0u;
  observed_ = options_.observer != nullptr && options_.observer->wants(header_);
  // The claimed length may be enormous: only received bytes are stored, without reserve().
  collect_ = observed_ || is_overwrite_record();
  state_ = State::body;
  if (left_ == 0) end_of_body({});
}

void RecordVerifier::end_of_body(std::span<const std::byte> body) {
  const auto crc = ~crc32c(crc_, std::span(header_bytes_).first(kCrcOffset));
  if (crc != header_.crc) {
    fail(record_start_, byte_of_record(kCrcOffset),
         fmt::format("incorrect record checksum: expected 0x{:08X}, found 0x{:08X}", crc,
                     header_.crc));
    return;
  }
  if (is_overwrite_record() && !check_overwritten(body)) return;
  if (options_.observer != nullptr)
    options_.observer->on_record(record_start_, align(position_), header_,
                                 observed_ ? body : std::span<const std::byte>());
  if (!body_.empty()) body_.clear();
  begin_padding();
}

bool RecordVerifier::check_overwritten(std::span<const std::byte> body) {
  if (!after_overwrite_)
    return fail(record_start_, record_start_,
                "the record says that a continuation was overwritten, but its page does not");
  // All versions so far have this format; a different one could not be checked.
  const auto told = overwritten_record(body);
  if (!overwritten_ || !told || *told == *overwritten_) return true;
  return fail(record_start_, byte_of_record(kRecordHeaderSize + 2),
              fmt::format("incorrect position of the overwritten record: expected {}, found {}",
                          *overwritten_, *told));
}

void RecordVerifier::begin_padding() {
  state_ = State::padding;
  if (align(position_) == position_) finish_record();
}

void RecordVerifier::finish_record() {
  state_ = State::record_header;
  if (!record_start_.valid()) return;  // started before the stream, unknown

  previous_ = record_start_;
  after_overwrite_ = false;
  overwritten_ = std::nullopt;
  last_record_start_ = record_start_;
  last_record_end_ = records_end_ = position_;
  ++records_;
  // The switch may end exactly at the segment's end; if it crosses that, the whole next segment is
  // filler.
  if (is_xlog(header_, XlogRecord::segment_switch) && options_.segment_size.offset(position_) != 0)
    state_ = State::filler;
}

/// Servers write zeros, without page headers. They are never read, so any bytes are legal.
std::size_t RecordVerifier::skip_filler(std::size_t available) {
  const auto left = options_.segment_size.bytes() - options_.segment_size.offset(position_);
  const auto taken = std::min<std::size_t>(left, available);
  position_ = position_ + taken;
  if (taken == left) {
    last_record_end_ = position_;
    state_ = State::record_header;
  }
  return taken;
}

// ---- helpers

bool RecordVerifier::fail(Lsn at, Lsn found_at, std::string what) {
  if (is_beyond_known(major_) && state_ != State::unchecked) {
    if (records_ == 0) {  // the rules have not been confirmed
      state_ = State::unchecked;
      return false;
    }
    what += "; the WAL is of a newer PostgreSQL than this pgweir knows";
  }
  damage_ = Damage{at, found_at, std::move(what)};
  if (header_known_ && at == record_start_) damage_->record = header_;
  position_ = found_at;
  return false;
}

std::size_t RecordVerifier::page_header_size(Lsn at) const {
  return options_.segment_size.offset(at) < kPageSize ? kLongHeaderSize : kShortHeaderSize;
}

/// Position of the byte at `offset` of the current record: page headers may precede it.
Lsn RecordVerifier::byte_of_record(std::uint64_t offset) const {
  auto at = record_start_;
  for (;;) {
    const auto room = kPageSize - offset_in_page(at);
    if (offset < room) return at + offset;
    offset -= room;
    at = at + room;
    at = at + page_header_size(at);
  }
}

std::uint32_t RecordVerifier::bytes_left_of_record() const {
  switch (state_) {
    case State::record_header:
      return have_ == 0 ? 0 : header_.total_length - static_cast<std::uint32_t>(have_);
    case State::body:
    case State::skipped_body:
      return left_;
    case State::padding:
    case State::filler:
    case State::unchecked:
      break;
  }
  return 0;
}

bool RecordVerifier::is_overwrite_record() const {
  return is_xlog(header_, XlogRecord::overwrite_contrecord);
}

bool RecordVerifier::inside_record() const {
  if (state_ == State::record_header) return have_ != 0;
  return state_ == State::body || state_ == State::skipped_body || state_ == State::padding;
}

Lsn RecordVerifier::position() const { return position_; }
Lsn RecordVerifier::last_record_end() const { return last_record_end_; }
Lsn RecordVerifier::records_end() const { return records_end_; }
Lsn RecordVerifier::last_record_start() const { return last_record_start_; }
Lsn RecordVerifier::newest_record_start() const { return newest_record_start_; }
Lsn RecordVerifier::first_record_start() const { return first_record_start_; }
Lsn RecordVerifier::first_record_previous() const { return first_record_previous_; }
bool RecordVerifier::unchecked() const {
  return state_ == State::unchecked || is_beyond_known(major_);
}
std::uint64_t RecordVerifier::records() const { return records_; }
std::uint64_t RecordVerifier::system_identifier() const { return system_identifier_; }

}  // namespace weir::wal
