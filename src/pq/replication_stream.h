#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "net/wake.h"
#include "pq/connection.h"
#include "pq/direct_reader.h"
#include "pq/message_bound.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/copy_messages.h"

namespace weir::pq {

/// Options of an output plugin; most plugins treat one without a value as a switch.
using PluginOptions = std::vector<std::pair<std::string, std::optional<std::string>>>;

/// The server ended the stream. If `next` is set, the requested timeline has ended there.
struct EndOfStream {
  struct Next {
    wal::TimelineId timeline;
    wal::Lsn switchpoint;
  };
  std::optional<Next> next;
};
/// No complete message yet: wait for the socket.
struct NothingYet {};
using StreamEvent = std::variant<NothingYet, wire::XLogData, wire::Keepalive, EndOfStream>;

/// A physical or logical stream on a connection that it uses until the stream ends. Never blocks.
/// One thread at a time: callers with several threads need a lock.
class ReplicationStream {
 public:
  /// START_REPLICATION [SLOT slot] PHYSICAL start TIMELINE timeline. The server may answer that the
  /// timeline ends exactly at `start`: then next() first returns EndOfStream. Throws the server's
  /// Error, Error{retry}, Interrupted. The connection must outlive the stream (it may be moved),
  /// and must not be used until next() has returned EndOfStream or finish() has returned.
  static ReplicationStream start(Connection& connection, const std::optional<std::string>& slot,
                                 wal::Lsn start, wal::TimelineId timeline,
                                 const net::Wake& interrupt);

  /// START_REPLICATION SLOT slot LOGICAL start (options), on a connection with
  /// Replication::logical. The server starts with the first transaction whose commit record starts
  /// at or after `start`; for 0/0, or an earlier position, silently at the slot's
  /// confirmed_flush_lsn. Throws as start(); a plugin's errors about its options are thrown by
  /// next().
  static ReplicationStream start_logical(Connection& connection, const std::string& slot,
                                         wal::Lsn start, const PluginOptions& options,
                                         const net::Wake& interrupt);

  ReplicationStream(ReplicationStream&&) noexcept;
  ReplicationStream& operator=(ReplicationStream&&) noexcept;
  ~ReplicationStream();

  /// Reads from the socket (PQconsumeInput). If the connection is lost, next() throws only after it
  /// has returned what arrived before, which may include the server's reason.
  void receive();
  /// The next complete message received. Throws the server's Error (the walsender failed: e.g.
  /// 58P01, WAL removed), Error{retry} if the connection ended, Error{protocol} for an invalid
  /// message (unknown type, too short, a position that wraps). After EndOfStream the connection
  /// accepts commands again, unless the server has shut down. EndOfStream is returned repeatedly.
  ///
  /// `place` is the preferred destination for the WAL of the next message, to save copies: the WAL
  /// may be stored there (see XLogData.wal), and the rest of `place` is unchanged.
  [[nodiscard]] StreamEvent next(std::span<std::byte> place = {});
  /// Keeps the WAL of the last next() valid for the lifetime of the stream, for a caller that still
  /// uses it and must continue reading. Once.
  void keep_last();
  /// Queues message 'r'; sends as much as the socket accepts now. While an earlier one is queued
  /// only the newest is kept. Does nothing once the stream ends. Does not throw if the connection
  /// fails: next() does, after the messages that the server had sent before.
  void send(const wire::StandbyStatus& status);
  /// The same for message 'h'.
  void send(const wire::HotStandbyFeedback& feedback);
  /// Sends the queue. Returns true if it is empty, or nothing can be sent any more.
  bool flush();
  /// Ends the copy from our side and reads the stream to its end. Limited by `timeout`, not by the
  /// Wake, since a clean stop starts with that. Data that still arrives is discarded. Throws
  /// Error{retry} if the time was too short, else what next() throws.
  void finish(std::chrono::milliseconds timeout);
  /// The socket to poll. If libpq has closed it, which may happen while sending, a descriptor that
  /// is always ready, so that a loop calls receive() and next(), which reports the loss.
  [[nodiscard]] int socket() const;
  [[nodiscard]] bool by_unix_socket() const;
  /// Resets the connection, so that the server ends the session at once, even with unread data;
  /// next() then reports the loss. Confirmed positions stay confirmed.
  void let_go();
  /// More than 1: much data is expected, and this many bytes may accumulate on the socket before it
  /// becomes readable. So a wait needs a timeout, and must then call next(). 1, the default: each
  /// message is reported. From a TCP connection without TLS, WAL is then read without libpq (with
  /// TLS it always is, if possible).
  void gather(std::size_t bytes);

 private:
  enum class Phase {
    copying,
    ending,  // the copy has ended; remaining results must be read
    ended,
  };
  struct FreeBuffer {
    void operator()(char* buffer) const;
  };

  ReplicationStream(pg_conn* connection, std::string server_name, wire::StreamKind kind,
                    wal::TimelineId timeline);
  static ReplicationStream begin(Connection& connection, const std::string& command,
                                 wire::StreamKind kind, wal::TimelineId timeline,
                                 const net::Wake& interrupt);
  void read_directly_from_here(Connection& connection);
  StreamEvent next_in_copy(std::span<std::byte> place = {});
  std::optional<StreamEvent> next_directly(std::span<std::byte> place);
  [[nodiscard]] StreamEvent understood(const wire::FromServer& message) const;
  [[nodiscard]] bool put(const std::string& message);
  int push();
  void require_bounded_message();
  StreamEvent next_result();
  void take_result(const pg_result* result, std::string_view command = {});
  [[nodiscard]] Error stream_error(const pg_result* result, std::string_view command) const;
  void discard();
  void read_on(bool unsent, std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] Error lost() const;
  [[nodiscard]] Error lost(std::string_view reason) const;

  pg_conn* connection_;
  std::string server_name_;
  wire::StreamKind kind_;
  wal::TimelineId timeline_;  // 0 in a logical stream
  Phase phase_ = Phase::ending;
  bool lost_ = false;  // PQconsumeInput failed: no more data will arrive
  bool write_failed_ = false;
  MessageBound message_;
  bool has_read_ = false;          // since the last check
  DirectReader direct_;            // reads in place of libpq, if possible
  bool blocked_ = false;           // the socket did not accept everything; see flush()
  bool command_complete_ = false;  // the server has ended the command normally
  EndOfStream end_;
  // Does not fit after libpq's unsent output:
  std::optional<wire::StandbyStatus> waiting_;
  std::optional<wire::HotStandbyFeedback> waiting_feedback_;
  std::unique_ptr<net::Wake> always_ready_;
  std::unique_ptr<char, FreeBuffer> buffer_;  // libpq's; XLogData points into it
  std::unique_ptr<char, FreeBuffer> kept_buffer_;
  std::vector<std::byte> kept_body_;
};

}  // namespace weir::pq
