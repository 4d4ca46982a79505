#pragma once

#include <chrono>
#include <span>
#include <string_view>

#include "net/wake.h"

namespace weir::net {

using Deadline = std::chrono::steady_clock::time_point;

/// Time remaining until the deadline, for poll(): rounded up, so that the last millisecond is not
/// spent spinning; 0 when it is over.
[[nodiscard]] int milliseconds_until(Deadline deadline);

/// Waits until the socket can be read or written (as requested), or until `deadline`: then returns
/// false. Throws Interrupted if a Wake is or becomes raised; nullptr: not interruptible. A socket
/// that was closed (-1) is ready: the next read reports that the connection is lost.
bool wait_for_socket(int socket, bool read, bool write, const Wake* wake, Deadline deadline);

/// Waits for `time`; false if the Wake was raised before it was over.
bool pause(const Wake& wake, std::chrono::milliseconds time);

/// Sends all of it over a non-blocking socket. Returns false if the other side has disconnected.
/// Throws Interrupted; Error{retry} at the deadline.
bool send_all(int socket, std::string_view bytes, Deadline deadline, const Wake* wake);

/// Reads what there is from a non-blocking socket, at least a byte; 0 at the end of the stream.
/// Throws Interrupted; Error{retry} at the deadline, or if the connection broke.
[[nodiscard]] std::size_t receive_some(int socket, std::span<char> bytes, Deadline deadline,
                                       const Wake* wake);

}  // namespace weir::net
