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
#include "store/manifest_chain.h"
#include "store/manifest_report.h"
#include "store/object_store.h"

namespace weir::store {

/// All chains of a place. Throws StoreError.
[[nodiscard]] std::vector<ManifestChain> read_manifests(ObjectStore& store, const Layout& layout,
                                                        std::span<const SignifyPublic> keys,
                                                        const Patience& patience);
/// The prunes' chain alone, which says where the others begin. nullopt: there is none, or, where
/// keys were given, none that they prove. Throws StoreError.
[[nodiscard]] std::optional<ManifestChain> read_prunes(ObjectStore& store, const Layout& layout,
                                                       std::span<const SignifyPublic> keys,
                                                       const Patience& patience);
/// What the newest lines of each chain tell of, at least one segment of each chain that tells of
/// any: so what was stored last is among them, however much there is. Where keys are given, what
/// they prove. One request for a thousand objects of lines, and one for each chain. Throws
/// StoreError.
[[nodiscard]] std::vector<ManifestEntry> read_last_lines(ObjectStore& store, const Layout& layout,
                                                         std::span<const SignifyPublic> keys,
                                                         const Patience& patience);
/// The objects that the lines of a manifest tell of. Throws StoreError.
[[nodiscard]] StoredObjects list_stored(ObjectStore& store, const Layout& layout,
                                        const Patience& patience);
/// The SHA-256 of objects as they were read, by key.
using ReadDigests = std::map<std::string, std::string>;
/// Holds every object of which a line tells a SHA-256 against that, and adds what differs to the
/// findings. Those that were not read yet are, `jobs` at once. `stop`: asked between objects;
/// false: it was stopped. Throws StoreError.
bool compare_deeply(ObjectStore& store, const Patience& patience, const StoredObjects& objects,
                    const ToldObjects& told, const ReadDigests& read, std::size_t jobs,
                    ManifestReport& report, const std::function<bool()>& stop);

}  // namespace weir::store
