#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/directory.h"
#include "receive/compare_feed.h"
#include "sim_machine.h"
#include "sim_reference.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// Comparing in the process of a receiver, as `receive --compare-with` does it:
/// receive::CompareFeed, all of it. It gets the receiver's events from a thread of its own, since a
/// listener holds a lock of the machine below. To be kept until Scheduler::end() has ended its
/// threads.
class SimCompare {
 public:
  struct World {
    const Lineage& lineage;
    SimDisk& disk;
    SimReference& reference;
    receive::Feed& feed;
    receive::StatusBoard& board;
    Scheduler& scheduler;
    Story& story;
  };
  SimCompare(World world, std::uint64_t seed);
  ~SimCompare();

  /// P7: no difference where there is none, and none missed. To be asked at each step.
  void check();
  /// It has come to the archive's end, or says why not.
  [[nodiscard]] bool done();
  /// The process ends: as the program does it.
  void end();
  [[nodiscard]] std::uint64_t bytes() const { return seen_.bytes; }
  [[nodiscard]] std::uint64_t differences() const { return seen_.differences; }

 private:
  class News;
  class CompareLog;
  /// As CompareFeed's: of what it was told.
  struct Part {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    wal::Lsn durable;
  };
  void run(std::uint64_t seed);
  void on_streaming(const receive::event::Streaming& streaming);
  void on_durable(const receive::event::DurableEnd& durable);
  void judge(const receive::FeedDifference& difference) const;
  void look();

  const World world_;
  SimMachine machine_;
  const std::unique_ptr<CompareLog> log_;
  receive::Feed feed_;
  std::deque<receive::Event> told_;  ///< and not handed over
  std::vector<Part> parts_;
  bool closing_ = false;
  bool closed_ = false;
  receive::ReceiverView::Comparison seen_;
  std::optional<Violation> complaint_;
  struct State {
    std::string problem;
    wal::Lsn position;
    std::uint64_t skipped = 0;
    bool operator==(const State&) const = default;
  } state_;
  receive::Time state_since_{};
  std::unique_ptr<receive::CompareFeed> compare_;
  receive::Feed::Subscription judging_;
  receive::Feed::Subscription listening_;
};

}  // namespace weir::sim
