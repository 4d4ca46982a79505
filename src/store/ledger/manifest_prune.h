#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_line.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::store {

/// The lines that a prune adds to its own chain before it removes anything: where the archive
/// starts now, and the last line of each chain. If all entries of a chain's oldest objects are
/// removed, these objects are no longer needed: then also where the chain starts, and the entries
/// of remaining files (histories) again. The newest object of a chain is kept, and so is a chain
/// that is broken or (if keys are given) not proved: it may be investigated. Pure.
[[nodiscard]] std::vector<ManifestEntry> prune_lines(std::span<const ManifestChain> chains,
                                                     wal::SegmentName begin,
                                                     std::uint64_t system_identifier,
                                                     bool keys_given);

/// The segments before `begin` that have lines, but that no prune has recorded as removed: those
/// that a prune up to `begin` removes, and those that another program has removed. If keys are
/// given, only the record of a prune that they prove counts. Pure.
[[nodiscard]] std::set<wal::SegmentName> told_before(std::span<const ManifestChain> chains,
                                                     wal::SegmentName begin, bool keys_given);

/// Keys that no segment needs and a prune has left: objects of partial segments before `begin`, on
/// any timeline, records of published ones, and manifest objects before their chains' start
/// according to the prunes' chains (those that the keys prove, if any are given). Throws
/// StoreError.
[[nodiscard]] std::vector<std::string> needless_objects(ObjectStore& store, const Layout& layout,
                                                        wal::SegmentName begin,
                                                        std::span<const SignifyPublic> keys,
                                                        const Patience& patience);

}  // namespace weir::store
