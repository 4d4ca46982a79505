#include "cli/runtime/stored_backups.h"

#include <utility>

#include "base/error.h"
#include "cli/shared/stored_archive.h"
#include "prune/stored_backups.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kEvery = 10min;
constexpr auto kAfterAnError = 1min;
constexpr auto kAnswerWithin = 5s;

}  // namespace

StoredBackups::StoredBackups(store::StoreOptions options) : options_(std::move(options)) {
  options_.answer_within = kAnswerWithin;
}

const std::vector<prune::FoundBackup>& StoredBackups::found() {
  if (next_ && Clock::now() < *next_) return found_;
  try {
    // A connection would not be kept open for that long.
    StoredArchive stored(options_, nullptr);
    const auto identity = stored.told_identity();
    found_ =
        prune::find_stored_backups(stored.opened().store(), stored.opened().layout(),
                                   identity ? std::optional(identity->segment_size) : std::nullopt,
                                   stored.jobs(), stored.patience());
    error_.reset();
  } catch (const Error& error) {
    error_ = error.what();
  }
  next_ = Clock::now() + (error_ ? kAfterAnError : kEvery);
  return found_;
}

}  // namespace weir::cli
