#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "store/age_keys.h"
#include "store/layout.h"
#include "store/object_store.h"

namespace weir::store {

/// A segment's file or a history in a store, under the name that it has in an archive.
struct StoredFile {
  std::string name;
  ObjectEntry object{};
};
/// All of them whose names begin with `from` or come behind, in the order of the keys, page by
/// page. False from `take`: enough. Throws StoreError.
void for_each_file(ObjectStore& store, const Layout& layout,
                   const std::function<bool(const StoredFile&)>& take);

/// Brings a file of a store to `target` in `home`, where nothing may be yet. A segment's plain name
/// ("000000010000000000000003") is found in whatever form the store has it, unpacked, and every
/// record of it checked; another name is taken as it is stored. What is encrypted is opened for a
/// plain name, by one of the identities: Error{refused} without the right one. Nothing stands under
/// the target before all of it is there. False: the store has no such file. Throws StoreError,
/// Error{damage, conflict, io, durability}.
[[nodiscard]] bool fetch_file(ObjectStore& store, const Layout& layout, std::string_view name,
                              archive::Home& home, const std::string& target,
                              std::span<const AgeIdentity> identities = {});

}  // namespace weir::store
