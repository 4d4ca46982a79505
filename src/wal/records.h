#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "wal/lsn.h"
#include "wal/page.h"

// The few of PostgreSQL's WAL records that mean something here: how one is known, and what it says.
// They have kept their form from 13 to 19.

namespace weir::wal {

// access/rmgrlist.h
inline constexpr std::uint8_t kXlogManager = 0;         ///< RM_XLOG_ID
inline constexpr std::uint8_t kTransactionManager = 1;  ///< RM_XACT_ID
inline constexpr std::uint8_t kTablespaceManager = 5;   ///< RM_TBLSPC_ID

/// Records of RM_XLOG_ID (catalog/pg_control.h), by the high half of xl_info: the low one is the
/// insertion machinery's own (XLR_INFO_MASK).
enum class XlogRecord : std::uint8_t {
  checkpoint_shutdown = 0x00,
  checkpoint_online = 0x10,
  segment_switch = 0x40,  ///< what is left of the segment behind it means nothing
  backup_end = 0x50,
  parameter_change = 0x60,
  end_of_recovery = 0x90,
  overwrite_contrecord = 0xD0,  ///< a record before it was never written to its end
};

[[nodiscard]] constexpr bool is_xlog(const RecordHeader& header) {
  return header.resource_manager == kXlogManager;
}
[[nodiscard]] constexpr bool is_xlog(const RecordHeader& header, XlogRecord which) {
  constexpr std::uint8_t kInfoMask = 0xF0;
  return is_xlog(header) && (header.info & kInfoMask) == static_cast<std::uint8_t>(which);
}

/// The record's own data, which stands at the end of its body (what follows the 24 bytes of
/// header). Only of records without references to blocks, as all those here are; nullopt of others,
/// and of what is no body (access/xlogrecord.h).
[[nodiscard]] std::optional<std::span<const std::byte>> main_data(std::span<const std::byte> body);

/// A server begins a timeline with one of two records: the shutdown checkpoint or the
/// end-of-recovery record after a promotion.
[[nodiscard]] constexpr bool names_timeline(const RecordHeader& header) {
  return is_xlog(header, XlogRecord::checkpoint_shutdown) ||
         is_xlog(header, XlogRecord::end_of_recovery);
}
/// What these say of it. Of a shutdown checkpoint elsewhere both are the same.
struct TimelineBegin {
  TimelineId timeline = 0;
  TimelineId previous = 0;
};
/// By the body of such a record (CheckPoint in catalog/pg_control.h, xl_end_of_recovery in
/// access/xlog_internal.h); nullopt if it is too short.
[[nodiscard]] std::optional<TimelineBegin> timeline_begin(std::span<const std::byte> body);

[[nodiscard]] constexpr bool is_checkpoint(const RecordHeader& header) {
  return is_xlog(header, XlogRecord::checkpoint_shutdown) ||
         is_xlog(header, XlogRecord::checkpoint_online);
}
/// Where a recovery that begins with that checkpoint starts to read: its redo position, by the body
/// of such a record; nullopt if that is too short.
[[nodiscard]] std::optional<Lsn> redo_position(std::span<const std::byte> body);

/// Where the backup began whose end the body of an XlogRecord::backup_end tells.
[[nodiscard]] std::optional<Lsn> start_of_ended_backup(std::span<const std::byte> body);

/// Whether the server writes WAL with wal_level=minimal from the record on, by the body of an
/// XlogRecord::parameter_change (xl_parameter_change, the same in 13 to 19: five integers, then
/// wal_level). A server writes one at its start whenever wal_level is not what pg_control holds
/// (XLogReportParameters() in access/transam/xlog.c). nullopt if it is too short.
[[nodiscard]] std::optional<bool> sets_wal_level_minimal(std::span<const std::byte> body);

/// Start of the record whose continuation was overwritten, by the body of an
/// XlogRecord::overwrite_contrecord (xl_overwrite_contrecord); nullopt if it has another form than
/// all versions so far give it.
[[nodiscard]] std::optional<Lsn> overwritten_record(std::span<const std::byte> body);

/// XLOG_TBLSPC_CREATE (commands/tablespace.h). Who replays it makes directories where it says, and
/// removes what is there (create_tablespace_directories() in commands/tablespace.c).
[[nodiscard]] constexpr bool makes_tablespace(const RecordHeader& header) {
  return header.resource_manager == kTablespaceManager && (header.info & 0xF0) == 0;
}
/// The directory, by the body of such a record; "" is one in the server's own data directory;
/// nullopt if it cannot be told.
[[nodiscard]] std::optional<std::string> tablespace_location(std::span<const std::byte> body);

}  // namespace weir::wal
