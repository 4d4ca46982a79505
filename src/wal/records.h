#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "wal/lsn.h"
#include "wal/page.h"

// The few WAL records that pgweir interprets: how they are recognized, and their contents. Their
// formats are the same in 13 to 19.

namespace weir::wal {

// access/rmgrlist.h
inline constexpr std::uint8_t kXlogManager = 0;         ///< RM_XLOG_ID
inline constexpr std::uint8_t kTransactionManager = 1;  ///< RM_XACT_ID
inline constexpr std::uint8_t kTablespaceManager = 5;   ///< RM_TBLSPC_ID

/// The name of a resource manager as pg_waldump prints it ("Heap2", "Btree"; access/rmgrlist.h),
/// "custom130" for extensions, "UNKNOWN (90)" for invalid ids.
[[nodiscard]] std::string resource_manager_name(std::uint8_t id);

/// Records of RM_XLOG_ID (catalog/pg_control.h), by the upper half of xl_info: the lower one is
/// used by the insertion code (XLR_INFO_MASK).
enum class XlogRecord : std::uint8_t {
  checkpoint_shutdown = 0x00,
  checkpoint_online = 0x10,
  segment_switch = 0x40,  ///< the rest of the segment has no meaning
  backup_end = 0x50,
  parameter_change = 0x60,
  restore_point = 0x70,
  end_of_recovery = 0x90,
  overwrite_contrecord = 0xD0,  ///< an earlier record was never completely written
};

[[nodiscard]] constexpr bool is_xlog(const RecordHeader& header) {
  return header.resource_manager == kXlogManager;
}
[[nodiscard]] constexpr bool is_xlog(const RecordHeader& header, XlogRecord which) {
  constexpr std::uint8_t kInfoMask = 0xF0;
  return is_xlog(header) && (header.info & kInfoMask) == static_cast<std::uint8_t>(which);
}

/// The record's own data, at the end of its body (what follows the 24-byte header). Only for
/// records without block references, such as all those here; nullopt for others, and for an invalid
/// body (access/xlogrecord.h).
[[nodiscard]] std::optional<std::span<const std::byte>> main_data(std::span<const std::byte> body);

/// A server starts a timeline with one of two records: the shutdown checkpoint, or the
/// end-of-recovery record after a promotion.
[[nodiscard]] constexpr bool names_timeline(const RecordHeader& header) {
  return is_xlog(header, XlogRecord::checkpoint_shutdown) ||
         is_xlog(header, XlogRecord::end_of_recovery);
}
/// The timelines in these records. In other shutdown checkpoints both are equal.
struct TimelineBegin {
  TimelineId timeline = 0;
  TimelineId previous = 0;
};
/// Decodes the body of such a record (CheckPoint in catalog/pg_control.h, xl_end_of_recovery in
/// access/xlog_internal.h); nullopt if it is too short.
[[nodiscard]] std::optional<TimelineBegin> timeline_begin(std::span<const std::byte> body);

[[nodiscard]] constexpr bool is_checkpoint(const RecordHeader& header) {
  return is_xlog(header, XlogRecord::checkpoint_shutdown) ||
         is_xlog(header, XlogRecord::checkpoint_online);
}
/// The redo position, where a recovery from that checkpoint starts reading, from the body of such a
/// record; nullopt if it is too short.
[[nodiscard]] std::optional<Lsn> redo_position(std::span<const std::byte> body);

/// The start position of a backup, from the body of the XlogRecord::backup_end of its end.
[[nodiscard]] std::optional<Lsn> start_of_ended_backup(std::span<const std::byte> body);

/// Whether the server writes WAL with wal_level=minimal from the record on, by the body of an
/// XlogRecord::parameter_change (xl_parameter_change, the same in 13 to 19: five integers, then
/// wal_level). A server writes one at startup if wal_level differs from pg_control
/// (XLogReportParameters() in access/transam/xlog.c). nullopt if it is too short.
[[nodiscard]] std::optional<bool> sets_wal_level_minimal(std::span<const std::byte> body);

/// The limits in the same record, in its order. A hot standby with a lower one stops at the record
/// (RecoveryRequiresIntParameter() in access/transam/xlogrecovery.c).
inline constexpr std::array<const char*, 5> kServerLimits = {
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction"};
using ServerLimits = std::array<std::uint32_t, kServerLimits.size()>;
[[nodiscard]] std::optional<ServerLimits> server_limits(std::span<const std::byte> body);

/// The name in an XlogRecord::restore_point (xl_restore_point in access/xlog_internal.h: a time,
/// then the name); nullopt if the body is invalid.
[[nodiscard]] std::optional<std::string> restore_point_name(std::span<const std::byte> body);

/// Start of the record whose continuation was overwritten, by the body of an
/// XlogRecord::overwrite_contrecord (xl_overwrite_contrecord); nullopt if its format differs from
/// that of all versions so far.
[[nodiscard]] std::optional<Lsn> overwritten_record(std::span<const std::byte> body);

/// XLOG_TBLSPC_CREATE (commands/tablespace.h). Its replay creates directories at the location in
/// the record, and removes existing files there (create_tablespace_directories() in
/// commands/tablespace.c).
[[nodiscard]] constexpr bool makes_tablespace(const RecordHeader& header) {
  return header.resource_manager == kTablespaceManager && (header.info & 0xF0) == 0;
}
/// The directory, from the body of such a record; "" for one in the server's own data directory;
/// nullopt if the body is invalid.
[[nodiscard]] std::optional<std::string> tablespace_location(std::span<const std::byte> body);

}  // namespace weir::wal
