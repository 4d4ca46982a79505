#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "confirmed_wal.h"
#include "ledger.h"
#include "receive/server.h"
#include "receive/status_board.h"
#include "scheduler.h"
#include "sim_machine.h"
#include "sim_upstream.h"

namespace weir::sim {

/// What may be received and not durable; far less than the real limit, so that it is met.
inline constexpr std::uint64_t kUnsyncedLimit = 3 * kSegmentBytes / 2;
inline constexpr std::uint64_t kLargestMessage = 16 * 1024;

/// The way of one process of the receiver to the simulated servers. What crosses it is put down in
/// the ledger.
class SimServers final : public receive::Servers {
 public:
  struct World {
    SimUpstream& upstream;
    Ledger& ledger;
    Random& random;
    Story& story;
    Scheduler& scheduler;
    SimMachine& machine;
    const receive::StatusBoard& board;
    const SimDisk& disk;
    const std::function<void(const wire::HotStandbyFeedback&)>& feedback;
    std::uint64_t& dropped;   ///< messages with WAL
    ConfirmedWal* confirmed;  ///< nullptr: what is durable here is confirmed
    const std::function<bool(wal::SegmentName)>& lost_by_store;
  };
  explicit SimServers(World world) : world_(world) {}

  receive::HostList hosts(const receive::Options& options) override;
  std::unique_ptr<receive::Server> visit(const receive::Options& options,
                                         const receive::Visit& visit,
                                         const net::Wake& stop) override;
  std::unique_ptr<receive::Server> connect_to(const receive::Options& options, std::size_t host,
                                              std::function<void(const std::string&)> notice,
                                              const net::Wake& stop) override;
  std::unique_ptr<receive::Server> connect(const receive::Options& options, std::size_t first_host,
                                           std::function<void(const std::string&)> notice,
                                           const net::Wake& stop) override;
  receive::SlotReading read_slot_view(const std::string& conninfo, const std::string& server,
                                      const std::string& slot, const net::Wake& stop) override;
  /// The host of which something was heard in a stream last.
  [[nodiscard]] std::optional<std::size_t> streamed_host() const { return streamed_host_; }
  /// As a signal has asked for: what waits for a server is broken off.
  void stop() { stopped_ = true; }

 private:
  class SimServer;
  class SimVisit;
  class SimStream;
  class Answer;
  void check_branch(std::size_t node) const;
  void check_line(wal::Lsn start);

  World world_;
  std::uint64_t connections_ = 0;   ///< the newest is the one that there is
  std::uint64_t line_checked_ = 0;  ///< the connection of which check_line() has judged a stream
  bool stopped_ = false;
  std::optional<std::size_t> streamed_host_;
  /// What hosts said of themselves when they were asked last.
  struct Said {
    wal::TimelineId timeline = 0;
    bool standby = false;
  };
  std::map<std::size_t, Said> said_;
};

}  // namespace weir::sim
