#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/ledger/mark.h"
#include "store/object_store.h"

namespace weir::store {

/// Compares what counts as sent with a store's listing, page by page, and finds missing segments.
/// Segments before the first one that the store has are not reported, whether by position (pruned
/// as `prune` does, on all timelines) or by name (as Barman's programs do): pruning removes the
/// oldest. Nor are those before the start that a prune has recorded: the store may keep some of
/// them (a lock, an interrupted prune), or another archiver may add older ones. Pure.
class Audit {
 public:
  /// `begins`: the recorded start, for is_pruned(). `emptied`: the store was emptied or replaced:
  /// its first segment tells nothing of the earlier ones.
  Audit(Mark mark, const Layout& layout, std::vector<wal::SegmentName> begins = {},
        bool emptied = false);

  /// The key after which the next page starts; nullopt: finished.
  [[nodiscard]] std::optional<std::string> after() const;
  /// Takes that page, listed with the layout's wal_prefix().
  void take(const ObjectPage& page);
  /// Segments that count as sent and were not listed, in order. Each may have been uploaded
  /// meanwhile.
  [[nodiscard]] const std::vector<wal::SegmentName>& missing() const { return missing_; }

 private:
  void take_front(const ObjectPage& page);
  [[nodiscard]] bool before_front(wal::SegmentName name) const;
  void miss(std::uint64_t behind);
  void end_run();

  const Mark mark_;
  const Layout& layout_;
  const std::vector<wal::SegmentName> begins_;
  const bool emptied_;
  enum class Look { front, runs, front_again, over } look_ = Look::front;
  std::size_t run_ = 0;     ///< in the mark
  std::uint64_t next_ = 0;  ///< number of the segment expected next in it
  std::string after_;
  std::optional<wal::SegmentName> first_{};  ///< in the store
  std::vector<wal::SegmentName> missing_{};
};

}  // namespace weir::store
