#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "store/send/store_view.h"
#include "store/send/upload_plan.h"

namespace weir::store {

/// Reports on continuous uploads: log, status and listeners. Every failure is retried, so it
/// decides which ones to report: not each one, since one request in a thousand fails at a healthy
/// store, and none repeatedly. Any thread; logs nothing, and calls no
/// listener, under its lock.
class FollowReport {
 public:
  struct Listeners {
    std::function<void(const Error&)> on_trouble = nullptr;  ///< an error; it continues
    std::function<void()> on_works = nullptr;                ///< the error is over
  };
  /// `server_keeps`: WAL not yet in the store is retained by the server's slot.
  FollowReport(const std::string& shown_name, Listeners listeners, bool server_keeps,
               Threads& threads, Log& log);

  /// A request failed, and is retried.
  void failed(const Error& error);
  /// This file cannot be sent, or removed. `what`: "is not sent …"
  void stuck(const UploadItem& item, const char* what, const Error& error);
  /// It is no longer.
  void unstuck(const UploadItem& item);
  /// Uploads have ended by this error: nothing is retried any more.
  void ended(const Error& error);
  /// A request succeeded; `waiting` files are pending.
  void worked(std::size_t waiting);
  /// Nothing is removed from the archive; logged once for each reason.
  void kept(const std::string& why);
  /// Changes the view by a function that takes it.
  template <typename Change>
  void change(Change change) {
    const Threads::Lock lock(*mutex_);
    change(view_);
  }
  [[nodiscard]] StoreView view() const;

 private:
  void tell(const std::string& text, const Error& error) const;
  [[nodiscard]] bool is_to_be_told(const Error& error);

  const Listeners listeners_;
  const bool server_keeps_;
  Log& log_;
  const std::unique_ptr<Threads::Mutex> mutex_;  // guards all below
  StoreView view_;
  std::size_t in_a_row_ = 0;
  std::optional<StoreView::Problem> problem_{};
  std::optional<StoreView::Problem> end_{};
  std::set<std::string> told_{};  ///< reasons reported for this problem
  std::optional<StoreView::SystemTime> last_told_{};
  std::map<UploadItem, StoreView::Problem> stuck_{};
};

}  // namespace weir::store
