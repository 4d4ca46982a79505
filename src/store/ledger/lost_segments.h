#pragma once

#include <set>
#include <span>
#include <string>

#include "archive/identity.h"
#include "archive/losses.h"
#include "base/error.h"
#include "base/log.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::store {

/// How a segment came to be missing in both the store and the archive.
enum class Lost {
  after_upload,   ///< it was sent
  before_upload,  ///< it left the archive before that
};
/// Records such segments as holes of the archive. mirror_losses() then uploads the records, so that
/// a recovery from the store alone reports them. `place`: the store, for messages. Returns true if
/// a record is new. Throws as archive::record_loss().
bool record_lost(io::Directory& archive, const std::set<wal::SegmentName>& lost,
                 const archive::Identity& cluster, const std::string& place, Log& log,
                 Lost how = Lost::after_upload);

/// The recorded hole with this segment; nullptr: there is none.
[[nodiscard]] const archive::Loss* hole_with(std::span<const archive::Loss> losses,
                                             wal::SegmentName segment, wal::SegmentSize size);

/// ErrorKind::gap. `object`: its name in the store.
[[nodiscard]] Error lost_error(const std::string& object);

}  // namespace weir::store
