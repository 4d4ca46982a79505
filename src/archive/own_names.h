#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "wal/segment.h"

namespace weir::archive {

/// Hidden names of pgweir. All other files that start with a dot belong to other programs and are
/// kept.
inline constexpr std::string_view kSpareName = ".pgweir-spare";

/// Empty: a receiver has started to flush the newest complete segment, and this has not succeeded
/// yet (resume.h). It is for the next process, not for a power loss, so it is never flushed itself.
inline constexpr std::string_view kSyncMark = ".pgweir-syncing";

/// Why the last receiver ended (last_word.h).
inline constexpr std::string_view kLastWordName = ".pgweir-last-word";

/// What the last verification and the last drill found (last_check.h).
inline constexpr std::string_view kLastVerifyName = ".pgweir-last-verify";
inline constexpr std::string_view kLastDrillName = ".pgweir-last-drill";

/// The name under which `name` is written before it is renamed into place: ".pgweir-<name>.tmp".
[[nodiscard]] std::string temporary_name(std::string_view name);

/// Records of losses (losses.h): ".pgweir-loss-<id>", and ".pgweir-loss-<id>.ack" for its
/// acknowledgement.
[[nodiscard]] std::string loss_record_name(std::string_view id);
[[nodiscard]] std::string loss_acknowledgement_name(std::string_view id);
/// Returns the ID from the name of a record, or (`acknowledgement`) of an acknowledgement; not from
/// their temporary names. The ID itself is not checked.
[[nodiscard]] std::optional<std::string> parse_loss_record(std::string_view name,
                                                           bool acknowledgement = false);

/// Earlier versions left an empty file of this name if an operator had accepted the hole before the
/// segment: ".pgweir-behind-hole-<segment>". It applied as long as the segment was partial.
[[nodiscard]] std::string hole_mark_name(wal::SegmentName segment);
[[nodiscard]] std::optional<wal::SegmentName> parse_hole_mark(std::string_view name);

/// Where "pgweir import --replace-damaged" keeps the files it replaces: ".pgweir-damaged-<file>",
/// with the suffix "-2" and so on.
[[nodiscard]] std::string damaged_name(std::string_view file, int number = 1);
/// The segment that such a file is of; nullopt for other names.
[[nodiscard]] std::optional<wal::SegmentName> parse_damaged_name(std::string_view name);

/// True for kSpareName, for the temporary_name() of a segment, a history file or a record of a
/// loss, and for that of the last word (kLastWordName with ".tmp"): possible leftovers of an
/// interrupted run.
[[nodiscard]] bool is_own_hidden_name(std::string_view name);

}  // namespace weir::archive
