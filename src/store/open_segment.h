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
#include "store/mark.h"
#include "store/object_store.h"
#include "store/open_object.h"
#include "store/uploader.h"

namespace weir::store {

/// Sends the durable front of the segment that is being written (--store-open), each time as an
/// object of its own, and removes what that makes superfluous: our older ones when a newer one is
/// surely there, and all of a segment when that counts as sent itself. Does not own what it is
/// given. One thread.
class OpenSegment {
 public:
  /// `id`: of this archiver, at this start.
  OpenSegment(io::Shelf& archive, ObjectStore& store, const Layout& layout, const Sealing& sealing,
              std::uint64_t id)
      : archive_(archive), store_(store), layout_(layout), sealing_(sealing), id_(id) {}

  struct Sent {
    wal::SegmentName segment;
    wal::Lsn end;
    std::uint64_t bytes = 0;
  };
  /// What has become durable since the last time; nullopt: nothing new of an open segment. The WAL
  /// is checked before. When it returns the store surely has it. Throws StoreError;
  /// Error{damage, io}.
  [[nodiscard]] std::optional<Sent> send(const archive::DurableEnd& durable,
                                         const archive::Identity& cluster,
                                         const archive::Timelines& timelines);
  /// Removes what need not stay. The store's word for what it has kept, if it has kept any; empty:
  /// all well. Throws StoreError.
  [[nodiscard]] std::string tidy_up(const Mark& mark);

 private:
  io::Shelf& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const Sealing& sealing_;
  const std::uint64_t id_;
  std::uint64_t count_ = 0;
  std::optional<OpenObject> newest_;   ///< ours
  std::vector<std::string> outdated_;  ///< keys of ours, older
  bool looks_ = true;                  ///< there may be some that nobody here knows of
  std::set<wal::SegmentName> left_;    ///< of which some stay until the segment counts as sent
};

}  // namespace weir::store
