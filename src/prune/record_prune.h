#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "base/log.h"
#include "prune/prune.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::prune {

/// What a store's manifest says of a prune.
struct PruneRecord {
  /// The start of the archive from now on, with the newest timeline of the removed segments.
  wal::SegmentName begin;
  std::size_t by_others = 0;  ///< segments before it that another program had removed already
};
/// Writes it, before anything of the plan is removed (P19), so that a verification of the manifest
/// does not report the removed segments as missing. It has each chain's current end, and the new
/// start of the archive; the same line covers segments before it that another program has removed.
/// nullopt: there is no manifest, or nothing to record. What `former` keys have signed counts as
/// well. A signed chain stays signed: throws Error{usage} if it is and `key` is nullptr;
/// Error{refused} without the record of the place's cluster; StoreError. With `dry_run` nothing is
/// written.
[[nodiscard]] std::optional<PruneRecord> record_prune(
    store::ObjectStore& store, const store::Layout& layout, const Plan& plan,
    const std::shared_ptr<const store::SignifyKey>& key,
    std::span<const store::SignifyPublic> former, const store::Patience& patience, Log& log,
    bool dry_run = false);

}  // namespace weir::prune
