#pragma once

#include <cstddef>
#include <string>

#include "pq/connection.h"
#include "pq/message_bound.h"

struct pg_result;

namespace weir::pq {

/// A command that is somebody else's: what the server answers (rows, copies out, notices, errors)
/// goes on as messages of the protocol, each with all its parts and in its order, up to but without
/// ReadyForQuery. For commands that take no data. Never blocks; what it keeps is bounded by the
/// server's largest message. One thread.
class PassedThrough {
 public:
  /// Owns the connection, on which nothing else runs, and sends the command. Throws Error{retry},
  /// Interrupted.
  PassedThrough(Connection connection, const std::string& command);
  PassedThrough(const PassedThrough&) = delete;
  PassedThrough& operator=(const PassedThrough&) = delete;
  /// Ends the connection, and with it a command that still runs.
  ~PassedThrough() = default;

  enum class Progress {
    nothing,  ///< nothing complete is there: wait for socket()
    some,     ///< there may be more
    done,     ///< the answer is complete
    failed,   ///< the same; the last message is an error, after which the connection goes on
    fatal,    ///< the last message is the server's last word
  };
  /// Appends what has come, whole messages, until `out` has `most` bytes or more. Throws
  /// Error{retry} where the connection broke without a last word, Error{protocol}.
  [[nodiscard]] Progress take(std::string& out, std::size_t most);
  /// To poll for reading. Under TLS part of a message may wait inside, of which the socket says
  /// nothing: look again after a moment, too, where polls_again() says so.
  [[nodiscard]] int socket() const { return connection_.socket(); }
  [[nodiscard]] bool polls_again() const;

 private:
  static void on_notice(void* self, const pg_result* notice);
  bool next(std::string& out);
  void pass(const pg_result* result, std::string& out);
  [[nodiscard]] Error lost(const char* reason) const;

  Connection connection_;
  MessageBound bound_;
  std::string notices_;  ///< of the answer, and not passed on yet
  bool copying_ = false;
  bool copy_ended_ = false;           ///< and what comes behind it is not known yet
  Progress end_ = Progress::nothing;  ///< what take() answers when all is passed on
};

}  // namespace weir::pq
