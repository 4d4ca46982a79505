#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "archive/digest.h"
#include "archive/durable_end.h"
#include "import/offers.h"
#include "import/plan.h"
#include "io/shelf.h"
#include "wal/record_verifier.h"

namespace weir::importing {

/// A segment that may be added, and the content that the copy must have.
struct Slot {
  wal::SegmentName name;
  Offer offer;
  archive::Digest digest;
};

/// Segments in a row, valid in themselves and from each to the next.
struct Piece {
  std::vector<Slot> slots{};
  bool left = false;   ///< continues the archive's WAL before it
  bool right = false;  ///< the archive's WAL after it continues it
};

/// Reads a run of segments as one stream, from the archive's WAL before it to the WAL after it:
/// page headers, the checksum of every record, the links between them, also across the boundaries.
/// Valid WAL of another branch may match on the left, and only the last boundary shows that; a run
/// is therefore judged only after it was read to its end. One thread. Does not own its arguments.
class Judge {
 public:
  struct Options {
    std::uint64_t system_identifier = 0;
    wal::SegmentSize segment_size{};
    archive::AskDurableEnd durable_end = nullptr;
    wal::RecordObserver* observer = nullptr;  ///< receives the records that are read
    /// Asked between pieces of `moved` bytes: true, and judge() ends with Error{retry}.
    Stop stop = nullptr;
  };
  Judge(io::Shelf& archive, const Lineage& lineage, Options options)
      : archive_(archive), lineage_(lineage), options_(std::move(options)) {}

  /// Returns the valid pieces of the run, by position. Those that are not, or cannot be
  /// distinguished from invalid ones, are in `left_out`: damage in a record that spans segments may
  /// be in any of them. A piece that does not match on its right is left out, too. Throws Error{io,
  /// retry}.
  [[nodiscard]] std::vector<Piece> judge(
      const Run& run, const std::map<wal::SegmentName, std::vector<Offer>>& offered,
      std::vector<LeftOut>& left_out);

 private:
  class Reading;

  io::Shelf& archive_;
  const Lineage& lineage_;
  const Options options_;
};

/// Offset of the first differing byte that has a meaning. Bytes after an xlog switch, after the
/// position where the history leaves the segment's timeline (`left_at`), and after the end of a
/// partial file have none. `ours` is a complete segment of the archive. Throws Error{damage} if one
/// of the two cannot be decompressed.
enum class Extent {
  all,
  sound_part,  ///< of what is offered: it may be a file that a server has not written to its end
};
[[nodiscard]] std::optional<std::uint64_t> meaningful_difference(
    io::Shelf& archive, const archive::SegmentFileName& ours, const Offer& offered,
    wal::SegmentSize segment_size, std::optional<wal::Lsn> left_at, Extent extent = Extent::all);

/// True if it is valid as far as that can be determined without its neighbors.
[[nodiscard]] bool sound_in_itself(const Offer& offer, const Cluster& cluster);

}  // namespace weir::importing
