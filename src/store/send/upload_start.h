#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/log.h"
#include "io/shelf.h"
#include "store/layout.h"
#include "store/ledger/mark.h"
#include "store/object_store.h"
#include "store/send/upload_plan.h"
#include "store/write_once.h"

namespace weir::store {

// Determined before anything is sent:

/// The archive's mark and manifest memory if they are about this store; otherwise an empty mark,
/// and no manifest. Throws Error{io}.
struct UploadStart {
  Mark mark{};
  std::optional<ManifestMemory> manifest{};
  bool unmarked = false;  ///< the mark on disk is not this one
  /// The mark on disk, of another store: until something is uploaded, it stays with this store as
  /// the next one. nullopt: there is none.
  std::optional<Mark> former{};
  ManifestMemory former_manifest{};
};
[[nodiscard]] UploadStart starting_mark(io::Shelf& archive, const std::string& store_name,
                                        const archive::Identity& cluster, Log& log);

/// Like probe_conditions(), with a warning if the store cannot detect conflicting writers.
[[nodiscard]] Conditions tell_conditions(ObjectStore& store, const Layout& layout,
                                         std::uint64_t random, Log& log);

/// The forms of segments that a store has.
using FormsThere = std::map<wal::SegmentName, std::vector<archive::SegmentFileName>>;
/// The forms of these `items`, which are in order, that are already stored, by another archiver or
/// by us: a conditional PUT only detects the same key. `list` requests a page of keys that start
/// with the layout's wal_prefix().
[[nodiscard]] FormsThere forms_there(
    const std::vector<UploadItem>& items, wal::SegmentSize size, const Layout& layout,
    const std::function<ObjectPage(const std::string& after)>& list);

}  // namespace weir::store
