#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "pq/connection.h"
#include "pq/direct_copy.h"
#include "pq/message_bound.h"
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
/// Throws Error{usage} for what cannot be a parameter's name.
[[nodiscard]] std::string show(Connection& connection, const std::string& parameter);
/// "16MB" → the size. Throws Error{protocol} for what is no wal_segment_size.
[[nodiscard]] wal::SegmentSize show_wal_segment_size(Connection& connection);
/// The same without a server: "16MB", "1GB"; a bare number is in bytes.
[[nodiscard]] std::optional<wal::SegmentSize> parse_segment_size(std::string_view text);
/// data_directory_mode: 0700 or 0750, as the number.
[[nodiscard]] unsigned show_data_directory_mode(Connection& connection);
/// wal_sender_timeout for this session; zero: no timeout.
[[nodiscard]] std::chrono::milliseconds show_wal_sender_timeout(Connection& connection);

/// "2min", "500ms", "30s", "1h", "0" as SHOW prints times; a bare number is in `base_unit` ("us",
/// "ms", "s", "min", "h" or "d"). Parts of a millisecond are rounded up: 0 often means "never".
/// nullopt for anything else, negative numbers and those too large included.
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
/// Without `reserve_wal` the slot keeps no WAL before the first one streams from it.
/// A temporary one goes with the connection.
bool create_physical_slot(Connection& connection, const std::string& slot, bool reserve_wal = true,
                          bool temporary = false);
/// What becomes of the snapshot that a new logical slot begins with.
enum class Snapshot {
  nothing,  ///< none is made
  export_,  ///< other sessions can take it (SET TRANSACTION SNAPSHOT, pg_dump --snapshot) until the
            ///< connection runs its next command or ends
  use,      ///< for the transaction the command runs in, which has to be REPEATABLE READ
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
/// transactions that run, as the server does; the connection's Interrupt ends that. Throws
/// Error{usage} for an option that the server is too old for, ServerError.
std::optional<LogicalSlot> create_logical_slot(Connection& connection, const std::string& slot,
                                               const LogicalSlotOptions& options);

/// Makes libpq's buffer for what it receives at least so large, from its 16 kB: it grows with the
/// first message that does not fit, and has no other way. One read then takes more of a stream. On
/// a connection with Replication::logical or none; a server that refuses leaves it as it is.
void enlarge_buffer(Connection& connection, std::size_t bytes);

/// Options of an output plugin; one without value is a switch to most plugins.
using PluginOptions = std::vector<std::pair<std::string, std::optional<std::string>>>;

/// DROP_REPLICATION_SLOT without WAIT: a slot in use is Error{retry} (55006), a missing one
/// Error{refused} (42704).
void drop_slot(Connection& connection, const std::string& slot);

/// TIMELINE_HISTORY: the content of the file. Throws ServerError, of kind conflict if the server
/// has no such file; Error{protocol} if it answers with another file name than
/// `<timeline>.history`.
[[nodiscard]] std::string timeline_history(Connection& connection, wal::TimelineId timeline);

/// Message 'w'. In a logical stream `wal` is what the output plugin wrote at once, and `start` what
/// the plugin's callback was about (WalSndPrepareWrite in walsender.c): for a commit the end of its
/// record, for a change its beginning, for the beginning of a transaction that of its first record,
/// so it goes back; 0/0 where the plugin said that more of the same follows. `server_end` is equal
/// to `start` and the clock may be 0 there. `wal` is valid until the next call of
/// ReplicationStream::next().
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

/// A CopyData message of the stream, without its envelope. Pure; for any bytes. Error{protocol} for
/// one that cannot be. The XLogData points into `message`.
using Decoded = std::variant<XLogData, Keepalive, Error>;
[[nodiscard]] Decoded decode(std::span<const std::byte> message,
                             Replication kind = Replication::physical);
/// The same for a message in two parts; the first has DirectCopy::kHead bytes of it, or all.
[[nodiscard]] Decoded decode(std::span<const std::byte> message, std::span<const std::byte> rest,
                             Replication kind);

/// Message 'r'. `clock`: microseconds since 2000-01-01 UTC.
[[nodiscard]] std::string encode(const StandbyStatus& status, std::int64_t clock);

/// The largest XLogData that is taken in a physical stream. A walsender sends up to 16 WAL blocks
/// at once (MAX_SEND_SIZE in walsender.c), which is 1 MB with the largest block size there is. A
/// plugin may write up to 1 GB.
inline constexpr std::size_t kMaxXLogData = 16 * 1024 * 1024;

/// A physical or logical stream on a connection that it uses until the stream has ended. Never
/// blocks. One thread at a time: callers with several threads bring a lock.
class ReplicationStream {
 public:
  /// START_REPLICATION [SLOT slot] PHYSICAL start TIMELINE timeline. The server may answer that the
  /// timeline ends exactly at `start`: then next() gives EndOfStream first. Throws ServerError,
  /// Error{retry}, Interrupted. The connection outlives the stream (it may be moved) and does
  /// nothing else until next() gave EndOfStream or finish() returned.
  static ReplicationStream start(Connection& connection, const std::optional<std::string>& slot,
                                 wal::Lsn start, wal::TimelineId timeline,
                                 const Interrupt& interrupt);

