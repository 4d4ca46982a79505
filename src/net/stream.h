#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace weir::net {

// A connected, non-blocking socket of bytes, without waiting.

/// How much of it could be sent: maybe nothing. nullopt if the other side is gone.
[[nodiscard]] std::optional<std::size_t> send_now(int socket, std::string_view bytes);
/// How much came: 0 if there is nothing yet. nullopt at the end of the stream, or if it broke.
[[nodiscard]] std::optional<std::size_t> receive_now(int socket, std::span<char> bytes);

/// Small messages go at once, and a machine that has vanished is noticed some day.
void tune_connection(int socket);

}  // namespace weir::net
