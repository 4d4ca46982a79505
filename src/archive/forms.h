#pragma once

#include <array>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "wal/segment.h"

// Which files a segment has, and which of them is used. A segment may exist raw and compressed at
// once, complete and partial, and may change from one to another at any time.

namespace weir::archive {

/// The formats in the order in which files are looked up. A file is removed only when one of a
/// later format is durable under its name: raw ones are compressed to any of the others, and those
/// neither raw nor zstd are converted to zstd. A reader that tries the names in this order
/// therefore finds a complete segment at every moment. In another order the file could move from a
/// name not tried yet to one already checked, and would seem to be missing.
inline constexpr std::array kForms = {codec::Method::none, codec::Method::gzip, codec::Method::lz4,
                                      codec::Method::zstd};

/// Names of the files of one segment in that order, existing or not.
using FormNames = std::array<SegmentFileName, kForms.size()>;
[[nodiscard]] FormNames finished_names(wal::SegmentName segment);
[[nodiscard]] FormNames partial_names(wal::SegmentName segment);
/// Likewise of a timeline's history file: "00000002.history.gz" exists in the field.
[[nodiscard]] std::array<std::pair<std::string, codec::Method>, kForms.size()> history_names(
    wal::TimelineId timeline);

/// Such a name, read; nullopt: it is another one.
[[nodiscard]] std::optional<HistoryEntry> parse_history_name(std::string_view name);
/// "000000010000000000000002.00000028.backup"
[[nodiscard]] bool is_backup_history_name(std::string_view name);

/// Returns the complete file to read: the first one found. Returns nullopt if there is none. It may
/// be gone when it is opened; then a later one in the order exists.
[[nodiscard]] std::optional<SegmentFileName> find_finished(io::Shelf& directory,
                                                           wal::SegmentName segment);

/// Which of two files of one segment is preferred for reading. Complete ones come first, then the
/// order of kForms.
[[nodiscard]] bool counts_before(const SegmentFileName& one, const SegmentFileName& other);

/// The files that a listing has of one segment; there is one at least.
struct SegmentForms {
  std::vector<SegmentEntry> finished;  ///< in the order of kForms
  std::vector<SegmentEntry> partial;   ///< likewise

  [[nodiscard]] wal::SegmentName segment() const { return best().name.segment; }
  /// By counts_before().
  [[nodiscard]] const SegmentEntry& best() const {
    return finished.empty() ? partial.front() : finished.front();
  }
};
/// Iterates over the segments for a `for` loop, in the listing's order; each is valid until the
/// next one is requested: an archive may have a million.
class EachSegmentForms {
 public:
  explicit EachSegmentForms(std::span<const SegmentEntry> entries) : left_(entries) { next(); }

  class Iterator {
   public:
    explicit Iterator(EachSegmentForms& of) : of_(&of) {}
    SegmentForms& operator*() const { return of_->forms_; }
    Iterator& operator++() {
      of_->next();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return of_->over_; }

   private:
    EachSegmentForms* of_;
  };
  [[nodiscard]] Iterator begin() { return Iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

 private:
  void next();

  std::span<const SegmentEntry> left_;
  SegmentForms forms_;
  bool over_ = false;
};
/// The listing outlives the `for`.
[[nodiscard]] inline EachSegmentForms segment_forms(const Listing& listing) {
  return EachSegmentForms(listing.segments);
}
void segment_forms(Listing&&) = delete;

}  // namespace weir::archive
