#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "archive/durable_end.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "receive/feed.h"
#include "receive/mailbox.h"
#include "receive/status_board.h"
#include "store/open_store.h"
#include "store/send/follow.h"

namespace weir::cli {

/// Options for uploading an archive to a store continuously.
struct StoreRequest {
  store::StoreOptions store{};
  std::optional<store::KeepLocal> keep_local{};
  std::optional<std::chrono::milliseconds> open_every{};  ///< --store-partial-interval
  bool confirm_stored = false;                            ///< the server's slot waits for it
  std::vector<std::string> warnings{};                    ///< for the log, at the start
};

/// Uploads the files that a receiver in the same process has completed to an object store. Has
/// threads of its own; the receiver only announces completed files. The objects it refers to must
/// outlive it.
class StoreFeed {
 public:
  /// `word` receives the stored position, only if needed. `compresses`: segments are uploaded when
  /// they are compressed. `durability_lost`: as in receive::Environment. Throws Error{usage} if the
  /// store's module is not installed.
  StoreFeed(const StoreRequest& request, bool compresses, io::Directory& archive,
            receive::Feed& feed, receive::StatusBoard& board, receive::StoreWords& word, Log& log,
            std::function<void(const Error&)> durability_lost);
  /// Aborts uploads in progress.
  ~StoreFeed();
  StoreFeed(const StoreFeed&) = delete;
  StoreFeed& operator=(const StoreFeed&) = delete;

 private:
  void on_event(const receive::Event& happened);

  receive::StatusBoard& board_;
  const bool compresses_;
  std::atomic<bool> stop_ = false;
  std::mutex durable_mutex_;
  std::optional<archive::DurableEnd> durable_;  ///< guarded by durable_mutex_
  store::OpenStore opened_;
  store::Follow follow_;
  receive::Feed::Subscription listening_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::cli
