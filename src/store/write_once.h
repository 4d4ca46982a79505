#pragma once

#include <string>

#include "store/object_store.h"

namespace weir::store {

/// What a store makes of "If-None-Match: *". By trying, in the very bucket: makes and versions do
/// not tell (Ceph 16 heeds it, but not in a bucket that keeps versions).
enum class Conditions {
  heeded,
  ignored,  ///< it overwrites
  refused,  ///< "NotImplemented"
};
/// Puts an object under the random key twice, and removes it. Where removing is not allowed, one
/// more object is stored under `kept_key` and stays: later calls use that one, so that they do not
/// leave an object each. Throws StoreError.
[[nodiscard]] Conditions probe_conditions(ObjectStore& store, const std::string& random_key,
                                          const std::string& kept_key);

/// Puts an object where there is none, as well as the store lets us. Where it does not heed the
/// condition, two writers at the same moment may both come through; a bucket that keeps versions
/// shows that afterwards: Error{conflict} with the versions. Else throws StoreError.
[[nodiscard]] ObjectStore::Put put_once(ObjectStore& store, Conditions conditions,
                                        const std::string& key, const Content& content);

}  // namespace weir::store
