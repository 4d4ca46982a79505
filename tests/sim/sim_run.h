#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mutant.h"
#include "story.h"

namespace weir::sim {

/// What one run came to.
struct RunResult {
  std::optional<Violation> violation;
  std::vector<std::string> story;  ///< if it was asked for

  // How much happened, so that a test can see that the simulation reaches what it is made for.
  std::uint64_t processes = 0;
  std::uint64_t power_losses = 0;
  std::uint64_t kills = 0;
  std::uint64_t failed_syncs = 0;
  std::uint64_t full_disks = 0;
  std::uint64_t holes = 0;
  std::uint64_t timelines = 0;  ///< newest that was streamed
  std::uint64_t refusals = 0;   ///< ended with an error for a person
  std::uint64_t steps = 0;
  std::uint64_t prunes = 0;
  std::uint64_t imports = 0;
  std::uint64_t imported = 0;      ///< segments
  std::uint64_t dropped = 0;       ///< messages with WAL
  std::uint64_t told_to_go = 0;    ///< walsenders
  std::uint64_t slots_moved = 0;   ///< by the slot keeper
  std::uint64_t hangs = 0;         ///< of the disk
  std::uint64_t second_tries = 0;  ///< of another process to take the archive
  std::uint64_t exhausted = 0;     ///< processes that ended without memory
  std::uint64_t sized = 0;         ///< times that all sizes were checked beside a receiver
  std::uint64_t cut = 0;           ///< segments that were cut at the end, and found so
  std::uint64_t recoveries = 0;
  std::uint64_t recoveries_beside = 0;  ///< while a receiver was at work
  std::uint64_t verified_beside = 0;    ///< likewise
  std::uint64_t reported_beside = 0;    ///< likewise, by status
  std::uint64_t pushed = 0;             ///< segments, by "store push" beside a receiver
  std::uint64_t served_beside = 0;      ///< bytes, by a process that only serves
  std::uint64_t compared = 0;           ///< bytes, with a reference server
  std::uint64_t differences = 0;        ///< that were found in that
  std::uint64_t served = 0;             ///< bytes that standbys of the relay have got
  std::uint64_t followed = 0;           ///< switches of timelines that they have followed
  std::uint64_t feedbacks = 0;          ///< that said something upstream
  std::uint64_t spoiled = 0;     ///< archives that were spoiled at the end, to be recovered from
  std::uint64_t stored = 0;      ///< objects that a store took
  std::uint64_t not_stored = 0;  ///< requests to it that failed
  std::uint64_t left = 0;        ///< segments that left the archive, since the store has them
  std::uint64_t confirmed = 0;   ///< segments that were confirmed as stored
  std::uint64_t confirmed_inside = 0;  ///< positions of which the store had a partial segment
  std::uint64_t from_both = 0;         ///< recoveries from the archive and the store
};

/// One life of an archive: a cluster, a disk, processes of the receiver one after the other with
/// faults between, then a quiet time in which all has to come to a good end. `seed` decides
/// everything.
[[nodiscard]] RunResult simulate(std::uint64_t seed, Mutant mutant, Telling telling,
                                 World world = World::any);

}  // namespace weir::sim
