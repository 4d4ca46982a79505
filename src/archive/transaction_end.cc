#include "archive/transaction_end.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <ctime>

namespace weir::archive {

namespace {

/// Seconds from 1970-01-01 to 2000-01-01.
constexpr std::int64_t kEpochSeconds = 946'684'800;
constexpr std::int64_t kMicroseconds = 1'000'000;

constexpr std::uint8_t kTransactionManager = 1;  // RM_XACT_ID
constexpr std::uint8_t kOperationMask = 0x70;    // XLOG_XACT_OPMASK
constexpr std::uint8_t kCommit = 0x00;
constexpr std::uint8_t kAbort = 0x20;
constexpr std::uint8_t kCommitPrepared = 0x30;
constexpr std::uint8_t kAbortPrepared = 0x40;
constexpr std::uint8_t kHasInfo = 0x80;  // XLOG_XACT_HAS_INFO

template <typename Integer>
std::optional<Integer> take(std::span<const std::byte>& bytes) {
  if (bytes.size() < sizeof(Integer)) return std::nullopt;
  Integer value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  bytes = bytes.subspan(sizeof(value));
  return value;
}

/// The record's own data, which stands at its end; these records have no block references
/// (access/xlogrecord.h).
std::optional<std::span<const std::byte>> main_data(std::span<const std::byte> body) {
  constexpr std::uint8_t kDataShort = 255, kDataLong = 254, kOrigin = 253, kTopLevel = 252;
  auto rest = body;
  while (const auto id = take<std::uint8_t>(rest)) {
    std::optional<std::uint64_t> length;
    if (*id == kDataShort)
      length = take<std::uint8_t>(rest);
    else if (*id == kDataLong)
      length = take<std::uint32_t>(rest);
    else if (*id == kOrigin && take<std::uint16_t>(rest))
      continue;
    else if (*id == kTopLevel && take<std::uint32_t>(rest))
      continue;
    if (!length || *length > rest.size()) return std::nullopt;
    return body.last(*length);
  }
  return std::nullopt;
}

/// The xid of a prepared transaction stands behind what else its record tells (ParseCommitRecord in
/// access/rmgrdesc/xactdesc.c); 0 if it cannot be told.
std::uint32_t prepared_transaction(std::span<const std::byte> rest, bool commit) {
  constexpr std::uint32_t kDatabase = 1, kSubtransactions = 2, kRelations = 4, kInvalidations = 8,
                          kTwoPhase = 16, kDroppedStatistics = 256;
  const auto info = take<std::uint32_t>(rest);
  // The size of dropped statistics' items differs between versions.
  if (!info || (*info & kTwoPhase) == 0 || (*info & kDroppedStatistics) != 0) return 0;
  const auto skip = [&](std::uint64_t bytes) {
    if (bytes > rest.size()) return false;
    rest = rest.subspan(bytes);
    return true;
  };
  const auto skip_items = [&](std::uint64_t item) {
    const auto count = take<std::uint32_t>(rest);
    return count && skip(*count * item);
  };
  if ((*info & kDatabase) != 0 && !skip(8)) return 0;
  if ((*info & kSubtransactions) != 0 && !skip_items(4)) return 0;
  if ((*info & kRelations) != 0 && !skip_items(12)) return 0;
  if (commit && (*info & kInvalidations) != 0 && !skip_items(16)) return 0;
  return take<std::uint32_t>(rest).value_or(0);
}

}  // namespace

bool TransactionObserver::wants(const wal::RecordHeader& header) {
  if (header.resource_manager != kTransactionManager) return false;
  const auto operation = header.info & kOperationMask;
  return operation == kCommit || operation == kCommitPrepared || operation == kAbort ||
         operation == kAbortPrepared;
}

void TransactionObserver::on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                                    std::span<const std::byte> body) {
  if (done_ || !wants(header)) return;
  auto data = main_data(body);
  const auto time = data ? take<std::int64_t>(*data) : std::nullopt;
  if (!time) return;
  const auto operation = header.info & kOperationMask;
  TransactionEnd found{{start, end, header.transaction, {*time}},
                       operation == kAbort || operation == kAbortPrepared};
  if ((operation == kCommitPrepared || operation == kAbortPrepared) &&
      (header.info & kHasInfo) != 0)
    found.commit.transaction = prepared_transaction(*data, operation == kCommitPrepared);
  done_ = !visit_(found);
}

