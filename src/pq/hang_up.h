#pragma once

#include <chrono>

#include "pq/connection.h"

namespace weir::pq {

/// Closes the connection and waits until its server process has exited, for at most `longest`.
/// Until then it counts for max_wal_senders and a role's CONNECTION LIMIT, and might be in the way
/// of the next connection.
void hang_up(Connection connection, std::chrono::milliseconds longest);

}  // namespace weir::pq
