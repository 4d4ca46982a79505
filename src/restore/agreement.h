#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/log.h"
#include "io/shelf.h"
#include "restore/archives.h"
#include "restore/copy.h"
#include "restore/fetched.h"
#include "restore/options.h"
#include "restore/partial.h"
#include "restore/segment_check.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// Returns the first complete copy. Returns nullopt if no archive that responds has one, or had
/// none at some point during this call.
[[nodiscard]] std::optional<Copy> first_copy(Archives& archives, wal::SegmentName segment);

/// Compares a segment that was found valid with its other copies: other files in the same archive,
/// and those in the other archives (unless options.first_sound). Two valid copies that differ in
/// meaningful bytes are a Contradiction: one of them is of another history, and it is unknown
/// which. A copy in another archive that is not valid is logged; `told` are the copies already
/// logged. Each other archive must be of the same cluster, as shown by its copy or by a query.
/// `content` reads the valid segment.
void require_agreement(Archives& archives, SegmentCheck& check, const Fetched& checked,
                       io::Bytes& content, const Options& options, Log& log,
                       std::span<const Copy> told = {});

/// `best` is the longest of several archives' partial files. Requires that the others agree with it
/// up to their ends (a Contradiction otherwise), and that none of them has WAL beyond `best` after
/// a damaged place (throws its error, unless options.partial_damaged). Damage without consequence
/// is logged. `left`: the history leaves the timeline there, and no later WAL is needed.
void require_longest(Archives& archives, SegmentCheck& check, const Partial& best,
                     const std::vector<Partial>& others, wal::SegmentSize size,
                     const Options& options, std::optional<wal::Lsn> left, Log& log);

/// True if the copy has the same first `upto` bytes as `content`. Throws as
/// archive::read_segment() does.
[[nodiscard]] bool begins_as(Archives& archives, const Copy& copy, io::Bytes& content,
                             wal::SegmentSize size, std::uint64_t upto);

}  // namespace weir::restore
