#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "archive/durable_end.h"
#include "io/directory.h"
#include "ledger.h"
#include "lineage.h"
#include "mutant.h"
#include "random.h"
#include "relay/served.h"
#include "scheduler.h"
#include "status/report.h"
#include "story.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// Up to where status says that a backup that began at the beginning of that way can be recovered;
/// 0/0: it says nothing of that.
[[nodiscard]] wal::Lsn promised_end(const status::StatusReport& report, const Ledger::Way& way);

/// Other processes that read the archive at any moment, while a receiver writes to it: servers that
/// recover from it, with --partial or without, verify, status, and serve in a process of its own.
/// In some lives only.
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
  /// A call of the process that runs at this moment was made to fail.
  void on_failed_call() { call_failed_ = call_failed_ || world_.scheduler.current() == "status"; }
  [[nodiscard]] std::uint64_t recoveries() const { return recoveries_; }
  [[nodiscard]] std::uint64_t verified() const { return verified_; }
  [[nodiscard]] std::uint64_t reported() const { return reported_; }
  [[nodiscard]] std::uint64_t served() const { return served_; }

 private:
  /// They change when WAL is removed from the archive, or may be.
  using Floors = std::pair<wal::Lsn, wal::Lsn>;
  void recover(const Ledger::Way& way, bool partial, const Floors& before);
  void verify();
  void report(const Ledger::Way& way, const Floors& before);
  void serve(const Ledger::Way& way);
  struct Stream {
    const relay::Cluster& cluster;
    const relay::Served& served;
    wal::TimelineId timeline;
  };
  void read_served(io::Directory& directory, const Stream& stream, wal::Lsn from,
                   wal::Lsn archive_begin);
  [[nodiscard]] bool is_torn(wal::TimelineId timeline, wal::Lsn end) const;
  [[nodiscard]] Floors floors() const {
    return {world_.ledger.given_up_before(), world_.ledger.left_to_store_before()};
  }

  const World world_;
  Random random_;
  std::uint64_t recoveries_ = 0;
  std::uint64_t verified_ = 0;
  std::uint64_t reported_ = 0;
  std::uint64_t served_ = 0;  ///< bytes
  bool call_failed_ = false;  ///< of the status that runs
};

}  // namespace weir::sim
