#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgweir/error.h"
#include "pgweir/lsn.h"

namespace weir {

/// A replication connection to a PostgreSQL server (13 to 19) and, once started, the stream of its
/// WAL: unchanged (physical), or decoded by an output plugin into changes (logical).
///
///     using Stream = weir::ReplicationStream;
///     Stream stream({.conninfo = "host=db1 dbname=shop", .kind = Stream::Kind::logical});
///     stream.create_slot("cdc", {.plugin = "test_decoding"});
///     stream.start({.slot = "cdc"});
///     stream.consume([&](const auto& message) {
///       store(message.text());            // durable when this returns
///       stream.confirm(message.end);      // the server may forget it
///       return true;
///     });
///
/// Replies to the server are sent automatically (see Options::background_replies). They contain the
/// confirmed positions; no position is confirmed without the user, with one exception that loses
/// nothing: Options::advance_when_idle.
///
/// A consumer that does not read blocks the server. When the buffers in between are full, the
/// walsender blocks in a send, and no longer notices that it must exit: pg_terminate_backend(), a
/// shutdown, and a checkpoint that invalidates the slot (max_slot_wal_keep_size) wait until the
/// consumer reads again or the connection ends. The slot retains WAL until a position is confirmed;
/// a logical slot also keeps VACUUM from removing rows of the system catalogs. A consumer that may
/// hang should therefore pass messages to another thread, and destroy the object when there is no
/// room for more. A stream that starts again at the confirmed position loses nothing.
///
/// One thread at a time; only interrupt() may be called from any thread and from signal handlers.
/// Throws Error: {usage} for invalid arguments, {retry} if the connection is lost or the error is
/// temporary, {refused} for permanent errors (a slot of the other kind, no such slot, plugin or
/// database, permission denied), {gap} if the server no longer has the WAL. For errors reported by
/// the server, sqlstate() is set. After a connection error the object cannot be used any more;
/// create a new one, and start at the confirmed position.
class ReplicationStream {
 public:
  enum class Kind {
    physical,  ///< connects with replication=true
    logical,   ///< connects to a database, with replication=database
  };

