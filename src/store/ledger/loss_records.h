#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "base/log.h"
#include "io/shelf.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"

namespace weir::store {

/// An archive's loss records and their acknowledgments, by file name.
using LossRecords = std::map<std::string, std::vector<std::byte>>;
/// If a file cannot be read, its content in `known` is returned, or else a placeholder: the name of
/// a record identifies the loss, and readers guess its extent. `log` is told about those.
[[nodiscard]] LossRecords read_loss_records(io::Shelf& archive, const archive::Listing& listing,
                                            Log& log, const LossRecords& known = {});

/// Uploads them, so that a recovery from the store alone knows about holes. Objects with a
/// different content are replaced, unless the credentials may create objects only, or by a
/// placeholder; that of an acknowledgement is not uploaded. Nothing is
/// removed: another archiver may share the place, and the segments show whether a hole still
/// exists. Sends no request if there are no records. Returns the number of uploads. Throws
/// StoreError.
std::size_t mirror_losses(const LossRecords& records, ObjectStore& store, const Layout& layout,
                          const Patience& patience);

}  // namespace weir::store
