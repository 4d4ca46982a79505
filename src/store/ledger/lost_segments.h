#pragma once

#include <set>
#include <string>

#include "archive/identity.h"
#include "base/error.h"
#include "base/log.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::store {

/// Records segments that were sent, and that are now missing in both the store and the archive, as
/// holes of the archive. mirror_losses() then uploads the records, so that a recovery from the
/// store alone reports them. `place`: the store, for messages. Returns true if a record is new.
/// Throws as archive::record_loss().
bool record_lost(io::Directory& archive, const std::set<wal::SegmentName>& lost,
                 const archive::Identity& cluster, const std::string& place, Log& log);

/// ErrorKind::gap. `object`: its name in the store.
[[nodiscard]] Error lost_error(const std::string& object);

}  // namespace weir::store