namespace {

// ---- times

/// Digits, exactly `least` to `most` of them.
std::optional<int> take_number(std::string_view& text, std::size_t least, std::size_t most) {
  std::size_t count = 0;
  while (count < most && count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  if (count < least) return std::nullopt;
  int value = 0;
  std::from_chars(text.data(), text.data() + count, value);
  text.remove_prefix(count);
  return value;
}

bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

/// Minutes east of Greenwich; nullopt if it is none.
std::optional<int> take_zone(std::string_view& text) {
  if (take_word(text, "UTC") || take_word(text, "GMT") || take_word(text, "Z")) return 0;
  const bool east = take_word(text, "+");
  if (!east && !take_word(text, "-")) return std::nullopt;
  const auto hours = take_number(text, 1, 2);
  if (!hours || *hours > 15) return std::nullopt;
  int minutes = 0;
  if (!text.empty()) {
    take_word(text, ":");
    const auto found = take_number(text, 2, 2);
    if (!found || *found > 59) return std::nullopt;
    minutes = *found;
  }
  return (east ? 1 : -1) * (*hours * 60 + minutes);
}

}  // namespace

std::optional<PgTime> PgTime::parse(std::string_view text) {
  std::tm parts{};
  const auto year = take_number(text, 4, 4);
  if (!year || !take_word(text, "-")) return std::nullopt;
  const auto month = take_number(text, 1, 2);
  if (!month || !take_word(text, "-")) return std::nullopt;
  const auto day = take_number(text, 1, 2);
  if (!day || !(take_word(text, " ") || take_word(text, "T"))) return std::nullopt;
  const auto hour = take_number(text, 1, 2);
  if (!hour || !take_word(text, ":")) return std::nullopt;
  const auto minute = take_number(text, 2, 2);
  if (!minute) return std::nullopt;
  int second = 0;
  std::int64_t fraction = 0;
  if (take_word(text, ":")) {
    const auto found = take_number(text, 2, 2);
    if (!found) return std::nullopt;
    second = *found;
    if (take_word(text, ".")) {
      const auto before = text.size();
      const auto digits = take_number(text, 1, 6);
      if (!digits) return std::nullopt;
      fraction = *digits;
      for (auto count = before - text.size(); count < 6; ++count) fraction *= 10;
    }
  }
  if (*month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 || *minute > 59 ||
      second > 59)
    return std::nullopt;
  parts.tm_year = *year - 1900;
  parts.tm_mon = *month - 1;
  parts.tm_mday = *day;
  parts.tm_hour = *hour;
  parts.tm_min = *minute;
  parts.tm_sec = second;
  parts.tm_isdst = -1;

  take_word(text, " ");
  std::time_t seconds = 0;
  if (text.empty()) {
    auto normal = parts;
    seconds = std::mktime(&normal);
    if (normal.tm_mday != *day) return std::nullopt;  // 30 February
  } else {
    const auto zone = take_zone(text);
    if (!zone || !text.empty()) return std::nullopt;
    auto normal = parts;
    seconds = ::timegm(&normal);
    if (normal.tm_mday != *day) return std::nullopt;
    seconds -= *zone * 60;
  }
  return PgTime{(std::int64_t{seconds} - kEpochSeconds) * kMicroseconds + fraction};
}

std::string PgTime::to_string() const {
  auto seconds = microseconds / kMicroseconds;
  auto fraction = microseconds % kMicroseconds;
  if (fraction < 0) {
    fraction += kMicroseconds;
    --seconds;
  }
  const std::time_t unix_seconds = seconds + kEpochSeconds;
  std::tm parts{};
  if (::gmtime_r(&unix_seconds, &parts) == nullptr) return fmt::format("{} us", microseconds);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06} UTC", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     fraction);
}

}  // namespace weir::archive
