#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/descriptor.h"
#include "base/threads.h"
#include "net/listener.h"
#include "net/wake.h"

namespace weir::net {

/// A Unix socket with a hidden name in an archive's directory, by which commands query a running
/// process. A client gets the answer and the end of the stream. Only the owner of the process (and
/// root) have access. Has a thread of its own, idle until a client connects; needs no disk access.
class DirectorySocket {
 public:
  /// What a client does first.
  enum class Client {
    reads,       ///< nothing: the answer is always to the same question, and gets ""
    sends_line,  ///< it sends a line, which the answer gets
  };
  enum class Name {
    may_be_in_use,  ///< taken over if it was left by a process that was killed
    is_ours,        ///< the caller holds a lock that excludes other processes: it is replaced
  };
  /// Is called by the socket's thread. The client gets nothing if it is empty, or if a
  /// std::exception is thrown, which it should report first: the socket has no log.
  using Answer = std::function<std::string(const std::string& line)>;

  /// Throws Error{io} if the name is not available; its system_code() is EADDRINUSE if another
  /// process listens there.
  DirectorySocket(const std::string& directory, std::string name, Name state, Client client,
                  Answer answer);
  /// close(), whose result is ignored.
  ~DirectorySocket();
  DirectorySocket(const DirectorySocket&) = delete;
  DirectorySocket& operator=(const DirectorySocket&) = delete;

  /// Returns when no query is being answered any more. The name is removed; 0, or errno if it could
  /// not be.
  int close();

  struct Reply {
    std::optional<std::string> answer;  ///< nullopt without code: no process listens there
    int code = 0;                       ///< errno of the connection; ETIMEDOUT after `time`
    /// A process has the socket, but did not answer in time, or answered more than 4 MB.
    bool silent = false;
  };
  /// `line`: nullptr if the process expects none. Throws Error{io} if the directory is not
  /// accessible.
  [[nodiscard]] static Reply ask(const std::string& directory, const std::string& name,
                                 const std::string* line, std::chrono::milliseconds time);

 private:
  void work();
  void serve(int client) const;

  const std::string name_;
  const Client client_;
  const Answer answer_;
  Descriptor place_;  ///< the directory
  std::optional<Listener> listener_;
  Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::net
