#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/insist.h"
#include "store/layout.h"
#include "store/manifest_chain.h"
#include "store/manifest_line.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::store {

/// What a prune writes into its own chain before anything goes: where the archive begins now, and
/// what each chain had told by then. A chain's oldest objects, if all that they tell of goes, are
/// needed no more: then where the chain begins, and once more the lines of what stays all the same,
/// of histories. The newest object of a chain stays, and so does a chain that is not whole or
/// (where keys were given) not proved: it may be looked into. Pure.
[[nodiscard]] std::vector<ManifestEntry> prune_lines(std::span<const ManifestChain> chains,
                                                     wal::SegmentName begin,
                                                     std::uint64_t system_identifier,
                                                     bool keys_given);

/// Number of segments before `begin` that have lines, but that no prune has recorded as removed:
/// those that a prune from `begin` removes, and those that another program has removed. Pure.
[[nodiscard]] std::size_t told_before(std::span<const ManifestChain> chains,
                                      wal::SegmentName begin);

/// Keys of what no segment needs that a prune has left: objects of open segments before `begin`, on
/// any timeline, and objects of manifests before the place where their chains begin, as the prunes'
/// chain tells (which one of the keys proves, if any are given). Throws StoreError.
[[nodiscard]] std::vector<std::string> needless_objects(ObjectStore& store, const Layout& layout,
                                                        wal::SegmentName begin,
                                                        std::span<const SignifyPublic> keys,
                                                        const Patience& patience);

}  // namespace weir::store
