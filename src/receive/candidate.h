#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// Why a failover to that server would leave no gap, or may leave one.
enum class Cover {
  covered,        ///< its slot keeps everything from the archive's end on
  not_looked_at,  ///< not yet
  no_answer,      ///< it does not answer, or not in the end
  other_cluster,  ///< another system identifier
  other_branch,   ///< its history does not lead to the archive's end, nor the archive's to its own
  no_history,     ///< it cannot show where its timeline comes from
  no_slot,        ///< and none is to be made
  slot_gone,      ///< it was there at the visit before, and was made anew at this one
  not_physical,   ///< the slot is a logical one
  reserves_none,  ///< the slot was invalidated, or made without reserving WAL
  begins_later,   ///< the slot keeps WAL from behind the archive's end on only
  begin_unknown,  ///< the server cannot be asked where the slot begins (before 15)
  in_use,         ///< somebody else has the slot
  refused,        ///< the server lets nobody use it
};

/// "covered", "no_answer", …
[[nodiscard]] std::string_view to_string(Cover cover);

/// A server of the connection string that does not stream, and might be the next one: what was seen
/// of it and of its slot.
struct Candidate {
  std::string host;
  std::size_t index = 0;  ///< in the connection string
  Cover cover = Cover::not_looked_at;
  std::string reason;  ///< why it is not covered, for people; empty if it is
  // As it was at the last answer.
  wal::TimelineId timeline = 0;
  wal::Lsn end;                      ///< of its WAL
  std::optional<wal::Lsn> slot_lsn;  ///< its slot keeps WAL from here on; unset: not known
  std::chrono::system_clock::time_point answered{};  ///< the epoch: never
  /// Since when it does not answer; unset: it does.
  std::optional<std::chrono::system_clock::time_point> silent_since;
  /// Since when the slot was gone at each visit, though it had been there; unset: it was not.
  std::optional<std::chrono::system_clock::time_point> slot_gone_since{};
  bool was_covered = false;  ///< at its last answer, while it gives none

  [[nodiscard]] bool covered() const { return cover == Cover::covered; }
};

}  // namespace weir::receive
