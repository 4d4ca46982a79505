#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace weir::pq {

/// Total bytes read from a TCP socket, by any reader. The kernel reports it in two answers: data
/// that arrives between them counts as not read, or as read. nullopt for other sockets, and if the
/// kernel does not count.
[[nodiscard]] std::optional<std::uint64_t> bytes_read_at_least(int socket);
[[nodiscard]] std::optional<std::uint64_t> bytes_read_at_most(int socket);
/// Also nullopt if too much data is arriving for an exact count.
[[nodiscard]] std::optional<std::uint64_t> bytes_read(int socket);

/// Maximum number of bytes that the peer may send before they are read; it grows with what is read.
/// nullopt for other sockets.
[[nodiscard]] std::optional<std::size_t> receive_window(int socket);

/// Bytes available for reading; 0 if unknown.
[[nodiscard]] std::size_t bytes_unread(int socket);

}  // namespace weir::pq
