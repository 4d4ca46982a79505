#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "receive/size_search.h"
#include "receive/status_board.h"
#include "scheduler.h"
#include "sim_receiver.h"
#include "support/sim_disk.h"

namespace weir::sim {

/// The check of all sizes in the process of a receiver (receive::SizeSearch), again and again. No
/// complete segment is of a wrong size, whatever is done to the archive beside it. To be kept until
/// Scheduler::end() has ended its thread.
class SimSizes final : private receive::SizeSearch::Host {
 public:
  SimSizes(SimDisk& disk, const SimReceiver& receiver, std::chrono::milliseconds pause,
           Scheduler& scheduler, Story& story);
  ~SimSizes() override;
  /// Number of times that all sizes were checked.
  [[nodiscard]] std::uint64_t checked() const { return checked_; }

 private:
  class SizesLog;
  std::unique_ptr<io::Directory> open() override { return disk_.open(); }
  bool rest(std::chrono::nanoseconds time) override;
  void with_hooks(const std::function<void(receive::SizeSearch::Hooks&)>& use) override;
  std::chrono::steady_clock::time_point now() override { return scheduler_.now(); }
  std::chrono::system_clock::time_point wall_clock() override;

  SimDisk& disk_;
  Scheduler& scheduler_;
  Story& story_;
  const std::unique_ptr<SizesLog> log_;
  receive::StatusBoard board_;
  std::uint64_t checked_ = 0;
};

/// P14: in a copy of the disk, a complete segment between others is cut. The check finds it, and
/// records it durably; the record is closed when the segment is back. Returns false if there is no
/// such segment. Throws Violation.
bool check_cut_segment(const SimDisk& disk, Random& random, Story& story);

}  // namespace weir::sim
