#pragma once

#include <cstddef>

#include "archive/listing.h"
#include "io/shelf.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"

namespace weir::store {

/// Uploads an archive's loss records and their acknowledgments, so that a recovery from the store
/// alone knows about holes. Objects with a different content are replaced; nothing is removed:
/// another archiver may share the place, and the segments show whether a hole still exists. Sends
/// no request if there are no records. Returns the number of uploads. Throws StoreError, Error{io}.
std::size_t mirror_losses(io::Shelf& archive, const archive::Listing& listing, ObjectStore& store,
                          const Layout& layout, const Patience& patience);

}  // namespace weir::store
