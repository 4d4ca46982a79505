#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "archive/durable_end.h"
#include "ledger.h"
#include "lineage.h"
#include "mutant.h"
#include "random.h"
#include "scheduler.h"
#include "story.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// Other processes that read the archive at any moment, while a receiver writes to it: servers that
/// recover from it, with --partial or without, and verify. In some lives only.
class SimReaders {
 public:
  struct World {
    const Lineage& lineage;
    SimDisk& disk;
    const Ledger& ledger;
    Scheduler& scheduler;
    Story& story;
    Mutant mutant;
    /// What the receiver that runs says of itself when it is asked; nullopt: it does not stream.
    std::function<std::optional<archive::DurableEnd>()> ask_receiver;
    /// Where a recovery must come to, of what was reported.
    std::function<wal::Lsn(const Ledger::Way& way, bool partial)> end_needed;
  };

  SimReaders(std::uint64_t seed, World world) : world_(std::move(world)), random_(seed) {}

  /// One of them may begin.
  void tick();
  [[nodiscard]] std::uint64_t recoveries() const { return recoveries_; }
  [[nodiscard]] std::uint64_t verified() const { return verified_; }

 private:
  /// They change when WAL is removed from the archive, or may be.
  using Floors = std::pair<wal::Lsn, wal::Lsn>;
  void recover(const Ledger::Way& way, bool partial, const Floors& before);
  void verify();
  [[nodiscard]] Floors floors() const {
    return {world_.ledger.given_up_before(), world_.ledger.left_to_store_before()};
  }

  const World world_;
  Random random_;
  std::uint64_t recoveries_ = 0;
  std::uint64_t verified_ = 0;
};

}  // namespace weir::sim
