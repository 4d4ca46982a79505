#pragma once

#include <compare>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "archive/timelines.h"
#include "store/ledger/mark.h"
#include "wal/segment.h"

namespace weir::store {

/// A file of an archive to be stored.
struct UploadItem {
  wal::TimelineId timeline = 1;
  std::optional<wal::SegmentName> segment{};  ///< nullopt: the timeline's history; timeline 0: not
                                              ///< a file
  /// A timeline's history comes before its segments.
  auto operator<=>(const UploadItem&) const = default;
  [[nodiscard]] std::string to_string() const;
};
/// It counts as sent.
[[nodiscard]] bool has(const Mark& mark, const UploadItem& item);

/// The order in which an archive's files are sent, and which count as sent. Several are uploaded at
/// once; on each timeline they are started in order, its history before its first segment. The mark
/// covers an unbroken sequence only: a stored file after one that is not stored yet does not count.
/// Pure.
class UploadPlan {
 public:
  explicit UploadPlan(Mark mark) : mark_(std::move(mark)) {}

  /// Adds the complete files of an archive that are neither sent nor offered yet. Called
  /// occasionally, with a new listing.
  void offer(const archive::Listing& listing);
  /// Adds one of them.
  void offer(const UploadItem& item);

  /// From now on the history of a timeline is started only after those of later timelines that did
  /// not follow it, unless they cannot be sent: alone, it would make a recovery to the newest
  /// timeline follow it, and leave out the WAL of its ancestor after it.
  void order_histories(const archive::Timelines& timelines);

  /// The next file to start, if fewer than `window` are in progress. nullopt: not now.
  [[nodiscard]] std::optional<UploadItem> next(std::size_t window);
  /// The store is known to have it. Returns true if the mark has advanced. That may throw
  /// std::bad_alloc: then it is known nevertheless, and advance() does the rest.
  bool stored(const UploadItem& item);
  /// It is no longer in the archive: it is not sent, and not waited for. Returns true likewise.
  bool gone(const UploadItem& item);
  bool advance(wal::TimelineId timeline) { return advance(lines_[timeline]); }
  /// Files that have come to count since the last call, or are gone: they are no longer waited for.
  [[nodiscard]] std::vector<UploadItem> take_settled() { return std::exchange(settled_, {}); }
  /// It was started, and must be started again.
  void again(const UploadItem& item);
  /// It cannot be sent: nothing more is started on its timeline, and the mark stays before it.
  void stuck(const UploadItem& item);
  /// The store no longer has it: it does not count as sent, and can be offered again.
  void forget(const UploadItem& item);
  /// Files that could not be sent can be retried.
  void resume();

  [[nodiscard]] const Mark& mark() const { return mark_; }
  [[nodiscard]] std::size_t under_way() const { return under_way_; }
  /// Number of files neither sent nor given up.
  [[nodiscard]] std::size_t waiting() const;
  /// Files that do not count as sent, for any reason.
  [[nodiscard]] std::vector<UploadItem> pending() const;

 private:
  enum class State { waiting, under_way, stored, gone };
  struct Entry {
    UploadItem item;
    State state = State::waiting;
  };
  struct Line {
    std::deque<Entry> entries{};
    bool stuck = false;
  };
  Entry& find(const UploadItem& item);
  bool advance(Line& line);
  [[nodiscard]] static bool awaits_history(const Line& line) {
    return !line.entries.empty() && !line.entries.front().item.segment;
  }
  [[nodiscard]] bool is_held_back(wal::TimelineId timeline) const;

  Mark mark_;
  std::map<wal::TimelineId, Line> lines_;
  /// The later timelines that did not follow a timeline.
  std::map<wal::TimelineId, std::set<wal::TimelineId>> skipped_by_;
  std::size_t under_way_ = 0;
  std::vector<UploadItem> settled_;
};

}  // namespace weir::store
