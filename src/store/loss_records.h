#pragma once

#include <cstddef>

#include "archive/listing.h"
#include "io/shelf.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"

namespace weir::store {

/// Brings an archive's records of losses, and what acknowledges them, into the store, so that a
/// recovery from there alone is told of holes. What the store has of the same name and says
/// something else is replaced; nothing is removed: another archiver may share the place, and
/// whether a hole is still one the segments tell. Asks the store nothing where there are no
/// records. Returns how many were put. Throws StoreError, Error{io}.
std::size_t mirror_losses(io::Shelf& archive, const archive::Listing& listing, ObjectStore& store,
                          const Layout& layout, const Patience& patience);

}  // namespace weir::store
