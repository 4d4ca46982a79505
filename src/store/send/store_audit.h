#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/mark.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/send/audit.h"
#include "store/send/follow_report.h"
#include "store/send/upload_plan.h"

namespace weir::store {

/// Checks again and again that a store still has everything that counts as sent. A file that it has
/// lost is sent again if the archive has it; otherwise only another archive may have it, and a
/// segment is recorded as lost. Does not own its arguments. One thread.
class StoreAudit {
 public:
  using Time = Threads::Time;
  struct Options {
    std::string place{};  ///< the store, for messages
    std::chrono::milliseconds every{3'600'000};
    /// The record of a prune counts if one of them proves it; empty: every record counts.
    std::vector<SignifyPublic> keys{};
    /// The archive has this file, which the store has lost.
    std::function<void(const UploadItem&)> send_again = nullptr;
    /// Losses were recorded.
    std::function<void()> recorded = nullptr;
    /// The store was emptied or replaced: called before its record of the cluster is written again.
    std::function<void()> emptied = nullptr;
    /// After that, it has everything again that counts as sent, but acknowledged losses.
    std::function<void()> whole = nullptr;
  };
  StoreAudit(io::Directory& archive, ObjectStore& store, const Layout& layout, Options options,
             Threads& threads, FollowReport& report, Log& log);

  /// Reads one page of the listing, since uploads take precedence, or evaluates what was read.
  /// Returns when to call it again. `mark`: what counts as sent. Throws StoreError, after which it
  /// continues; Error{durability}.
  [[nodiscard]] Time look(const Mark& mark, const archive::Identity& cluster);
  /// The store was emptied or replaced after files were sent: no segment is taken for pruned
  /// because only later ones are there.
  void place_was_emptied();
  /// Whether it was, by one request: then it gets its record of the cluster again. Throws
  /// Error{conflict} if it is another cluster's by now; StoreError, Error{durability}.
  void look_at_place(const archive::Identity& cluster);

 private:
  void look_for_histories(const Mark& mark);
  void send_again(const UploadItem& item);

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const Options options_;
  Threads& threads_;
  FollowReport& report_;
  Log& log_;
  bool emptied_ = false;                    ///< until it is whole
  std::optional<Audit> audit_;              ///< in progress
  std::vector<wal::SegmentName> begins_{};  ///< of the store, as far as it was asked for
  std::set<wal::SegmentName> lost_;  ///< sent, and now missing in the store and in the archive
};

}  // namespace weir::store
