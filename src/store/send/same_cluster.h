#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "store/cluster_record.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/shelf/near_shelf.h"
#include "store/write_once.h"

namespace weir::store {

/// Checks that a place in a store belongs to this cluster before anything is uploaded. Borrows the
/// store. One thread at a time.
class SameCluster {
 public:
  SameCluster(ObjectStore& store, const Layout& layout, const ClusterRecord& ours);

  /// Writes the record if the place has neither a record nor WAL of another cluster, nor records of
  /// its WAL; calls `absent` before. Throws Error{conflict} if it belongs to another cluster, or
  /// this cannot be determined; StoreError. After both it can be called again: pages already listed
  /// are not listed again, nor is the place while an object that belongs to another cluster is
  /// still there.
  void require(Conditions conditions, const std::function<void()>& absent = nullptr);

 private:
  struct Conflict {
    std::string key;  ///< of the object that shows it
    std::string etag;
    Error error;
  };
  void require_that_wal_is_ours();
  void look_at_wal();
  void look_at_records();

  ObjectStore& store_;
  const Layout layout_;
  const ClusterRecord ours_;
  std::optional<NearShelf> shelf_{};
  std::optional<Conflict> conflict_{};
  bool records_are_ours_ = false;  ///< not read again if a later request fails
};

/// Whether a place to which this cluster's WAL was sent still has its record. If not, the store was
/// emptied or replaced: nothing that removes old WAL removes the record. Throws Error{conflict} if
/// it is another cluster's; StoreError.
[[nodiscard]] bool has_record(ObjectStore& store, const Layout& layout, const ClusterRecord& ours);

}  // namespace weir::store
