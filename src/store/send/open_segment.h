#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/identity.h"
#include "archive/timelines.h"
#include "io/shelf.h"
#include "store/layout.h"
#include "store/ledger/mark.h"
#include "store/object_store.h"
#include "store/send/uploader.h"
#include "store/shelf/open_object.h"

namespace weir::store {

/// Uploads the flushed part of the segment that is being written (--store-partial-interval), each
/// time as an object of its own, and removes superfluous ones: our older ones of a segment once a
/// newer one of it is known to be stored, and all of a segment once the segment counts as sent.
/// Does not own its arguments. One thread.
class OpenSegment {
 public:
  /// `id`: unique to this archiver and start.
  OpenSegment(io::Shelf& archive, ObjectStore& store, const Layout& layout, const Sealing& sealing,
              std::uint64_t id)
      : archive_(archive), store_(store), layout_(layout), sealing_(sealing), id_(id) {}

  struct Sent {
    wal::SegmentName segment;
    wal::Lsn end;
    std::uint64_t bytes = 0;
  };
  /// There is WAL that was not uploaded yet.
  [[nodiscard]] bool has_more(const archive::DurableEnd& durable, wal::SegmentSize size) const;
  /// Uploads the WAL flushed since the last call, after verifying it; nullopt: no new WAL in a
  /// partial segment. On return the store has it. Throws StoreError; Error{damage, io}.
  [[nodiscard]] std::optional<Sent> send(const archive::DurableEnd& durable,
                                         const archive::Identity& cluster,
                                         const archive::Timelines& timelines);
  /// Removes superfluous objects. Returns the store's reason if it did not remove some, once;
  /// otherwise empty. Throws StoreError.
  [[nodiscard]] std::string tidy_up(const Mark& mark);

 private:
  io::Shelf& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const Sealing& sealing_;
  const std::uint64_t id_;
  std::uint64_t count_ = 0;
  std::optional<OpenObject> newest_;   ///< ours
  std::vector<std::string> outdated_;  ///< older keys of ours
  bool told_kept_ = false;
  bool looks_ = true;                ///< there may be unknown objects
  std::set<wal::SegmentName> left_;  ///< some of their objects stay until the segment counts as
                                     ///< sent
};

}  // namespace weir::store
