#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "archive/durable_end.h"
#include "status/report.h"

namespace weir::cli {

// Queries the processes that work on an archive, by the sockets in its directory. A process that
// does not respond is included in the report.

void ask_receiver(status::StatusReport& report, const std::string& directory);
/// The same right before the server is queried, if a receiver streamed when it was queried first:
/// reading a large archive takes a while, and the server writes meanwhile. The first answer stays
/// if that receiver has changed the timeline, no longer streams, or does not answer.
void ask_receiver_again(status::StatusReport& report, const std::string& directory);
/// Queries the process that serves the archive, and the one that has its slots.
void ask_relays(status::StatusReport& report, const std::string& directory);
/// Takes over the answers for another report.
void take_answers(status::StatusReport& report, status::StatusReport&& asked);
/// Takes over only the receiver's answers.
void take_receiver(status::StatusReport& report, const status::StatusReport& asked);

/// Returns the flush position of the receiver that streams into the archive, if there is one. Also
/// returns nullopt if it cannot be queried, without waiting for it.
[[nodiscard]] std::optional<archive::DurableEnd> durable_end_of(const std::string& directory);
/// The same, and whether the receiver was idle then, by one query. Any thread.
class ReceiverQuery {
 public:
  explicit ReceiverQuery(std::string directory) : directory_(std::move(directory)) {}

  /// As durable_end_of().
  [[nodiscard]] std::optional<archive::DurableEnd> durable_end();
  /// By the last call of durable_end(): true if a receiver runs on the archive, answers, and does
  /// not stream: it waits for its server, for example, and writes nothing.
  [[nodiscard]] bool was_idle() const { return idle_; }

 private:
  const std::string directory_;
  std::atomic<bool> idle_ = false;
};

}  // namespace weir::cli
