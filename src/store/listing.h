#pragma once

#include <functional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::store {

/// Gives `take` each object of a listing, in the order of keys, from behind `after` on. `page` is
/// asked for one page after the other, with the key that it is to begin behind. False from `take`:
/// enough. Throws what `page` and `take` throw.
void for_each_listed(std::string after,
                     const std::function<ObjectPage(const std::string& after)>& page,
                     const std::function<bool(const ObjectEntry&)>& take);

/// Gives `take` each object whose key begins with `prefix`, in the order of keys. Each page has the
/// patience anew. Throws StoreError, and what `take` throws.
void for_each_object(ObjectStore& store, const std::string& prefix, const Patience& patience,
                     const std::function<void(const ObjectEntry&)>& take);

/// A finished file of a segment that a store has.
struct StoredForm {
  archive::SegmentFileName file;
  std::string key;
};
/// All of one segment, encrypted or not. Asks once. Throws StoreError.
[[nodiscard]] std::vector<StoredForm> forms_of(ObjectStore& store, const Layout& layout,
                                               wal::SegmentName segment);

}  // namespace weir::store
