#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::cli {

/// "16/B374D848", or the name of a segment file in any form. Throws Error{usage} that names the
/// option.
[[nodiscard]] std::variant<wal::Lsn, wal::SegmentName> parse_position(const std::string& text,
                                                                      std::string_view option);

/// A timeline as people write it: decimal. Throws Error{usage}.
[[nodiscard]] wal::TimelineId parse_timeline(const std::string& text);

}  // namespace weir::cli
