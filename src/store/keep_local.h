#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/directory.h"
#include "store/mark.h"
#include "wal/segment.h"

namespace weir::store {

/// How much of what a store has stays in the archive as well (--keep-local): so many bytes, or what
/// was written within so long.
struct KeepLocal {
  std::optional<std::uint64_t> bytes{};
  std::optional<std::chrono::milliseconds> age{};
};

/// The finished segments of one position, on all timelines: they go together or not at all.
struct LocalSegments {
  std::uint64_t segno = 0;
  std::vector<wal::SegmentName> segments{};
  std::uint64_t bytes = 0;                          ///< in all their forms
  std::chrono::system_clock::time_point written{};  ///< the last of them
};
/// All of an archive, in order. Throws Error{io}.
[[nodiscard]] std::vector<LocalSegments> local_segments(io::Shelf& archive, wal::SegmentSize size);

/// What has to go by the rule and may go, the oldest first: up to the first one that was not sent,
/// that a slot of the relay holds, or that is the archive's newest. Pure.
struct MayGo {
  std::vector<LocalSegments> numbers{};
  std::string kept_for{};  ///< why no more of it; empty: that is all
};
[[nodiscard]] MayGo may_go(std::vector<LocalSegments> all, const KeepLocal& keep, const Mark& mark,
                           std::optional<wal::Lsn> held_from,
                           std::chrono::system_clock::time_point now);

/// Why a segment stays of which the relay's slots hold what is from there on; empty: they do not
/// need it. Pure.
[[nodiscard]] std::string kept_for_slot(std::uint64_t segno, std::optional<wal::Lsn> held_from,
                                        wal::SegmentSize size);

/// Where the WAL begins that the relay's slots hold; nullopt: they hold none. Throws Error{damage}
/// where nobody knows, Error{io}.
[[nodiscard]] std::optional<wal::Lsn> held_by_slots(io::Shelf& archive);

/// Removes the segments of one position in all their forms, and returns when that is durable. Only
/// after `surely_stored` has said of each of them that the store has it, now (P17). False: not of
/// each. Throws Error{io, durability}, and what `surely_stored` throws.
[[nodiscard]] bool remove_local(io::Directory& archive, const LocalSegments& number,
                                const std::function<bool(wal::SegmentName)>& surely_stored);

}  // namespace weir::store
