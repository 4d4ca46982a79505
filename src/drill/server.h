#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/child_process.h"
#include "recovery/programs.h"
#include "recovery/promise.h"
#include "wal/segment.h"

namespace weir::drill {

class Sandbox;
using recovery::Control;
using recovery::Programs;
using recovery::Target;

struct ServerSettings {
  std::string restore_command;
  std::string preload;
  Target target;
  wal::Lsn last_record;  ///< for `latest`: no later WAL is replayed, even if it arrives meanwhile
  wal::TimelineId timeline = 1;
  wal::SegmentSize segment_size;
  std::uint64_t prepared_transactions = 0;
};
/// Returns the complete text of postgresql.conf; nothing is taken from the backup.
[[nodiscard]] std::string server_configuration(const ServerSettings& settings, int major,
                                               const std::string& sandbox);

/// The server of a sandbox, from its start to the end of its recovery. On destruction it is stopped
/// with all its processes. One thread.
class Server {
 public:
  /// Writes the configuration and starts it.
  Server(const Programs& programs, const Sandbox& sandbox, const ServerSettings& settings);
  ~Server();

  enum class State { starts, replays, open, ended };
  struct View {
    State state = State::starts;
    // Duration, by the server's own log.
    std::chrono::milliseconds start{};
    std::chrono::milliseconds replay{};  ///< and what follows until it is open
  };
  /// Returns its state according to its log so far.
  [[nodiscard]] View look();
  /// Stops it in order, as a shutdown does. False if it did not within a minute.
  bool shut_down();
  /// Returns the log messages that an operator should see: the newest `most` lines of errors.
  [[nodiscard]] std::vector<std::string> complaints(std::size_t most) const;
  [[nodiscard]] bool said(std::string_view words) const;
  /// True if it has started its work: its libraries and settings are in order.
  [[nodiscard]] bool began() const { return said("starting PostgreSQL"); }

 private:
  [[nodiscard]] std::string log() const;
  const std::string log_path_;
  std::unique_ptr<io::ChildProcess> child_;
};

}  // namespace weir::drill
