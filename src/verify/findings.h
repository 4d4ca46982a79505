#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "verify/context.h"
#include "verify/report.h"

namespace weir::verify {

// The wording for errors in a segment's file.

/// The WAL that a recovery does not get: from `at` in that segment on, to its end.
[[nodiscard]] std::optional<LostRange> loss_of(const Node& node, wal::Lsn at,
                                               wal::SegmentSize size);

/// `first_page`: the file's first page header, if it was read; if it is wrong, the WAL itself may
/// be valid and only in the wrong place.
[[nodiscard]] Finding damage_finding(const Context& context, const Node& node,
                                     const std::string& file, const wal::Damage& damage,
                                     const std::optional<wal::PageHeader>& first_page);

/// `given`: number of bytes of the segment read before.
[[nodiscard]] Finding error_finding(const Context& context, const Node& node,
                                    const std::string& file, const Error& error,
                                    std::uint64_t given);

/// The start of the segment could not be read to check the record over the boundary before it.
[[nodiscard]] Finding border_finding(const Context& context, const Node& node,
                                     const std::string& file, const Error& error);

}  // namespace weir::verify
