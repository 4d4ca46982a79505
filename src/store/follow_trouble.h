#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "store/store_view.h"
#include "store/upload_plan.h"

namespace weir::store {

/// What somebody who never gives up tells of failures: not of each, since one request in a thousand
/// fails at a sound store, and not again and again. Pure.
class FollowTrouble {
 public:
  using SystemTime = StoreView::SystemTime;

  /// A request, or what comes before it, has failed. True: somebody is to be told of it now.
  bool failed(const Error& error, SystemTime now);
  /// One was answered well. True: a trouble that was told is over.
  bool worked();
  /// This file cannot be sent, though the store may be well. True as above.
  bool stuck(const UploadItem& item, const Error& error, SystemTime now);
  void sent(const UploadItem& item) { stuck_.erase(item); }

  /// The worst one there is.
  [[nodiscard]] std::optional<StoreView::Problem> problem() const;

 private:
  /// So many in a row of what may pass.
  static constexpr std::size_t kTellAfter = 4;
  /// And of what does not, if something else was told so lately.
  static constexpr std::chrono::minutes kLately{1};

  std::size_t in_a_row_ = 0;
  std::optional<StoreView::Problem> problem_{};
  std::set<std::string> told_{};  ///< reasons, of this trouble
  std::optional<SystemTime> last_told_{};
  std::map<UploadItem, StoreView::Problem> stuck_{};
};

/// A word for what it is: "throttled", "unreachable", "conflict", "disk_full".
[[nodiscard]] std::string reason_of(const Error& error);

}  // namespace weir::store
