#pragma once

#include "cli/arguments.h"
#include "cli/option.h"
#include "store/open_store.h"

namespace weir::cli {

// Which object store, and how it is spoken to: the same options for each command that has to do
// with one.

extern const Option kStoreOptions[15];
/// Throws Error{usage} where --store is missing, or the archive has no name that it could have
/// there.
[[nodiscard]] store::StoreOptions store_options_of(const Arguments& arguments);

}  // namespace weir::cli
