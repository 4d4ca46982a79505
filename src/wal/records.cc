#include "wal/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "wal/record_bytes.h"

namespace weir::wal {

namespace {

// The ids have the same meaning in 13 to 19.
constexpr std::array<std::string_view, 22> kNames{
    "XLOG",       "Transaction",   "Storage", "CLOG",     "Database",
    "Tablespace", "MultiXact",     "RelMap",  "Standby",  "Heap2",
    "Heap",       "Btree",         "Hash",    "Gin",      "Gist",
    "Sequence",   "SPGist",        "BRIN",    "CommitTs", "ReplicationOrigin",
    "Generic",    "LogicalMessage"};
constexpr std::uint8_t kFirstCustom = 128;

}  // namespace

std::string resource_manager_name(std::uint8_t id) {
  if (id < kNames.size()) return std::string(kNames[id]);
  if (id >= kFirstCustom) return fmt::format("custom{}", id);
  return fmt::format("UNKNOWN ({})", id);
}

std::optional<std::span<const std::byte>> main_data(std::span<const std::byte> body) {
  // XLR_BLOCK_ID_DATA_SHORT, _DATA_LONG, _ORIGIN, _TOPLEVEL_XID
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

std::optional<TimelineBegin> timeline_begin(std::span<const std::byte> body) {
  // Both structures start with 8 bytes (a time, or the redo position), then the two timelines.
  constexpr std::size_t kThis = 8, kPrevious = 12;
  const auto data = main_data(body);
  if (!data) return std::nullopt;
  const auto timeline = integer_at<TimelineId>(*data, kThis);
  const auto previous = integer_at<TimelineId>(*data, kPrevious);
  if (!timeline || !previous) return std::nullopt;
  return TimelineBegin{*timeline, *previous};
}

namespace {

std::optional<Lsn> first_position(std::span<const std::byte> body) {
  const auto data = main_data(body);
  const auto position = data ? integer_at<std::uint64_t>(*data, 0) : std::nullopt;
  return position ? std::optional(Lsn(*position)) : std::nullopt;
}

}  // namespace

std::optional<Lsn> redo_position(std::span<const std::byte> body) { return first_position(body); }

std::optional<Lsn> start_of_ended_backup(std::span<const std::byte> body) {
  return first_position(body);
}

std::optional<bool> sets_wal_level_minimal(std::span<const std::byte> body) {
  constexpr std::size_t kWalLevel = 20;
  constexpr std::uint32_t kMinimal = 0;  // WAL_LEVEL_MINIMAL
  const auto data = main_data(body);
  const auto level = data ? integer_at<std::uint32_t>(*data, kWalLevel) : std::nullopt;
  return level ? std::optional(*level == kMinimal) : std::nullopt;
}

std::optional<ServerLimits> server_limits(std::span<const std::byte> body) {
  const auto data = main_data(body);
  ServerLimits limits{};
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const auto value =
        data ? integer_at<std::uint32_t>(*data, i * sizeof(std::uint32_t)) : std::nullopt;
    if (!value) return std::nullopt;
    limits[i] = *value;
  }
  return limits;
}

std::optional<Lsn> overwritten_record(std::span<const std::byte> body) {
  constexpr std::size_t kDataSize = 16;  // the position and a time
  constexpr std::size_t kHeadSize = 2;   // XLR_BLOCK_ID_DATA_SHORT and the length
  const auto data = main_data(body);
  if (!data || data->size() != kDataSize || body.size() != kHeadSize + kDataSize)
    return std::nullopt;
  return Lsn(*integer_at<std::uint64_t>(*data, 0));
}

namespace {

/// A C string after `offset` bytes of the record's data.
std::optional<std::string> text_behind(std::span<const std::byte> body, std::size_t offset) {
  const auto data = main_data(body);
  if (!data || data->size() <= offset) return std::nullopt;
  const auto text = data->subspan(offset);
  const auto end = std::find(text.begin(), text.end(), std::byte{});
  if (end == text.end()) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(text.data()),
                     static_cast<std::size_t>(end - text.begin()));
}

}  // namespace

std::optional<std::string> tablespace_location(std::span<const std::byte> body) {
  return text_behind(body, 4);  // xl_tblspc_create_rec: after its oid
}

std::optional<std::string> restore_point_name(std::span<const std::byte> body) {
  return text_behind(body, 8);
}

}  // namespace weir::wal
