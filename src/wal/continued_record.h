#pragma once

#include <cstdint>
#include <optional>

#include "wal/lsn.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::wal {

/// End (8-byte aligned) of a record of which `remaining` bytes continue in the segment, according
/// to the segment's first page header; it may be after the segment's end.
[[nodiscard]] Lsn end_of_continued_record(Lsn segment_start, std::uint32_t remaining);

/// End of the last complete record in the WAL that `verifier` has read, from the first byte of the
/// segment at `segment_start` on. The record in which the segment begins counts if no other one is
/// complete. `first_page` is the header of the segment's first page. 0/0: no record ends there.
[[nodiscard]] Lsn last_record_end_in_segment(const RecordVerifier& verifier, Lsn segment_start,
                                             const std::optional<PageHeader>& first_page);

}  // namespace weir::wal
