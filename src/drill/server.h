#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drill/process.h"
#include "drill/promise.h"
#include "wal/segment.h"

namespace weir::drill {

class Sandbox;

/// Where the programs of a server version are.
struct Programs {
  std::string directory;
  std::string version;  ///< what postgres says of itself
  int major = 0;
  [[nodiscard]] std::string path(const std::string& program) const {
    return directory + "/" + program;
  }
};
/// Those of that major version: in `bindir`, else where Debian has them. Throws Error{refused} if
/// they are not there, or are of another version.
[[nodiscard]] Programs find_programs(int major, const std::optional<std::string>& bindir,
                                     const std::function<bool()>& stop);

/// What pg_controldata says of a data directory. Where that program is not, only whose it is.
struct Control {
  std::uint64_t system_identifier = 0;
  std::uint64_t prepared_transactions = 0;  ///< max_prepared_transactions where it comes from
  std::optional<bool> checksums{};
};
/// Throws Error{damage} if it cannot be read.
[[nodiscard]] Control read_control(const Programs& programs, const std::string& data,
                                   const std::function<bool()>& stop);

struct ServerSettings {
  std::string restore_command;
  std::string preload;
  Target target;
  wal::Lsn last_record;  ///< of `latest`: no later WAL is replayed, though it may come meanwhile
  wal::TimelineId timeline = 1;
  wal::SegmentSize segment_size;
  std::uint64_t prepared_transactions = 0;
};
/// The text of postgresql.conf: all of it, nothing comes from the backup.
[[nodiscard]] std::string server_configuration(const ServerSettings& settings, int major,
                                               const std::string& sandbox);

/// The server of a sandbox, from its start to the end of its recovery. Destroyed, it is gone with
/// all its processes. One thread.
class Server {
 public:
  /// Writes the configuration and starts it.
  Server(const Programs& programs, const Sandbox& sandbox, const ServerSettings& settings);
  ~Server();

  enum class State { starts, replays, open, ended };
  struct View {
    State state = State::starts;
    // How long it has taken, by the server's own log.
    std::chrono::milliseconds start{};
    std::chrono::milliseconds replay{};  ///< and what follows until it is open
  };
  /// By what it has logged so far.
  [[nodiscard]] View look();
  /// Stops it in order, as a shutdown does. False if it did not within a minute.
  bool shut_down();
  /// Of all that was logged: what a person should see. The newest `most` lines of errors.
  [[nodiscard]] std::vector<std::string> complaints(std::size_t most) const;
  [[nodiscard]] bool said(std::string_view words) const;
  /// It got as far as to begin its work: its libraries and settings are in order.
  [[nodiscard]] bool began() const { return said("starting PostgreSQL"); }

 private:
  [[nodiscard]] std::string log() const;
  const std::string log_path_;
  std::unique_ptr<Child> child_;
};

/// Where the recovery ended: the newest timeline history in the data directory says where it left
/// the timeline it had followed. nullopt: there is none.
[[nodiscard]] std::optional<wal::Lsn> reached_position(const std::string& data);

}  // namespace weir::drill
