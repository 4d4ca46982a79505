#pragma once

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

/// The first finished copy that is there. nullopt if no archive that answers has one, and had none
/// at some moment of this call.
[[nodiscard]] std::optional<Copy> first_copy(Archives& archives, wal::SegmentName segment);

/// Holds a segment that was found sound against its other copies: other forms in the same archive,
/// and whatever the other archives have of it (unless options.first_sound). Two that are sound and
/// differ in bytes that mean something are a Contradiction: one of them is of another history, and
/// nothing tells which. What is not sound in another archive is told to the log; `told` are copies
/// of which that was done. Each other archive shows by its copy that it is of the same cluster, or
/// is asked for it. `content` reads what was found sound.
void require_agreement(Archives& archives, SegmentCheck& check, const Fetched& checked,
                       io::Bytes& content, const Options& options, Log& log,
                       std::span<const Copy> told = {});

/// Of several archives' unfinished files the longest counts, `best`, if the others are the same so
/// far (a Contradiction if not), and if none of them has WAL still farther behind a place that is
/// damaged (its error, unless options.partial_damaged). Of damage that costs nothing the log is
/// told. `left`: the timeline was left there, and nothing behind that is wanted.
void require_longest(Archives& archives, const Partial& best, const std::vector<Partial>& others,
                     wal::SegmentSize size, const Options& options, std::optional<wal::Lsn> left,
                     Log& log);

}  // namespace weir::restore
