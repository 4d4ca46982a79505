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

/// A segment that may come in, and what its content must be when it is copied.
struct Slot {
  wal::SegmentName name;
  Offer offer;
  archive::Digest digest;
};

/// Segments in a row, sound in themselves and from each to the next.
struct Piece {
  std::vector<Slot> slots{};
  bool left = false;   ///< goes on from what the archive has before it
  bool right = false;  ///< what the archive has behind it goes on from it
};

/// Reads a run of segments as one stream, from what the archive has before it to what it has behind
/// it: page headers, the checksum of every record, the links between them, also over the borders.
/// Sound WAL of another branch may fit on the left, and only the last border shows it; so nothing
/// is said of a run before it was read to its end. One thread. Does not own what it is given.
class Judge {
 public:
  struct Options {
    std::uint64_t system_identifier = 0;
    wal::SegmentSize segment_size{};
    archive::AskDurableEnd durable_end = nullptr;
    wal::RecordObserver* observer = nullptr;  ///< is told of the records that are read
    /// Asked between pieces of `moved` bytes: true, and judge() ends with Error{retry}.
    std::function<bool(std::uint64_t moved)> stop = nullptr;
  };
  Judge(io::Shelf& archive, const Lineage& lineage, Options options)
      : archive_(archive), lineage_(lineage), options_(std::move(options)) {}

  /// The pieces of the run that are sound, by position. What is not, or cannot be told from what is
  /// not, is in `left_out`: damage in a record that spans segments may be in each of them. So is a
  /// piece that does not fit on its right. Throws Error{io, retry}.
  [[nodiscard]] std::vector<Piece> judge(
      const Run& run, const std::map<wal::SegmentName, std::vector<Offer>>& offered,
      std::vector<LeftOut>& left_out);

 private:
  class Reading;

  io::Shelf& archive_;
  const Lineage& lineage_;
  const Options options_;
};

/// Offset of the first byte that differs and means something: what lies behind an xlog switch means
/// nothing, nor what lies behind the place where the segment's timeline was left (`left_at`), nor
/// what lies behind the end of an unfinished file. `ours` is of the archive, finished. Throws
/// Error{damage} if one of the two cannot be unpacked.
enum class Extent {
  all,
  sound_part,  ///< of what is offered: it may be a file that a server has not written to its end
};
[[nodiscard]] std::optional<std::uint64_t> meaningful_difference(
    io::Shelf& archive, const archive::SegmentFileName& ours, const Offer& offered,
    wal::SegmentSize segment_size, std::optional<wal::Lsn> left_at, Extent extent = Extent::all);

/// It is sound as far as that can be told without its neighbours.
[[nodiscard]] bool sound_in_itself(const Offer& offer, const Cluster& cluster);

}  // namespace weir::importing
