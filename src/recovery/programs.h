#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/child_process.h"
#include "wal/lsn.h"
#include "wal/records.h"

namespace weir::recovery {

/// Our environment without variables that would affect libpq or a server (PG…, locale), and with
/// LC_ALL=C: the output of servers and tools is parsed.
[[nodiscard]] io::Environment environment(const std::vector<std::string>& more = {});

struct Finished {
  io::ProcessEnd end;
  std::string output;  ///< standard output and error, at most its last 64 kB
  [[nodiscard]] bool done() const { return end.success(); }
};
/// What else a tool is run with.
struct ToolWatch {
  /// Called with each line of its output when it is complete; a carriage return ends one, too.
  std::function<void(std::string_view line)> line = {};
  std::vector<int> keep = {};  ///< descriptors that it inherits
};
/// Runs a tool to its end; if this process dies, the tool is killed. When `stop` returns true, it
/// is terminated, and Error{retry} thrown.
[[nodiscard]] Finished run_tool(const io::Command& command, const io::Environment& environment,
                                const std::function<bool()>& stop, const ToolWatch& watch = {});

/// The programs of a server version, by their paths.
struct Programs {
  std::string directory;
  std::string version;  ///< the version string of postgres
  int major = 0;
  [[nodiscard]] std::string path(const std::string& program) const {
    return directory + "/" + program;
  }
};
/// Runs one of the programs with --version, and keeps what it answers; a `major` of 0 is unknown.
/// Returns false if it failed. Throws Error{retry} if stopped.
bool ask_version(Programs& programs, const std::string& program, const std::function<bool()>& stop);
/// Finds the programs of that major version: in `bindir`, otherwise at Debian's location. Throws
/// Error{refused} if they do not exist, or are of another version.
[[nodiscard]] Programs find_programs(int major, const std::optional<std::string>& bindir,
                                     const std::function<bool()>& stop);

/// The output of pg_controldata for a data directory. Without that program, only the system
/// identifier.
struct Control {
  std::uint64_t system_identifier = 0;
  [[nodiscard]] std::uint64_t prepared_transactions() const { return limits[3]; }
  std::optional<bool> checksums{};
  wal::ServerLimits limits{};  ///< from its server
  std::string state{};         ///< "in production", "shut down in recovery", …
};
/// Throws Error{damage} if it cannot be read.
[[nodiscard]] Control read_control(const Programs& programs, const std::string& data,
                                   const std::function<bool()>& stop);

/// Returns where the recovery ended: the newest timeline history in the data directory contains the
/// position at which it left the timeline it had followed. nullopt: there is no history of a
/// timeline after `followed`.
[[nodiscard]] std::optional<wal::Lsn> reached_position(const std::string& data,
                                                       wal::TimelineId followed = 0);

/// Runs pg_verifybackup on the copied files, with the backup's manifest; excludes what bring()
/// excludes or changes, and `ignored`.
[[nodiscard]] io::Command verify_command(const Programs& programs, const std::string& manifest,
                                         const std::string& data,
                                         const std::vector<std::string>& ignored = {});

}  // namespace weir::recovery
