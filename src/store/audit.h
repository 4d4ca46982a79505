#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/mark.h"
#include "store/object_store.h"

namespace weir::store {

/// Holds what counts as sent against what a store lists, page by page, and finds what is gone. What
/// lies before everything that the store has is not missed, by position (as prune removes, on all
/// timelines) or by name (as Barman's programs do): who prunes removes from the front. Pure.
class Audit {
 public:
  /// So many are told at most; the rest is found by the next one.
  static constexpr std::size_t kMost = 1000;

  Audit(Mark mark, const Layout& layout);

  /// Behind which key the next page is to begin; nullopt: it is over.
  [[nodiscard]] std::optional<std::string> after() const;
  /// The page from there on, of what begins with the layout's wal_prefix().
  void take(const ObjectPage& page);
  /// Segments that count as sent and were not listed, in order. Each is to be asked for once more:
  /// somebody may have put it there meanwhile.
  [[nodiscard]] const std::vector<wal::SegmentName>& missing() const { return missing_; }

 private:
  void take_front(const ObjectPage& page);
  [[nodiscard]] bool before_front(wal::SegmentName name) const;
  void miss(std::uint64_t behind);
  void end_run();

  const Mark mark_;
  const Layout& layout_;
  enum class Look { front, runs, front_again, over } look_ = Look::front;
  std::size_t run_ = 0;     ///< of the mark's
  std::uint64_t next_ = 0;  ///< number of the segment that is expected in it
  std::string after_;
  std::optional<wal::SegmentName> first_{};  ///< that the store has
  std::vector<wal::SegmentName> missing_{};
};

}  // namespace weir::store
