#pragma once

#include <string>
#include <string_view>

#include "store/object_store.h"

namespace weir::store {

/// The content of the probe's object.
inline constexpr std::string_view kProbeText =
    "pgweir checks whether conditional writes are "
    "supported\n";
/// A bucket's support of "If-None-Match: *". Determined by trying, since it does not follow from
/// the product or version (Ceph 16 supports it, but not in versioned buckets).
enum class Conditions {
  heeded,
  ignored,  ///< it overwrites
  refused,  ///< "NotImplemented"
};
/// Puts an object under the random key twice, and removes it. If removal is not allowed, one more
/// object is stored under `kept_key` and stays: later calls use that one, so that they do not leave
/// more objects. Throws StoreError.
[[nodiscard]] Conditions probe_conditions(ObjectStore& store, const std::string& random_key,
                                          const std::string& kept_key);

/// Puts an object unless the key exists, as far as the store allows. If it does not support the
/// condition, two concurrent writers may both succeed; a versioned bucket shows that afterwards, if
/// its versions may be listed: Error{conflict} with the versions. Throws StoreError otherwise.
[[nodiscard]] ObjectStore::Put put_once(ObjectStore& store, Conditions conditions,
                                        const std::string& key, const Content& content);

/// Replaces the object that has this ETag, as far as the store allows. If it does not support the
/// condition, the object is checked first, and an object that another writer stores at that moment
/// is replaced. Throws StoreError.
[[nodiscard]] ObjectStore::Put put_over(ObjectStore& store, const std::string& key,
                                        const Content& content, const std::string& etag);

}  // namespace weir::store
