#pragma once

#include <optional>
#include <vector>

#include "prune/find_backups.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::prune {

/// Base backups next to the WAL in a store: in the layout `barman` those of barman-cloud-backup
/// (`base/ID/`), in the layout `wal-g` those of WAL-G (`basebackups_005/`), by their names. Reads
/// the small object that is stored last of each, and lists the others: a backup without its data is
/// unfinished. An unreadable backup is returned as unreadable, never left out; a backup that is
/// known to have failed before it started does not count. `size`: the cluster's segment size, which
/// determines the start of an unfinished backup of WAL-G; nullopt: unknown. `jobs`: requests at
/// once. Throws StoreError.
[[nodiscard]] std::vector<FoundBackup> find_stored_backups(store::ObjectStore& store,
                                                           const store::Layout& layout,
                                                           std::optional<wal::SegmentSize> size,
                                                           std::size_t jobs,
                                                           const store::Patience& patience);
/// The prefix below which they lie.
[[nodiscard]] std::string prefix_of_backups(const store::Layout& layout);

}  // namespace weir::prune
