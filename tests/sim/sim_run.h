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
  std::uint64_t recoveries = 0;
  std::uint64_t spoiled = 0;  ///< archives that were spoiled at the end, to be recovered from
};

/// One life of an archive: a cluster, a disk, processes of the receiver one after the other with
/// faults between, then a quiet time in which all has to come to a good end. `seed` decides
/// everything.
[[nodiscard]] RunResult simulate(std::uint64_t seed, Mutant mutant, Telling telling);

}  // namespace weir::sim
