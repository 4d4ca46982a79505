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

/// Options of an output plugin; one without value is a switch to most plugins.
using PluginOptions = std::vector<std::pair<std::string, std::optional<std::string>>>;

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
using StreamEvent = std::variant<NothingYet, wire::XLogData, wire::Keepalive, EndOfStream>;

/// A physical or logical stream on a connection that it uses until the stream has ended. Never
/// blocks. One thread at a time: callers with several threads bring a lock.
class ReplicationStream {
 public:
  /// START_REPLICATION [SLOT slot] PHYSICAL start TIMELINE timeline. The server may answer that the
  /// timeline ends exactly at `start`: then next() gives EndOfStream first. Throws the server's
  /// Error, Error{retry}, Interrupted. The connection outlives the stream (it may be moved) and
  /// does nothing else until next() gave EndOfStream or finish() returned.
  static ReplicationStream start(Connection& connection, const std::optional<std::string>& slot,
                                 wal::Lsn start, wal::TimelineId timeline,
                                 const net::Wake& interrupt);

  /// START_REPLICATION SLOT slot LOGICAL start (options), on a connection with
  /// Replication::logical. The server begins with the first transaction whose commit record starts
  /// at or behind `start`; 0/0, or a position before it: the slot's confirmed_flush_lsn, silently.
  /// Errors as start(); a plugin's complaints about its options come from next().
  static ReplicationStream start_logical(Connection& connection, const std::string& slot,
                                         wal::Lsn start, const PluginOptions& options,
                                         const net::Wake& interrupt);

  ReplicationStream(ReplicationStream&&) noexcept;
  ReplicationStream& operator=(ReplicationStream&&) noexcept;
  ~ReplicationStream();

  /// Reads what the socket has (PQconsumeInput). next() throws if the connection is lost, after it
  /// has given out what arrived before: the server's reason may be among that.
  void receive();
  /// The next complete message of what was received. Throws the server's Error (the walsender
  /// failed: e.g. 58P01, WAL removed), Error{retry} if the connection ended, Error{protocol} for a
  /// message that cannot be (unknown type, too short, a position that wraps). After EndOfStream the
  /// connection takes commands again, unless the server has shut down. An EndOfStream is repeated.
  ///
  /// `place` is where the WAL of the next message is wanted, to save copies: it may be put there
  /// (XLogData.wal says where it is), and what is behind it in `place` stays.
  [[nodiscard]] StreamEvent next(std::span<std::byte> place = {});
  /// The WAL of the last next() stays valid as long as the stream lives, whatever next() returns
  /// from now on: for a caller that still uses that WAL and has to read on. Once.
  void keep_last();
  /// Queues message 'r'; sends as much as the socket takes now. While an earlier one is stuck only
  /// the newest is kept. Does nothing once the stream ends. Does not throw for a connection that
  /// fails: next() does, after what the server had sent before.
  void send(const wire::StandbyStatus& status);
  /// The same for message 'h'.
  void send(const wire::HotStandbyFeedback& feedback);
  /// Sends what is queued. True when nothing is left, or nothing can be sent any more.
  bool flush();
  /// Ends the copy from our side and reads the stream to its end; bounded by `timeout`, and not by
  /// the Wake, which is what a clean stop begins with. Data that still arrives is dropped.
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
  /// message is news. Of a TCP connection that is not encrypted WAL is then read without libpq (of
  /// one with TLS it always is, where it can be).
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
  void take_result(const pg_result* result);
  [[nodiscard]] Error stream_error(const pg_result* result) const;
  void discard();
  void read_on(bool unsent, std::chrono::steady_clock::time_point deadline);
  [[nodiscard]] Error lost() const;

  pg_conn* connection_;
  std::string server_name_;
  wire::StreamKind kind_;
  wal::TimelineId timeline_;  // 0 in a logical stream
  Phase phase_ = Phase::ending;
  bool lost_ = false;  // PQconsumeInput failed: nothing more will arrive
  bool write_failed_ = false;
  MessageBound message_;
  bool has_read_ = false;          // since that was last looked at
  DirectReader direct_;            // reads in the place of libpq, or does not
  bool blocked_ = false;           // the socket did not take all; see flush()
  bool command_complete_ = false;  // the server has ended the command in good order
  EndOfStream end_;
  // What did not fit behind what libpq still has to send.
  std::optional<wire::StandbyStatus> waiting_;
  std::optional<wire::HotStandbyFeedback> waiting_feedback_;
  std::unique_ptr<net::Wake> always_ready_;
  std::unique_ptr<char, FreeBuffer> buffer_;  // libpq's; XLogData points into it
  std::unique_ptr<char, FreeBuffer> kept_buffer_;
  std::vector<std::byte> kept_body_;
};

}  // namespace weir::pq