  struct Options {
    /// A connection string in libpq's key=value or URI form; several hosts are tried in turn.
    /// Logical: names the database.
    std::string conninfo;
    Kind kind = Kind::physical;
    std::chrono::milliseconds connect_timeout{30'000};  ///< for all hosts together
    std::string application_name = "pgweir";            ///< unless the connection string names one
    /// Interval at which confirmed positions are reported to the server. They are also sent if it
    /// requests a reply, or by send_feedback().
    std::chrono::milliseconds status_interval{10'000};
    /// True: a thread of the object sends due status messages even while the consumer does not
    /// read, so that it may be busy for longer than wal_sender_timeout. (A consumer that hangs
    /// indefinitely then keeps its slot active, which retains WAL.) False: replies are sent inside
    /// read(), consume() and the feedback functions only; call one of them within half of
    /// wal_sender_timeout, which is 60 s by default.
    bool background_replies = true;
    /// Logical: while everything that was delivered is confirmed, positions that the server reports
    /// as passed count as confirmed, too. The slot of a quiet database therefore does not retain
    /// the WAL of others. Physical streams never do this.
    bool advance_when_idle = true;
    /// Given each notice or warning of the server; on the thread that calls in. May be empty.
    std::function<void(const std::string&)> on_notice = {};
  };

  /// Connects. Throws Error{retry} if no server responds, Error{refused} for permanent errors: no
  /// such database, wrong password, no REPLICATION right, a server before 13.
  explicit ReplicationStream(Options options);
  /// Disconnects, without a last status: see stop().
  ~ReplicationStream();
  ReplicationStream(ReplicationStream&&) noexcept;
  ReplicationStream& operator=(ReplicationStream&&) noexcept;

  // --- The server. These, like all up to start(), are commands: not while a stream is on.

  struct Server {
    std::string name;  ///< "host:port", or the path of the socket
    int version = 0;   ///< 150018 is 15.18
    std::uint64_t system_identifier = 0;
    TimelineId timeline = 0;
    Lsn flush_lsn;  ///< end of the WAL that is durable there (on a standby: that it has)
  };
  [[nodiscard]] Server identify();

  /// Runs SQL on the logical connection, as needed around Snapshot::use; rows of text, nullopt is
  /// NULL. Not for COPY.
  std::vector<std::vector<std::optional<std::string>>> query(const std::string& sql);

  // --- Slots

  enum class Snapshot {
    exported,  ///< others can use it by its name, until the next command on this connection
    use,       ///< for the current transaction on this connection; see query()
    nothing,
  };
  struct SlotOptions {
    bool temporary = false;   ///< dropped when this connection ends
    bool reserve_wal = true;  ///< physical: keep WAL from now on, not from the first use
    std::string plugin = {};  ///< logical: "pgoutput", "test_decoding", …; must be named
    Snapshot snapshot = Snapshot::nothing;  ///< logical
    bool two_phase = false;  ///< logical: decode prepared transactions when prepared; 15 and later
    bool failover = false;   ///< logical: keep it in step on standbys; 17 and later
  };
  struct Slot {
    std::string name;
    Lsn consistent_point;  ///< changes of transactions that commit after it will be streamed
    std::optional<std::string> snapshot_name;  ///< Snapshot::exported: for SET TRANSACTION SNAPSHOT
    std::string plugin;
  };
  /// Creates a slot of the connection's kind. Throws Error{refused} (42710) if it exists.
  Slot create_slot(const std::string& name, const SlotOptions& options);
  Slot create_slot(const std::string& name);
  /// Throws Error{retry} (55006) if it is in use, Error{refused} (42704) if there is none.
  void drop_slot(const std::string& name);

  // --- The stream

  struct StartOptions {
    std::string slot = {};  ///< logical: required. Physical: may be empty; WAL is not retained then
    /// Start position. Unset: the slot's confirmed position (logical), or the end of the server's
    /// WAL (physical).
    Lsn start = {};
    TimelineId timeline = 0;  ///< physical; 0: the server's current one
    /// Logical: the output plugin's, in order; nullopt is an option without a value.
    std::vector<std::pair<std::string, std::optional<std::string>>> plugin_options = {};
  };
  void start(const StartOptions& options);

  struct Message {
    /// Physical: WAL, cut anywhere. Logical: one message of the plugin, which may contain any
    /// bytes. Valid until the next call of read() or consume() that returns one.
    std::span<const std::byte> data;
    Lsn data_start;  ///< physical: position of the first byte. Logical: of the change
    Lsn wal_end;     ///< the end of the server's WAL when it was sent, as known by the server
    std::chrono::system_clock::time_point send_time;  ///< by the server's clock
    /// The position to confirm when this message was processed: the end of the bytes (physical), or
    /// data_start, which for the commit of a transaction is after it (logical). Confirming inside a
    /// transaction is harmless: it is sent again completely unless its commit was confirmed.
    Lsn end;

    [[nodiscard]] std::string_view text() const {
      return {reinterpret_cast<const char*>(data.data()), data.size()};
    }
  };

  /// The next message that has arrived; nullopt if none has, or the stream has ended. Never blocks.
  [[nodiscard]] std::optional<Message> read();
  /// Waits for a message. Returns nullopt when the time is over, after interrupt(), or when the
  /// stream has ended: see streaming().
  [[nodiscard]] std::optional<Message> read(std::chrono::milliseconds timeout);

  enum class Ended {
    by_handler,     ///< it returned false; the stream continues
    interrupted,    ///< the stream continues
    timeline_over,  ///< see next_timeline()
  };
  /// Passes each message to `handle` until that returns false. Also throws what `handle` throws;
  /// the stream continues then.
  Ended consume(const std::function<bool(const Message&)>& handle);

  /// True from start() until the stream has ended.
  [[nodiscard]] bool streaming() const;

  struct NextTimeline {
    TimelineId timeline;
    Lsn switchpoint;
  };
  /// Physical: set when the timeline that was streamed has ended. start() again with it.
  [[nodiscard]] const std::optional<NextTimeline>& next_timeline() const;

  // --- Feedback to the server

  struct Feedback {
    Lsn write = {};  ///< received
    Lsn flush = {};  ///< durable: the server may remove earlier WAL
    Lsn apply = {};  ///< visible to readers; what remote_apply commits wait for
    bool request_reply = false;
  };
  /// Sends the positions now. Positions only move forward: an unset position, or one before the
  /// confirmed position, changes nothing. Error{usage} for a position after all WAL that the server
  /// has sent or reported.
  void send_feedback(const Feedback& feedback);
  /// Write, flush and apply reach this position; sent with the next status. Cheap: call it for each
  /// message.
  void confirm(Lsn position);
  /// The positions confirmed so far.
  [[nodiscard]] Feedback confirmed() const;

  /// The server's end of WAL, by its newest message of any kind.
  [[nodiscard]] Lsn wal_end() const;
  /// When the last message of the server arrived.
  [[nodiscard]] std::chrono::steady_clock::time_point last_contact() const;

  /// Sends the confirmed positions, ends the stream in good order and drops messages that still
  /// arrive. After it the connection accepts commands and start() again. (A second logical stream
  /// gets a connection of its own, because servers end it at once on the old one: temporary slots
  /// are lost then.) Error{retry} if the server does not end it within `timeout`.
  void stop(std::chrono::milliseconds timeout = std::chrono::seconds(10));

  /// For other event loops: when it is readable, call read() until that returns nullopt. Covers due
  /// replies, also if libpq still has data to send. The descriptor does not change during the
  /// object's lifetime; do not read from it or close it.
  [[nodiscard]] int fd() const;

  /// Ends the current read(timeout) or consume(), or else the next one.
  void interrupt() noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
