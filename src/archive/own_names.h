#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wal/segment.h"

namespace weir::archive {

/// Hidden names of ours. Whatever else begins with a dot belongs to somebody else and stays.
inline constexpr std::string_view kSpareName = ".pgweir-spare";

/// Where `name` is written before it gets its name: ".pgweir-<name>.tmp".
[[nodiscard]] std::string temporary_name(std::string_view name);

/// An empty file of this name says that somebody accepted the hole before the segment, and that the
/// archive goes on with it: ".pgweir-behind-hole-<segment>". It speaks as long as the segment is
/// unfinished; after that the hole is one between finished segments, and shows.
[[nodiscard]] std::string hole_mark_name(wal::SegmentName segment);
[[nodiscard]] std::optional<wal::SegmentName> parse_hole_mark(std::string_view name);

/// True for kSpareName and for the temporary_name() of a segment or history file.
[[nodiscard]] bool is_own_hidden_name(std::string_view name);

}  // namespace weir::archive
