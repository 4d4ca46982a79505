#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/directory.h"
#include "store/ledger/mark.h"
#include "wal/segment.h"

namespace weir::store {

/// How much uploaded WAL also stays in the archive (--local-retention): a size, or an age of the
/// files.
struct KeepLocal {
  std::optional<std::uint64_t> bytes{};
  std::optional<std::chrono::milliseconds> age{};
};

/// The complete segments of one position, on all timelines: they are removed together.
struct LocalSegments {
  std::uint64_t segno = 0;
  std::vector<wal::SegmentName> segments{};
  std::uint64_t bytes = 0;                          ///< in all their forms
  std::chrono::system_clock::time_point written{};  ///< the last of them
};
/// All of an archive, in order. Throws Error{io}.
[[nodiscard]] std::vector<LocalSegments> local_segments(io::Shelf& archive, wal::SegmentSize size);

/// Segments to remove, oldest first: up to the first one that was not sent, that a slot of the
/// relay retains, or that is the archive's newest. Pure.
struct MayGo {
  std::vector<LocalSegments> numbers{};
  std::string kept_for{};  ///< why no more is removed; empty: that is all
};
[[nodiscard]] MayGo may_go(std::vector<LocalSegments> all, const KeepLocal& keep, const Mark& mark,
                           std::optional<wal::Lsn> held_from,
                           std::chrono::system_clock::time_point now);

/// Why the relay's slots, which retain WAL from there on, need a segment; empty: they do not. Pure.
[[nodiscard]] std::string kept_for_slot(std::uint64_t segno, std::optional<wal::Lsn> held_from,
                                        wal::SegmentSize size);

/// Start of the WAL that the relay's slots retain; nullopt: they retain none. Throws Error{damage}
/// if it cannot be determined, Error{io}.
[[nodiscard]] std::optional<wal::Lsn> held_by_slots(io::Shelf& archive);

/// Removes the segments of one position in all their forms, durably. Only after `surely_stored` has
/// confirmed for each of them that the store has it now (P17). Returns false otherwise. Throws
/// Error{io, durability}, and what `surely_stored` throws.
[[nodiscard]] bool remove_local(io::Directory& archive, const LocalSegments& number,
                                const std::function<bool(wal::SegmentName)>& surely_stored);

}  // namespace weir::store
