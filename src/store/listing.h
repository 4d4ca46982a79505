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

/// Passes each object of a listing to `take`, in key order, starting after `after`. `page` returns
/// the page that follows a key. Stops if `take` returns false. Throws what `page` and `take` throw.
void for_each_listed(std::string after,
                     const std::function<ObjectPage(const std::string& after)>& page,
                     const std::function<bool(const ObjectEntry&)>& take);

/// Passes each object whose key starts with `prefix` to `take`, in key order. The patience applies
/// to each page. Throws StoreError, and what `take` throws.
void for_each_object(ObjectStore& store, const std::string& prefix, const Patience& patience,
                     const std::function<void(const ObjectEntry&)>& take);

/// A complete segment file in a store.
struct StoredForm {
  archive::SegmentFileName file;
  std::string key;
};
/// All forms of one segment, encrypted or not. One request. Throws StoreError.
[[nodiscard]] std::vector<StoredForm> forms_of(ObjectStore& store, const Layout& layout,
                                               wal::SegmentName segment);

}  // namespace weir::store
