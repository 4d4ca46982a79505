#pragma once

#include <sys/types.h>

#include <optional>

#include "base/descriptor.h"
#include "net/address.h"
#include "net/wake.h"

namespace weir::net {

/// The unit of data on a connection.
enum class Kind {
  bytes,    ///< a stream
  packets,  ///< individual messages (Unix sockets)
};

/// A socket of that kind for that address, non-blocking. Throws Error{io}.
[[nodiscard]] Descriptor make_socket(const Address& address, Kind kind);

/// Accepts connections at an address. Owns the socket; a Unix socket's name remains, and must be
/// removed by its creator. One thread at a time; any thread can end a wait, by a Wake.
class Listener {
 public:
  /// Takes the address: no other process can use it, and no client can connect yet. `mode`: access
  /// rights for a Unix socket that has a file; there is no moment at which others have access.
  /// Throws Error{io} with the system's error number.
  [[nodiscard]] static Listener bind(const Address& address, Kind kind,
                                     std::optional<mode_t> mode = std::nullopt);
  /// The same for a Unix socket with a file, whose name may be left over from a process that has
  /// exited: then it is taken over. Throws Error{io} if another process listens there.
  [[nodiscard]] static Listener bind_over_stale(const Address& address, mode_t mode);
  /// A socket that is bound already.
  explicit Listener(Descriptor bound) : socket_(std::move(bound)) {}

  /// Starts to accept connections. Clients see the process that called this as their peer. Throws
  /// Error{io}.
  void listen(int backlog = 16);

  /// Waits for the next connection; the socket is non-blocking. nullopt: the Wake was raised.
  /// During a shortage of descriptors or memory it retries after a delay: clients stay in the
  /// queue.
  [[nodiscard]] std::optional<Descriptor> accept(const Wake& stop);
  /// The same without waiting: an empty Descriptor if no client is waiting, or with errno if none
  /// can be accepted (is_shortage()).
  [[nodiscard]] Descriptor accept_now();

  /// The listen address: for port 0 with the port assigned.
  [[nodiscard]] Address address() const { return Address::of(socket_.get()); }
  /// Becomes readable when a client connects; for the caller's own poll().
  [[nodiscard]] int fd() const { return socket_.get(); }
  void close() { socket_.close(); }

 private:
  Descriptor socket_;
};

/// With this errno accept_now() has left the client in the queue, so that a poll() returns at once:
/// a shortage of descriptors or memory, or another condition that requires a delay.
[[nodiscard]] bool is_shortage(int error);

/// The process on the other side of a Unix socket if it runs as the same user, else 0.
[[nodiscard]] pid_t same_users_process(int socket);

}  // namespace weir::net
