#pragma once

#include <optional>
#include <string>

#include "store/layout.h"
#include "store/object_store.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::store {

// A padded segment: an incomplete one, stored under its final name with zeros after its last record
// (publish_open.h), and marked by the object's metadata.

inline constexpr const char* kPaddedMetadata = "pgweir-padded-from";

/// End of the last record, if the object is a padded segment.
[[nodiscard]] std::optional<wal::Lsn> padded_from(const ObjectHead& head);

/// Replaces the padded object that has this ETag with `content`: directly if the bucket is not
/// versioned; otherwise its versions are removed first, since readers use the oldest. `taken`:
/// another object is there by now, such as the complete segment. Throws StoreError, and
/// Error{refused} if the bucket does not allow their removal.
[[nodiscard]] ObjectStore::Put replace_padded(ObjectStore& store, const std::string& key,
                                              const Content& content, const std::string& etag);

/// Removes a padded object whose complete segment is stored in another form, and the record of its
/// publication. Throws as above.
void remove_padded(ObjectStore& store, const std::string& key);
void remove_padded_record(ObjectStore& store, const Layout& layout, wal::SegmentName segment);

}  // namespace weir::store
