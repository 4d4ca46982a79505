#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/write_once.h"

namespace weir::store {

/// Brings one file of an archive into a store. What is under a key stays: the same content is fine,
/// whoever wrote it and however it is compressed, other content is a conflict. A segment is read
/// and checked before: a damaged one would stay in the store for ever. Does not own what it is
/// given. Any thread.
class Uploader {
 public:
  struct Where {
    io::Shelf& archive;
    ObjectStore& store;
    const Layout& layout;
  };
  Uploader(const Where& where, Conditions conditions, const archive::Identity& cluster,
           const archive::Timelines& timelines)
      : where_(where), conditions_(conditions), cluster_(cluster), timelines_(timelines) {}

  struct Result {
    enum class What {
      stored,
      was_there,
      gone,  ///< the archive has it no more
    };
    What what = What::stored;
    std::uint64_t bytes = 0;  ///< that were sent
  };
  /// `there`: forms of the segment that the store was seen to have. Throws StoreError;
  /// Error{conflict} that names both; Error{damage} for a file that must not be sent; Error{io}.
  [[nodiscard]] Result segment(wal::SegmentName segment,
                               const std::vector<archive::SegmentFileName>& there);
  /// Likewise.
  [[nodiscard]] Result history(wal::TimelineId timeline);

 private:
  struct Checked {
    std::uint64_t records_end = 0;  ///< offset: what lies behind means nothing
    Content content{};
  };
  [[nodiscard]] Checked check(const archive::SegmentFileName& file, io::Bytes& bytes) const;
  /// False: there is no such object (any more).
  [[nodiscard]] bool is_same(const archive::SegmentFileName& ours, const Checked& checked,
                             const archive::SegmentFileName& theirs);

  const Where where_;
  const Conditions conditions_;
  const archive::Identity& cluster_;
  const archive::Timelines& timelines_;
};

}  // namespace weir::store
