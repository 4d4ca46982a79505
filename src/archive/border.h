#pragma once

#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/record_verifier.h"

namespace weir::archive {

/// A verifier for a stream that goes on at `start`, the first byte of a segment. A record that
/// crosses this border has one checksum over the bytes of both sides: where the archive has the
/// finished segment before (those before, of a record longer than a segment), in whatever form, of
/// the same timeline or of the ancestor that the archive's history names, the verifier has read the
/// front of the record there. So a record of which the front came damaged is found whenever the
/// rest comes, also by another process than the one that received the front. Where that segment is
/// not there, cannot be unpacked, or is itself no sound WAL at its end, the verifier begins at
/// `start` and leaves the rest of such a record unchecked. Throws Error{io}.
[[nodiscard]] wal::RecordVerifier verifier_at(io::Directory& directory,
                                              const wal::RecordVerifier::Options& options,
                                              wal::Lsn start);

}  // namespace weir::archive
