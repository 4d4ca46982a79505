#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace weir::pq {

/// How many bytes have been read off a TCP socket in all, by anybody. The kernel tells it in two
/// answers: what arrives between them counts as not read, or as read. nullopt for other sockets,
/// and where the kernel does not count.
[[nodiscard]] std::optional<std::uint64_t> bytes_read_at_least(int socket);
[[nodiscard]] std::optional<std::uint64_t> bytes_read_at_most(int socket);
/// nullopt also where too much arrives to tell.
[[nodiscard]] std::optional<std::uint64_t> bytes_read(int socket);

/// How much the other side may have sent before it is read, at most: it grows with what is read.
/// nullopt for other sockets.
[[nodiscard]] std::optional<std::size_t> receive_window(int socket);

/// Bytes that could be read now; 0 if that is not known.
[[nodiscard]] std::size_t bytes_unread(int socket);

}  // namespace weir::pq
