#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lineage.h"
#include "random.h"
#include "receive/server.h"
#include "scheduler.h"
#include "sim_machine.h"
#include "story.h"

namespace weir::sim {

/// The reference server of `receive --compare-with`. It has the cluster's WAL, at its own speed; it
/// may be unavailable, slow or on an older timeline, break connections, and have removed WAL. In
/// some lives its WAL is wrong: one bit differs, or it has followed another branch.
class SimReference final : public receive::Servers {
 public:
  SimReference(const Lineage& lineage, std::uint64_t seed, Scheduler& scheduler, Story& story);

  /// `calm`: it answers, and gets all WAL.
  void tick(bool calm);
  /// Of the process that connects from now on.
  void serve(SimMachine& machine) { machine_ = &machine; }
  /// It streams at this moment: nothing may then wait for the disk.
  [[nodiscard]] bool streams() const { return streams_ > 0; }
  /// The first record that is wrong on this timeline; nullopt: none is.
  [[nodiscard]] std::optional<Lineage::Spot> wrong(wal::TimelineId timeline) const;
  /// What it has there.
  [[nodiscard]] std::vector<std::byte> bytes(wal::TimelineId timeline, wal::Lsn from,
                                             wal::Lsn to) const;
  [[nodiscard]] const std::optional<Violation>& complaint() const { return complaint_; }

  receive::HostList hosts(const receive::Options&) override { return {{"reference"}}; }
  std::unique_ptr<receive::Server> connect(const receive::Options&, std::size_t,
                                           std::function<void(const std::string&)>,
                                           const net::Wake& stop) override;
  std::unique_ptr<receive::Server> connect_to(const receive::Options&, std::size_t,
                                              std::function<void(const std::string&)>,
                                              const net::Wake&) override;
  std::unique_ptr<receive::Server> visit(const receive::Options&, const receive::Visit&,
                                         const net::Wake&) override;
  receive::SlotReading read_slot_view(const std::string&, const std::string&, const std::string&,
                                      const net::Wake&) override;

 private:
  class ReferenceServer;
  class Stream;
  [[nodiscard]] wal::Lsn end_of(wal::TimelineId timeline) const;
  void take_time(const net::Wake& stop);
  [[nodiscard]] Error refuse(const char* what);

  const Lineage& lineage_;
  Random random_;
  Scheduler& scheduler_;
  Story& story_;
  SimMachine* machine_ = nullptr;
  bool calm_ = false;
  bool up_ = true;
  std::uint64_t starts_ = 1;  ///< as Node::starts
  wal::TimelineId timeline_ = 1;
  wal::Lsn flush_;
  wal::Lsn oldest_;
  int streams_ = 0;
  // What is wrong with it: a bit of a record of this timeline, which later ones inherit, or
  std::optional<Lineage::Spot> spot_;
  wal::TimelineId spot_timeline_ = 0;
  unsigned bit_ = 0;
  /// … the WAL of the newest timeline.
  const testing::WalBuilder* other_ = nullptr;
  std::optional<Violation> complaint_;
};

}  // namespace weir::sim
