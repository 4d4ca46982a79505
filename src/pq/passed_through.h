#pragma once

#include <cstddef>
#include <string>

#include "pq/connection.h"
#include "pq/message_bound.h"

struct pg_result;

namespace weir::pq {

/// Executes a client's command: the server's response (rows, copies out, notices, errors) is passed
/// on as protocol messages, complete and in order, up to but not including ReadyForQuery. For
/// commands that take no data. Never blocks; its memory is bounded by the server's largest message.
/// One thread.
class PassedThrough {
 public:
  /// Owns the connection, which must be idle, and sends the command. Throws Error{retry},
  /// Interrupted.
  PassedThrough(Connection connection, const std::string& command);
  PassedThrough(const PassedThrough&) = delete;
  PassedThrough& operator=(const PassedThrough&) = delete;
  /// Closes the connection, which ends a running command.
  ~PassedThrough() = default;

  enum class Progress {
    nothing,  ///< no complete message: wait for socket()
    some,     ///< there may be more
    done,     ///< the response is complete
    failed,   ///< the same; the last message is an error, and the connection stays usable
    fatal,    ///< the last message is a fatal error: the server has disconnected
  };
  /// Appends received messages, each complete, until `out` has at least `most` bytes. Throws
  /// Error{retry} if the connection broke without a final message, Error{protocol}.
  [[nodiscard]] Progress take(std::string& out, std::size_t most);
  /// To poll for reading. With TLS part of a message may be buffered internally, so the socket is
  /// not readable: if polls_again(), check again after a moment.
  [[nodiscard]] int socket() const { return connection_.socket(); }
  [[nodiscard]] bool polls_again() const;

 private:
  static void on_notice(void* self, const pg_result* notice);
  bool next(std::string& out);
  void pass(const pg_result* result, std::string& out);
  [[nodiscard]] Error lost(const char* reason) const;

  Connection connection_;
  MessageBound bound_;
  std::string notices_;  ///< received, and not passed on yet
  bool copying_ = false;
  bool copy_ended_ = false;           ///< the next message is not known yet
  Progress end_ = Progress::nothing;  ///< result of take() when everything is passed on
};

}  // namespace weir::pq