  /// START_REPLICATION SLOT slot LOGICAL start (options), on a connection with
  /// Replication::logical. The server begins with the first transaction whose commit record starts
  /// at or behind `start`; 0/0, or a position before it: the slot's confirmed_flush_lsn, silently.
  /// Errors as start(); a plugin's complaints about its options come from next().
  static ReplicationStream start_logical(Connection& connection, const std::string& slot,
                                         wal::Lsn start, const PluginOptions& options,
                                         const Interrupt& interrupt);

  ReplicationStream(ReplicationStream&&) noexcept;
  ReplicationStream& operator=(ReplicationStream&&) noexcept;
  ~ReplicationStream();

  /// Reads what the socket has (PQconsumeInput). That the connection is lost is thrown by next(),
  /// once it has given out what arrived before: the server's reason may be among it.
  void receive();
  /// The next complete message of what was received. Throws ServerError (the walsender failed: e.g.
  /// 58P01, WAL removed), Error{retry} if the connection ended, Error{protocol} for a message that
  /// cannot be (unknown type, too short, a position that wraps). After EndOfStream the connection
  /// takes commands again, unless the server has shut down. An EndOfStream is repeated.
  ///
  /// `place` is where the WAL of the next message is wanted, to save copies: it may be put there
  /// (XLogData.wal says where it is), and what is behind it in `place` stays.
  [[nodiscard]] StreamEvent next(std::span<std::byte> place = {});
  /// Queues message 'r'; sends as much as the socket takes now. While an earlier one is stuck only
  /// the newest is kept. Does nothing once the stream ends. Does not throw for a connection that
  /// fails: next() does, after what the server had sent before.
  void send(const StandbyStatus& status);
  /// Sends what is queued. True when nothing is left, or nothing can be sent any more.
  bool flush();
  /// Ends the copy from our side and reads the stream to its end; bounded by `timeout`, and not by
  /// the Interrupt, which is what a clean stop begins with. Data that still arrives is dropped.
  /// Throws Error{retry} if the time was not enough, else what next() throws.
  void finish(std::chrono::milliseconds timeout);
  /// To poll. Once libpq has closed the socket, which it may do while sending, a descriptor that is
  /// always ready, so that a loop comes to receive() and next(), which tells of the loss.
  [[nodiscard]] int socket() const;
  [[nodiscard]] bool by_unix_socket() const;
  /// Breaks the connection off at the socket, so that the server lets go of it at once, whatever is
  /// still unread; next() then tells of the loss. What is acknowledged stays so.
  void let_go();
  /// More than 1: much is to come, and so many bytes may gather on the socket before it can be
  /// read. So a wait needs an end of its own, and calls next() then. 1, as at the beginning: each
  /// message is news. Of a TCP connection that is not encrypted WAL is then read without libpq.
  void gather(std::size_t bytes);

 private:
  enum class Phase {
    copying,
    ending,  // the copy has ended; results are to be read up to the last one
    ended,
  };
  struct FreeBuffer {
    void operator()(char* buffer) const;
  };

  ReplicationStream(pg_conn* connection, std::string server_name, Replication kind,
                    wal::TimelineId timeline);
  static ReplicationStream begin(Connection& connection, const std::string& command,
                                 Replication kind, wal::TimelineId timeline,
                                 const Interrupt& interrupt);
  StreamEvent next_in_copy(std::span<std::byte> place = {});
  std::optional<StreamEvent> next_directly(std::span<std::byte> place);
  [[nodiscard]] bool libpq_holds_nothing();
  [[nodiscard]] StreamEvent understood(const Decoded& message) const;
  int push();
  void stop_reading_directly();
  void require_bounded_message();
  StreamEvent next_result();
  void take_result(const pg_result* result);
  void discard();
  void read_on(bool unsent, std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] Error lost() const;

  pg_conn* connection_;
  std::string server_name_;
  Replication kind_;
  wal::TimelineId timeline_;  // 0 in a logical stream
  Phase phase_ = Phase::ending;
  bool lost_ = false;  // PQconsumeInput failed: nothing more will arrive
  bool write_failed_ = false;
  MessageBound message_;
  std::optional<DirectCopy> direct_;  // reads in the place of libpq
  std::size_t gathered_ = 1;
  std::optional<std::uint64_t> consumed_;  // bytes of the connection up to the last message taken
  int looks_ = 0;                          // whether libpq holds nothing
  bool blocked_ = false;                   // the socket did not take all; see flush()
  bool command_complete_ = false;          // the server has ended the command in good order
  EndOfStream end_;
  std::optional<StandbyStatus> waiting_;  // did not fit behind what libpq still has to send
  std::unique_ptr<Interrupt> always_ready_;
  std::unique_ptr<char, FreeBuffer> buffer_;  // libpq's; XLogData points into it
};

}  // namespace weir::pq
