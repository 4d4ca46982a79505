#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

// A complete file that does not have the size of a segment is not a segment, regardless of its
// name: recovery cannot use it, so it is a hole. The size is that of a raw file, or the content
// size that a compressed file declares. A file that declares a different size is decompressed
// before it is reported.

/// A complete file that cannot be a segment by its size.
struct WrongSize {
  SegmentFileName name;
  std::uint64_t bytes = 0;  ///< decompressed; for a damaged one, as far as it could be decompressed
  bool operator==(const WrongSize&) const = default;
};

/// The result of checking the size of one complete segment.
struct SizeCheck {
  /// None of its complete files has the size of a segment; this is one of them. Also nullopt if it
  /// has none (any more).
  std::optional<WrongSize> wrong;
  /// The wrong file was changed very recently: another program may be writing it, check again.
  bool being_written = false;
};
/// `name` is one of its files, by a listing that may be out of date. Throws Error{io}.
[[nodiscard]] SizeCheck check_size(io::Shelf& directory, const SegmentFileName& name,
                                   wal::SegmentSize segment_size,
                                   std::chrono::system_clock::time_point now);

/// Whether a complete file of the segment, of any format, was changed very recently.
struct RecentChange {
  bool changed = false;
  bool ends_early = false;  ///< and what there is of it ends before a segment does: it is being
                            ///< written
};
/// Throws Error{io}.
[[nodiscard]] RecentChange find_recent_change(io::Shelf& directory, wal::SegmentName segment,
                                              wal::SegmentSize segment_size,
                                              std::chrono::system_clock::time_point now);

/// Wrong sizes by those in a listing (list_archive()): raw files, and compressed ones that are
/// empty. Only suspicious files are opened, so it is fast. In the order of the listing, without the
/// segment being written. Throws Error{io}.
[[nodiscard]] std::vector<WrongSize> find_wrong_sizes(io::Shelf& directory, const Listing& listing,
                                                      wal::SegmentSize segment_size,
                                                      std::chrono::system_clock::time_point now);

/// True if that file exists and has another size. Throws Error{io}.
[[nodiscard]] bool is_of_wrong_size(io::Shelf& directory, const SegmentEntry& entry,
                                    wal::SegmentSize segment_size);

/// Removes the segments from the listing, with all their complete files.
void take_out(Listing& listing, std::span<const WrongSize> wrong);

/// Holes that these files form and that have no record (`recorded`, from read_losses()): adjacent
/// files form one hole, and it counts only if complete segments precede and follow it on some
/// history in the archive. Ordered by start. The cause is filled in; the server and the time of
/// detection are not.
[[nodiscard]] std::vector<Loss> find_wrong_size_holes(std::span<const WrongSize> wrong,
                                                      const Listing& listing,
                                                      const Timelines& timelines,
                                                      wal::SegmentSize segment_size,
                                                      std::span<const Loss> recorded);

/// True if the segment is part of a hole in `holes`: one of another branch, at the same positions,
/// has other segments.
[[nodiscard]] bool lies_in_a_hole(const WrongSize& wrong, const Timelines& timelines,
                                  wal::SegmentSize segment_size, std::span<const Loss> holes);

/// "000000010000000000000005 has 0 bytes, 000000010000000000000007.zst has …, and 3 more"
[[nodiscard]] std::string text_of(std::span<const WrongSize> wrong, wal::SegmentSize segment_size);

/// Removes complete files of the wrong size from `listing`, as pg_receivewal ignores them: all raw
/// ones; of the compressed ones those newer than the newest valid one, which suffices to find the
/// end of the archive. `listing` has sizes. Returns the removed entries.
[[nodiscard]] std::vector<WrongSize> skip_wrong_sizes(io::Shelf& directory, Listing& listing,
                                                      wal::SegmentSize segment_size);

}  // namespace weir::archive
