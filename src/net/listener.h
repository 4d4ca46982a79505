#pragma once

#include <sys/types.h>

#include <optional>

#include "base/descriptor.h"
#include "net/address.h"
#include "net/wake.h"

namespace weir::net {

/// What comes over a connection.
enum class Kind {
  bytes,    ///< a stream
  packets,  ///< each message by itself (Unix sockets)
};

/// A socket of that kind for that address, non-blocking. Throws Error{io}.
[[nodiscard]] Descriptor make_socket(const Address& address, Kind kind);

/// Takes connections at an address. Owns the socket; a Unix socket's name stays, and is its maker's
/// to remove. One thread at a time; the end of a wait is any thread's, by a Wake.
class Listener {
 public:
  /// Takes the address: nobody else can have it, and nobody can connect yet. `mode`: who may
  /// connect to a Unix socket that has a file; there is no moment at which others may. Throws
  /// Error{io} with the system's error number.
  [[nodiscard]] static Listener bind(const Address& address, Kind kind,
                                     std::optional<mode_t> mode = std::nullopt);
  /// The same for a Unix socket with a file, whose name may be left over from a process that has
  /// ended: then it is taken over. Throws Error{io} if somebody listens there.
  [[nodiscard]] static Listener bind_over_stale(const Address& address, mode_t mode);
  /// A socket that is bound already.
  explicit Listener(Descriptor bound) : socket_(std::move(bound)) {}

  /// From now on connections come. Those who connect see the process that called this as the other
  /// side. Throws Error{io}.
  void listen(int backlog = 16);

  /// The next connection, non-blocking; waits for it. nullopt: the Wake was raised. A lack of
  /// descriptors or memory is waited out: those who connect stay in the queue.
  [[nodiscard]] std::optional<Descriptor> accept(const Wake& stop);
  /// The same without waiting: an empty Descriptor if nobody is there, or with errno if nobody can
  /// be taken (is_shortage()).
  [[nodiscard]] Descriptor accept_now();

  /// Where it listens: with port 0 the port that it got.
  [[nodiscard]] Address address() const { return Address::of(socket_.get()); }
  /// Can be read when somebody wants to connect; for a poll() of one's own.
  [[nodiscard]] int fd() const { return socket_.get(); }
  void close() { socket_.close(); }

 private:
  Descriptor socket_;
};

/// With this errno accept_now() has left who connects in the queue, so that a poll() returns at
/// once: a lack of descriptors or memory, or something else that is to be waited out.
[[nodiscard]] bool is_shortage(int error);

/// The process on the other side of a Unix socket if it runs as the same user, else 0.
[[nodiscard]] pid_t same_users_process(int socket);

}  // namespace weir::net
