#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

// The replication commands and the copy stream: PostgreSQL documentation, chapter "Streaming
// Replication Protocol"; grammar in src/backend/replication/repl_gram.y.

struct SystemIdentity {
  std::uint64_t system_identifier = 0;
  wal::TimelineId timeline = 0;
  wal::Lsn flush_position;  ///< xlogpos: a primary's flush, a standby's received-or-replayed end
};
[[nodiscard]] SystemIdentity identify_system(Connection& connection);

/// SHOW; the value as the server prints it. ServerError if the parameter does not exist.
[[nodiscard]] std::string show(Connection& connection, const std::string& parameter);
/// "16MB" → the size. Throws Error{protocol} for what is no wal_segment_size.
[[nodiscard]] wal::SegmentSize show_wal_segment_size(Connection& connection);
/// data_directory_mode: 0700 or 0750, as the number.
[[nodiscard]] unsigned show_data_directory_mode(Connection& connection);
/// wal_sender_timeout for this session; zero: no timeout.
[[nodiscard]] std::chrono::milliseconds show_wal_sender_timeout(Connection& connection);

/// "2min", "500ms", "30s", "1h", "0" as SHOW prints times.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_guc_time(const std::string& text,
                                                                      const std::string& base_unit);

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
bool create_physical_slot(Connection& connection, const std::string& slot);
void drop_slot(Connection& connection, const std::string& slot);

/// TIMELINE_HISTORY: the content of the file. Throws ServerError; Error{protocol} if the server
/// answers with another file name than `<timeline>.history`.
[[nodiscard]] std::string timeline_history(Connection& connection, wal::TimelineId timeline);

/// Message 'w'. `wal` is valid until the next call of ReplicationStream::next().
struct XLogData {
  wal::Lsn start;
  wal::Lsn server_end;
  std::int64_t server_clock = 0;  ///< microseconds since 2000-01-01 UTC
  std::span<const std::byte> wal;
};
/// Message 'k'.
struct Keepalive {
  wal::Lsn server_end;
  std::int64_t server_clock = 0;
  bool reply_requested = false;
};
/// The server ended the stream. With `next` set the timeline we asked for has ended there.
struct EndOfStream {
  struct Next {
    wal::TimelineId timeline;
    wal::Lsn switchpoint;
  };
  std::optional<Next> next;
};
/// Nothing complete has arrived yet: wait for the socket.
struct NothingYet {};
using StreamEvent = std::variant<NothingYet, XLogData, Keepalive, EndOfStream>;

struct StandbyStatus {
  wal::Lsn write;
  wal::Lsn flush;
  wal::Lsn apply;
  bool reply_requested = false;
  bool operator==(const StandbyStatus&) const = default;
};

/// A physical stream on a connection that it uses until the stream has ended. Never blocks. One
/// thread at a time: callers with several threads bring a lock.
class ReplicationStream {
 public:
  /// START_REPLICATION [SLOT slot] PHYSICAL start TIMELINE timeline. The server may answer that the
  /// timeline ends exactly at `start`: then next() gives EndOfStream first. Throws ServerError,
  /// Error{retry}, Interrupted.
  static ReplicationStream start(Connection& connection, const std::optional<std::string>& slot,
                                 wal::Lsn start, wal::TimelineId timeline,
                                 const Interrupt& interrupt);

  /// Reads what the socket has (PQconsumeInput). Throws Error{retry} if the connection is lost.
  void receive();
  /// The next complete message of what was received. Throws ServerError (the walsender failed: e.g.
  /// 58P01, WAL removed), Error{retry} if the connection ended, Error{protocol} for a message that
  /// cannot be (unknown type, too short, a position that wraps).
  [[nodiscard]] StreamEvent next();
  /// Queues message 'r'; sends as much as the socket takes now.
  void send(const StandbyStatus& status);
  /// Sends what is queued. True when nothing is left.
  bool flush();
  /// Ends the copy from our side and reads the stream to its end; bounded by `timeout`. For a clean
  /// stop. Data that still arrives is dropped.
  void finish(std::chrono::milliseconds timeout);
  [[nodiscard]] int socket() const;

 private:
  // (implementation)
};

}  // namespace weir::pq
