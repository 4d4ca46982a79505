#pragma once

#include "store/cluster_record.h"
#include "store/layout.h"
#include "store/near_shelf.h"
#include "store/object_store.h"
#include "store/write_once.h"

namespace weir::store {

/// Whether a place in a store is this cluster's, before anything is sent there. Borrows the store.
/// One thread at a time.
class SameCluster {
 public:
  SameCluster(ObjectStore& store, const Layout& layout, const ClusterRecord& ours);

  /// Writes the record if the place has neither one nor WAL of another cluster. Throws
  /// Error{conflict} if it is another cluster's, or that cannot be told; StoreError, after which it
  /// can be called again: what was listed until then is not listed again.
  void require(Conditions conditions);

 private:
  void require_that_wal_is_ours();

  ObjectStore& store_;
  const Layout layout_;
  const ClusterRecord ours_;
  NearShelf shelf_;
};

}  // namespace weir::store
