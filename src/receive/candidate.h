#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// Whether a failover to that server would leave a gap, and why.
enum class Cover {
  covered,           ///< its slot retains everything from the archive's end on
  not_looked_at,     ///< not yet checked
  no_answer,         ///< it does not answer, or the dialogue did not complete
  other_cluster,     ///< another system identifier
  other_branch,      ///< neither history includes the other's end
  second_primary,    ///< a primary on the archive's timeline, as another host is
  no_history,        ///< it lacks its timeline's history file
  no_slot,           ///< and it is not to be created
  slot_gone,         ///< it existed at the previous visit, and was recreated at this one
  not_physical,      ///< the slot is a logical one
  reserves_none,     ///< the slot was invalidated, or created without reserving WAL
  begins_later,      ///< the slot only retains WAL after the archive's end
  begin_unknown,     ///< the server cannot report the slot's restart_lsn (before 15)
  in_use,            ///< another client uses the slot
  refused,           ///< the server does not allow its use
  validity_unknown,  ///< whether the slot was invalidated cannot be read (16 and 17)
};

/// "covered", "no_answer", …
[[nodiscard]] std::string_view to_string(Cover cover);

/// A server in the connection string that is not streaming, and may be promoted: the state of the
/// server and of its slot.
struct Candidate {
  std::string host;
  std::size_t index = 0;  ///< in the connection string
  Cover cover = Cover::not_looked_at;
  std::string reason;  ///< why it is not covered, for messages; empty if it is
  // At its last answer:
  wal::TimelineId timeline = 0;
  wal::Lsn end;                                      ///< of its WAL
  std::optional<wal::Lsn> slot_lsn;                  ///< its slot's restart_lsn; unset: unknown
  std::chrono::system_clock::time_point answered{};  ///< the epoch: never
  /// Start of the period without an answer; unset: it answers.
  std::optional<std::chrono::system_clock::time_point> silent_since;
  /// First of the consecutive visits that found the slot missing after it had existed; unset: not
  /// missing.
  std::optional<std::chrono::system_clock::time_point> slot_gone_since{};
  bool was_covered = false;  ///< at its last answer, while it does not answer

  [[nodiscard]] bool covered() const { return cover == Cover::covered; }
};

}  // namespace weir::receive
