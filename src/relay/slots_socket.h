#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/threads.h"
#include "net/listener.h"
#include "net/wake.h"

namespace weir::relay {

/// By which `pgweir slot list|drop -D` asks the process that has an archive's slots: a Unix socket
/// with a hidden name in its directory. Who connects says a line and gets the answer. Only the
/// archive's owner (and root) may. A thread of its own, idle until asked.
class SlotsSocket {
 public:
  /// To be made by who has the slots. Where no socket can be had that is told, and nobody is
  /// answered. `answer` is called by the socket's thread.
  SlotsSocket(const std::string& directory, std::function<std::string(const std::string&)> answer,
              Log& log);
  /// Returns when nobody is being answered any more.
  ~SlotsSocket();
  SlotsSocket(const SlotsSocket&) = delete;
  SlotsSocket& operator=(const SlotsSocket&) = delete;

  /// nullopt: nobody has the directory's slots, or not so that it could be asked. Throws
  /// Error{retry} if there is somebody who does not answer in time, Error{io} if the socket is not
  /// ours to use.
  [[nodiscard]] static std::optional<std::string> ask(const std::string& directory,
                                                      const std::string& line);

 private:
  void work();
  void serve(int client) const;

  const std::function<std::string(const std::string&)> answer_;
  std::optional<net::Listener> listener_;
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
