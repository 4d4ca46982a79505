#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "store/send/store_view.h"
#include "store/send/upload_plan.h"

namespace weir::store {

/// Decides which failures to report when every failure is retried: not each one, since one request
/// in a thousand fails at a healthy store, and none repeatedly. Pure.
class FollowTrouble {
 public:
  using SystemTime = StoreView::SystemTime;

  /// A request, or its preparation, failed. Returns true if it is to be reported now.
  bool failed(const Error& error, SystemTime now);
  /// A request succeeded. Returns true if a reported problem is over.
  bool worked();
  /// This file cannot be sent, though the store may be available. Returns true as above.
  bool stuck(const UploadItem& item, const Error& error, SystemTime now);
  void sent(const UploadItem& item) { stuck_.erase(item); }

  /// The most severe problem.
  [[nodiscard]] std::optional<StoreView::Problem> problem() const;

 private:
  /// Number of temporary failures in a row before a report.
  static constexpr std::size_t kTellAfter = 4;
  /// Minimum time between reports of other failures.
  static constexpr std::chrono::minutes kLately{1};

  std::size_t in_a_row_ = 0;
  std::optional<StoreView::Problem> problem_{};
  std::set<std::string> told_{};  ///< reasons reported for this problem
  std::optional<SystemTime> last_told_{};
  std::map<UploadItem, StoreView::Problem> stuck_{};
};

/// A keyword for the error: "throttled", "unreachable", "conflict", "disk_full".
[[nodiscard]] std::string reason_of(const Error& error);

}  // namespace weir::store
