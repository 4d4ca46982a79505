#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/threads.h"
#include "cli/runtime/serving.h"
#include "receive/feed.h"
#include "receive/mailbox.h"
#include "receive/status_board.h"

namespace weir::cli {

/// Serves the WAL that a receiver in the same process has flushed, from the start on, whether its
/// server is reached or not. Has a thread of its own; the receiver only announces its position. The
/// objects it refers to must outlive it.
class Downstream {
 public:
  /// As Serving's. `durability_lost`: as in receive::Environment. `try_again`: after an error; the
  /// archive may be unservable temporarily, for example while a file is copied again, or for lack
  /// of memory or threads.
  Downstream(const ServeRequest& request, io::Directory& archive, receive::Feed& feed,
             receive::StatusBoard& board, receive::Downstream& word, Log& log,
             std::function<void(const Error&)> durability_lost,
             std::chrono::milliseconds try_again = std::chrono::seconds(10));
  /// Notifies the clients, and returns when they have disconnected.
  ~Downstream();
  Downstream(const Downstream&) = delete;
  Downstream& operator=(const Downstream&) = delete;

  void reload() { serving_.reload(); }
  /// The receiver has exited and requires manual intervention, and serving ends with it: clients
  /// get the reason.
  void receiver_has_ended(const Error& error);

 private:
  void work();
  void set_problem(const std::optional<Error>& error);
  [[nodiscard]] std::optional<archive::DurableEnd> durable() const;
  void on_durable(const receive::event::DurableEnd& end);
  void on_feedback(const relay::Feedback& feedback);

  receive::Feed& feed_;
  receive::StatusBoard& board_;
  receive::Downstream& word_;
  Log& log_;
  const std::function<void(const Error&)> durability_lost_;
  const std::chrono::milliseconds try_again_;
  mutable std::mutex mutex_;
  std::optional<archive::DurableEnd> durable_;      ///< guarded by mutex_
  std::optional<archive::ServingProblem> problem_;  ///< guarded by mutex_
  Serving serving_;
  net::Wake stop_;
  receive::Feed::Subscription listening_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::cli
