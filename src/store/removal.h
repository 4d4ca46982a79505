#pragma once

#include <span>
#include <string>
#include <vector>

#include "store/insist.h"
#include "store/object_store.h"

namespace weir::store {

/// Removes objects, at most 1000. Objects that fail for a temporary reason are retried, without the
/// others. Returns those that stay. Throws StoreError if a request fails as a whole, or for all of
/// them.
[[nodiscard]] std::vector<Kept> remove_patiently(ObjectStore& store,
                                                 std::span<const std::string> keys,
                                                 const Patience& patience);

}  // namespace weir::store
