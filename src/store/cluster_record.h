#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "store/layout.h"
#include "store/object_store.h"
#include "store/write_once.h"
#include "wal/segment.h"

namespace weir::store {

/// The cluster whose WAL is at a place in a store: the object "pgweir.json" (P4 for a bucket). A
/// value.
struct ClusterRecord {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size{};
  Layout::Form layout = Layout::Form::barman;
  bool operator==(const ClusterRecord&) const = default;
};

/// The key of this place's record.
[[nodiscard]] std::string key_of_cluster(const Layout& layout);
/// Returns nullopt if there is no record. Throws Error{damage} if it is invalid, StoreError.
[[nodiscard]] std::optional<ClusterRecord> read_cluster(ObjectStore& store, const Layout& layout);
/// Writes the record, unless it exists (see Put). Throws StoreError.
[[nodiscard]] ObjectStore::Put write_cluster(ObjectStore& store, const Layout& layout,
                                             Conditions conditions, const ClusterRecord& ours);

}  // namespace weir::store
