#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_report.h"
#include "store/object_store.h"

namespace weir::store {

/// All chains of a place. Throws StoreError.
[[nodiscard]] std::vector<ManifestChain> read_manifests(ObjectStore& store, const Layout& layout,
                                                        std::span<const SignifyPublic> keys,
                                                        const Patience& patience);
/// The prunes' chains alone, which say where the others start. Throws StoreError.
[[nodiscard]] std::vector<ManifestChain> read_prunes(ObjectStore& store, const Layout& layout,
                                                     std::span<const SignifyPublic> keys,
                                                     const Patience& patience);
/// Where the archive starts according to those chains (recorded_begins()). A prune records this
/// before it removes anything, so what is read after a listing explains what that listing lacks.
/// Throws StoreError.
[[nodiscard]] std::vector<wal::SegmentName> read_begins(ObjectStore& store, const Layout& layout,
                                                        std::span<const SignifyPublic> keys,
                                                        const Patience& patience);
/// The newest entries of each chain, with at least one segment of each archiver's chain that has
/// any: so the last stored segment is among them, however long the chains are. If keys are given,
/// only proved entries. One request for each thousand objects of lines, and one for each chain;
/// with keys, one for each object of rewraps. Throws StoreError.
[[nodiscard]] std::vector<ManifestEntry> read_last_lines(ObjectStore& store, const Layout& layout,
                                                         std::span<const SignifyPublic> keys,
                                                         const Patience& patience);
/// The stored objects of the kinds that a manifest lists. Throws StoreError.
[[nodiscard]] StoredObjects list_stored(ObjectStore& store, const Layout& layout,
                                        const Patience& patience);
/// SHA-256 of the objects that were read, by key.
using ReadDigests = std::map<std::string, std::string>;
/// Compares every object with the SHA-256 of its line, and adds differences to the findings.
/// Objects that were not read yet are read, `jobs` at a time. `stop` is checked between objects;
/// returns false if it was stopped. Throws StoreError.
bool compare_deeply(ObjectStore& store, const Patience& patience, const StoredObjects& objects,
                    const ToldObjects& told, const ReadDigests& read, std::size_t jobs,
                    ManifestReport& report, const std::function<bool()>& stop);

}  // namespace weir::store
