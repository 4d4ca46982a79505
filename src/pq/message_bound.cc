// libpq buffers a message completely before it returns it, up to 1 GB. `pq/message_bound` counts
// what TCP delivered since the last complete message and rejects a physical stream whose message
// never ends; a logical message may be that large.

#include "pq/message_bound.h"

#include "base/units.h"
#include "pq/tcp_count.h"

namespace weir::pq {

namespace {

constexpr std::uint64_t kMost = 32 * 1024 * 1024;
/// Number of unchecked reads: it is normal that a message arrives in pieces. Not many more, since
/// for a large message libpq reads as long as data is available.
constexpr int kFree = 3;

}  // namespace

void MessageBound::incomplete(int socket) {
  if (++incomplete_ < kFree || socket < 0) return;
  if (incomplete_ == kFree) begun_ = bytes_read_at_most(socket);
  const auto read = bytes_read_at_least(socket);
  if (!read || !begun_ || *read <= *begun_ + kMost) return;
  throw Error(ErrorKind::protocol, "a message from the server is too long")
      .with("bytes", "more than " + format_size(kMost))
      .hint(
          "PostgreSQL never sends this. Check host and port: connection poolers and proxies do not "
          "support replication.");
}

}  // namespace weir::pq
