#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

// The replication commands but START_REPLICATION: PostgreSQL documentation, chapter "Streaming
// Replication Protocol"; grammar in src/backend/replication/repl_gram.y.

struct SystemIdentity {
  std::uint64_t system_identifier = 0;
  wal::TimelineId timeline = 0;
  wal::Lsn flush_position;  ///< xlogpos: a primary's flush, a standby's received-or-replayed end
};
[[nodiscard]] SystemIdentity identify_system(Connection& connection);

struct SlotState {
  bool exists = false;
  std::string type;                     ///< "physical"; READ_REPLICATION_SLOT knows no other
  std::optional<wal::Lsn> restart_lsn;  ///< unset: reserves nothing, or was invalidated
  std::optional<wal::TimelineId> restart_timeline;
};
/// READ_REPLICATION_SLOT, server 15 and later; nullopt for an older one.
[[nodiscard]] std::optional<SlotState> read_replication_slot(Connection& connection,
                                                             const std::string& slot);
/// CREATE_REPLICATION_SLOT … PHYSICAL RESERVE_WAL, in the grammar of the server's version. Returns
/// false if it exists already (SQLSTATE 42710); the caller decides whether that is an error.
/// Without `reserve_wal` the slot keeps no WAL before the first one streams from it.
/// A temporary one goes with the connection.
bool create_physical_slot(Connection& connection, const std::string& slot, bool reserve_wal = true,
                          bool temporary = false);
/// What becomes of the snapshot that a new logical slot begins with.
enum class Snapshot {
  nothing,  ///< none is made
  export_,  ///< other sessions can take it (SET TRANSACTION SNAPSHOT, pg_dump --snapshot) until the
            ///< connection runs its next command or ends
  use,      ///< for the transaction the command runs in: REPEATABLE READ READ ONLY
};

struct LogicalSlotOptions {
  std::string plugin = "test_decoding";
  bool temporary = false;  ///< gone when the connection ends
  bool two_phase = false;  ///< decode at PREPARE TRANSACTION; server 15 and later
  bool failover = false;   ///< synchronised to standbys; server 17 and later
  Snapshot snapshot = Snapshot::nothing;
};

struct LogicalSlot {
  wal::Lsn consistent_point;  ///< the stream begins with the transactions that commit behind this
  std::string snapshot;       ///< name of an exported one, else empty
};

/// CREATE_REPLICATION_SLOT … LOGICAL, in the grammar of the server's version, on a connection with
/// Replication::logical. nullopt if it exists already (SQLSTATE 42710). Waits without limit for the
/// transactions that run, as the server does; the connection's Wake ends that. Throws
/// Error{usage} for an option that the server is too old for, the server's Error.
std::optional<LogicalSlot> create_logical_slot(Connection& connection, const std::string& slot,
                                               const LogicalSlotOptions& options);

/// Makes libpq's buffer for what it receives at least so large, from its 16 kB: it grows with the
/// first message that does not fit, and has no other way. One read then takes more of a stream. On
/// a connection with Replication::logical or none; a server that refuses leaves it as it is.
void enlarge_buffer(Connection& connection, std::size_t bytes);

/// DROP_REPLICATION_SLOT without WAIT: a slot in use is Error{retry} (55006), a missing one
/// Error{refused} (42704).
void drop_slot(Connection& connection, const std::string& slot);

/// TIMELINE_HISTORY: the content of the file. Throws Error{conflict} if the server
/// has no such file; Error{protocol} if it answers with another file name than
/// `<timeline>.history`.
[[nodiscard]] std::string timeline_history(Connection& connection, wal::TimelineId timeline);

}  // namespace weir::pq
