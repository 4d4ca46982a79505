#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

// The replication commands except START_REPLICATION: PostgreSQL documentation, chapter "Streaming
// Replication Protocol"; grammar in src/backend/replication/repl_gram.y.

struct SystemIdentity {
  std::uint64_t system_identifier = 0;
  wal::TimelineId timeline = 0;
  wal::Lsn flush_position;  ///< xlogpos: a primary's flush, a standby's received-or-replayed end
};
[[nodiscard]] SystemIdentity identify_system(Connection& connection);

struct SlotState {
  bool exists = false;
  std::string type;                     ///< "physical"; READ_REPLICATION_SLOT supports no other
                                        ///< type
  std::optional<wal::Lsn> restart_lsn;  ///< unset: no WAL reserved, or invalidated
  std::optional<wal::TimelineId> restart_timeline;
};
/// READ_REPLICATION_SLOT, server 15 and later; nullopt for an older one.
[[nodiscard]] std::optional<SlotState> read_replication_slot(Connection& connection,
                                                             const std::string& slot);
/// CREATE_REPLICATION_SLOT … PHYSICAL RESERVE_WAL, in the grammar of the server's version. Returns
/// false if it exists already (SQLSTATE 42710); the caller decides whether that is an error, unless
/// `may_exist` is false: then the server's error is thrown.
/// Without `reserve_wal` the slot retains no WAL before a client first streams from it. A temporary
/// slot is dropped with the connection.
bool create_physical_slot(Connection& connection, const std::string& slot, bool reserve_wal = true,
                          bool temporary = false, bool may_exist = true);
/// What to do with the snapshot of a new logical slot.
enum class Snapshot {
  nothing,  ///< no snapshot
  export_,  ///< other sessions can use it (SET TRANSACTION SNAPSHOT, pg_dump --snapshot) until the
            ///< connection runs its next command or ends
  use,      ///< for the transaction the command runs in: REPEATABLE READ READ ONLY
};

struct LogicalSlotOptions {
  std::string plugin = "test_decoding";
  bool temporary = false;  ///< dropped when the connection ends
  bool two_phase = false;  ///< decode at PREPARE TRANSACTION; server 15 and later
  bool failover = false;   ///< synchronized to standbys; server 17 and later
  Snapshot snapshot = Snapshot::nothing;
  bool may_exist = true;  ///< else the server's error is thrown
};

struct LogicalSlot {
  wal::Lsn consistent_point;  ///< the stream starts with transactions that commit after it
  std::string snapshot;       ///< name of an exported snapshot, else empty
};

/// CREATE_REPLICATION_SLOT … LOGICAL, in the grammar of the server's version, on a connection with
/// Replication::logical. Returns nullopt if it exists already (SQLSTATE 42710). Waits without limit
/// for running transactions, as the server does; the connection's Wake ends that. Throws
/// Error{usage} for an option that the server's version does not support, the server's Error.
std::optional<LogicalSlot> create_logical_slot(Connection& connection, const std::string& slot,
                                               const LogicalSlotOptions& options);

/// Enlarges libpq's receive buffer, initially 16 kB, to at least this size, so that one read takes
/// more of a stream. libpq enlarges it only for a message that does not fit. On a connection with
/// Replication::logical or none; if the server reports an error, the buffer stays as it is.
void enlarge_buffer(Connection& connection, std::size_t bytes);

/// DROP_REPLICATION_SLOT without WAIT: a slot in use is Error{retry} (55006), a missing one
/// Error{refused} (42704).
void drop_slot(Connection& connection, const std::string& slot);

/// TIMELINE_HISTORY: the content of the file. Throws Error{conflict} if the server does not have
/// the file; Error{protocol} if the file name in the answer is not `<timeline>.history`.
[[nodiscard]] std::string timeline_history(Connection& connection, wal::TimelineId timeline);

}  // namespace weir::pq
