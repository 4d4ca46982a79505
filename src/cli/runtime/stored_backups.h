#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "prune/find_backups.h"
#include "store/open_store.h"

namespace weir::cli {

/// The base backups in a store, for a page that asks often: the store is asked every ten minutes,
/// and a minute after an error. Used by one thread.
class StoredBackups {
 public:
  explicit StoredBackups(store::StoreOptions options);

  /// As of the last successful request. Takes a few seconds if the store does not answer.
  [[nodiscard]] const std::vector<prune::FoundBackup>& found();
  /// The last request failed: why.
  [[nodiscard]] const std::optional<std::string>& error() const { return error_; }

 private:
  store::StoreOptions options_;
  std::optional<std::chrono::steady_clock::time_point> next_;
  std::vector<prune::FoundBackup> found_;
  std::optional<std::string> error_;
};

}  // namespace weir::cli
