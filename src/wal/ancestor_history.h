#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"

namespace weir::wal {

/// The content of an ancestor's history file, from that of a descendant: the lines before the
/// ancestor's own, which a server copies from it (writeTimeLineHistory() in
/// access/transam/timeline.c). nullopt if `descendant` does not name it, or nothing before it.
[[nodiscard]] std::optional<std::string> ancestor_history(std::string_view descendant,
                                                          TimelineId ancestor);

}  // namespace weir::wal
