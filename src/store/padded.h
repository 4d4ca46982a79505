#pragma once

#include <optional>
#include <string>

#include "store/layout.h"
#include "store/object_store.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::store {

// A padded segment: one that was not finished, stored under its final name with zeros behind its
// last record (publish_open.h). Its object says so in its metadata.

inline constexpr const char* kPaddedMetadata = "pgweir-padded-from";

/// End of the last record, if the object is a padded segment.
[[nodiscard]] std::optional<wal::Lsn> padded_from(const ObjectHead& head);

/// Puts `content` in the place of the padded object under this key: at once where the bucket keeps
/// no versions; else its versions go first, since readers take the oldest. Throws StoreError, and
/// Error{refused} if the bucket does not let them go.
void replace_padded(ObjectStore& store, const std::string& key, const Content& content);

/// Removes a padded object whose true segment is stored in another form, and what tells of it.
/// Throws as above.
void remove_padded(ObjectStore& store, const std::string& key);
void remove_padded_record(ObjectStore& store, const Layout& layout, wal::SegmentName segment);

}  // namespace weir::store
