#pragma once

#include <compare>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "store/mark.h"
#include "wal/segment.h"

namespace weir::store {

/// A file of an archive that a store is to have.
struct UploadItem {
  wal::TimelineId timeline = 1;
  std::optional<wal::SegmentName> segment{};  ///< nullopt: the timeline's history; of 0: no file
  /// A timeline's history comes before its segments.
  auto operator<=>(const UploadItem&) const = default;
  [[nodiscard]] std::string to_string() const;
};

/// In which order an archive's files are sent, and what counts as sent. Several are under way at
/// once; on each timeline they are begun in order, its history before its first segment, and the
/// mark moves over an unbroken front only: what is behind a file that is not stored yet does not
/// count, though it may be stored. Pure.
class UploadPlan {
 public:
  explicit UploadPlan(Mark mark) : mark_(std::move(mark)) {}

  /// The finished files of an archive that are not sent and were not offered before. Once in a
  /// while, with a new listing.
  void offer(const archive::Listing& listing);
  /// One of them.
  void offer(const UploadItem& item);

  /// The next one to be begun, if fewer than `window` are under way. nullopt: not now.
  [[nodiscard]] std::optional<UploadItem> next(std::size_t window);
  /// The store surely has it. True if the mark has moved.
  bool stored(const UploadItem& item);
  /// It is no longer in the archive: it is not sent, and nothing waits for it. True likewise.
  bool gone(const UploadItem& item);
  /// What has come to count since the last time, or is gone: nothing waits for it any more.
  [[nodiscard]] std::vector<UploadItem> take_settled() { return std::exchange(settled_, {}); }
  /// It was begun, and is to be begun again.
  void again(const UploadItem& item);
  /// It cannot be sent: nothing more is begun on its timeline, and the mark stays before it.
  void stuck(const UploadItem& item);
  /// The store does not have it any more: it does not count as sent, and may be offered anew.
  void forget(wal::SegmentName segment) { mark_.remove(segment); }
  /// What could not be sent may be tried again.
  void resume();

  [[nodiscard]] const Mark& mark() const { return mark_; }
  [[nodiscard]] std::size_t under_way() const { return under_way_; }
  /// Neither sent nor given up: what is left to be done.
  [[nodiscard]] std::size_t waiting() const;
  /// Not counted as sent, whatever became of it.
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

  Mark mark_;
  std::map<wal::TimelineId, Line> lines_;
  std::size_t under_way_ = 0;
  std::vector<UploadItem> settled_;
};

}  // namespace weir::store
