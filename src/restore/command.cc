#include "restore/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <variant>

#include "base/backoff.h"
#include "base/error.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "restore/left.h"
#include "restore/open_archives.h"
#include "restore/request.h"
#include "restore/restore.h"
#include "restore/target.h"
#include "wal/control_file.h"

namespace weir::restore {

namespace {

/// Temporary errors: a network file system that hangs or recovers, or a machine
/// short of something for a moment.
bool may_pass(const Error& error) {
  if (dynamic_cast<const TargetError*>(&error) != nullptr) return false;
  if (error.kind() == ErrorKind::retry) return true;
  switch (error.system_code()) {
    case EIO:
    case ESTALE:
    case EINTR:
    case EAGAIN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case ENOTCONN:
    case EREMOTEIO:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return true;
    default:
      return false;
  }
}

struct SplitPath {
  std::string parent;  ///< "." if there is none
  std::string name;
};

/// By name alone: pg_wal may be a link to another place; its parent by name is needed.
SplitPath split(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return {".", path};
  const auto last = path.find_last_not_of('/', slash);
  return {last == std::string::npos ? "/" : path.substr(0, last + 1), path.substr(slash + 1)};
}

/// From pg_control in the data directory that contains `pg_wal`; nullopt if there is none.
std::optional<std::uint64_t> system_identifier_beside(const std::string& pg_wal) {
  const auto [data, name] = split(pg_wal);
  if (name != "pg_wal") return std::nullopt;
  std::unique_ptr<io::Directory> global;
  try {
    global = io::open_directory(data + "/global");
  } catch (const Error& error) {
    if (error.system_code() == ENOENT || error.system_code() == ENOTDIR) return std::nullopt;
    throw;
  }
  const auto file = global->open_for_reading("pg_control");
  if (!file) return std::nullopt;
  std::array<std::byte, wal::kControlFront> bytes{};
  const auto identifier =
      wal::system_identifier_in(std::span(bytes).first(file->read_at(0, bytes)));
  return identifier == std::uint64_t{0} ? std::nullopt : identifier;
}

/// True next to a data directory that is recovered, but not as a standby: with both signal files it
/// is one (readRecoverySignalFile() in access/transam/xlogrecovery.c), and only a standby looks for
/// new timelines later (rescanLatestTimeLine()).
bool recovers_to_a_target(const std::string& pg_wal) {
  const auto [data, name] = split(pg_wal);
  return name == "pg_wal" && io::type_of(data + "/recovery.signal") == io::PathType::file &&
         io::type_of(data + "/standby.signal") == io::PathType::nothing;
}

/// True next to the data directory of a server in standby mode, which may run for months.
bool is_standby(const std::string& pg_wal) {
  const auto [data, name] = split(pg_wal);
  return name == "pg_wal" && io::type_of(data + "/standby.signal") == io::PathType::file;
}

/// What such a server gets of the segment is decided for each request (restore.cc): the helper
/// fetched it without knowing which timeline the server follows.
bool needs_decision(const std::string& pg_wal, wal::SegmentName segment) {
  try {
    return may_be_left_in(*io::open_directory(pg_wal), segment);
  } catch (const Error&) {
    return true;  // reported when the segment is restored
  }
}

/// Queries the store for what is needed if the file is absent.
void look_around(store::NearShelf& stored, const Request& request, const Options& options) {
  if (options.partial || options.up_to_hole) return;  // then later files matter
  if (const auto* const segment = std::get_if<wal::SegmentName>(&request))
    stored.look_around(*segment);
  else
    stored.look_around_histories();
}

}  // namespace

Result run_restore_command(const Places& places, std::string_view file, const std::string& target,
                           Options options, Prefetch prefetch, std::chrono::milliseconds patience,
                           Log& log) {
  const auto request = parse_request(file);
  const auto [parent, target_name] = split(target);
  if (target_name.empty() || target_name == "." || target_name == "..")
    throw Error(ErrorKind::usage, fmt::format("\"{}\" is not a file name to restore to", target));
  if (!options.system_identifier) options.system_identifier = system_identifier_beside(parent);
  options.target_is_chosen = recovers_to_a_target(parent);
  options.standby = is_standby(parent);
  options.store = places.place_of_store();

  // A helper may have it ready. If not, or on any irregularity, it is fetched here.
  const auto* const segment = std::get_if<wal::SegmentName>(&request);
  bool helper = false;
  const bool decided_here = segment != nullptr && needs_decision(parent, *segment);
  if (segment != nullptr && prefetch.segments > 0 && !decided_here) {
    const auto taken = take_prefetched(places, *segment, parent, target_name, options, patience);
    const auto names = places.names();
    for (std::size_t i = 0; i < names.size(); ++i)
      if (taken.restored && (taken.silent >> i & 1) != 0)
        log.warning("{} was restored without {}, which does not answer", file, names[i]);
    if (taken.restored) return {.restored = true, .why = {}, .prefetched = true};
    helper = taken.helper_runs;
  }

  const auto deadline = std::chrono::steady_clock::now() + patience;
  constexpr std::chrono::milliseconds kFirstPause(50);
  constexpr std::chrono::milliseconds kLongestPause(1000);
  // A status of 1 to 125 here would let a standby continue, and end its promotion before what the
  // store has: the server checks for a promotion request right after such an answer, and requests
  // the next timeline's history then as it does before it streams. A higher status ends the server.
  // Neither is right, and there is no third option: the command waits for the store to respond.
  constexpr std::chrono::seconds kReminder(60);
  auto told = deadline;
  bool told_of_writer = false;
  const auto server = ::getppid();
  Backoff backoff(kFirstPause, kLongestPause, static_cast<std::uint64_t>(::getpid()));
  for (;;) {
    std::chrono::milliseconds pause;
    bool at_target = false;
    try {
      // Reopened each time: a handle of a network file system may be stale.
      std::optional<OpenArchives> open(std::in_place, places, patience, log);
      options.stored = open->stored();
      if (options.stored != nullptr) look_around(*options.stored, request, options);
      at_target = true;
      const auto target_directory = io::open_directory(parent);
      at_target = false;
      auto result =
          restore_file(open->shelves(), request, *target_directory, target_name, options, log);
      options.stored = nullptr;
      open.reset();  // with their threads
      result.first_of_many = segment != nullptr && !helper && !decided_here;
      if (segment != nullptr && result.segment_size && prefetch.segments > 0 && !helper)
        start_prefetcher(places, *segment, *result.segment_size, parent, options, prefetch,
                         patience);
      return result;
    } catch (const Error& error) {
      pause = backoff.next();
      if (error.system_code() == EACCES && !at_target &&
          dynamic_cast<const TargetError*>(&error) == nullptr)
        throw Error(error).hint(
            fmt::format("The server's user (uid {}) cannot read the archive: its files have mode "
                        "0600 and belong to the receiver's user. To recover now, as root: setfacl "
                        "-R -m u:{}:rX DIRECTORY. For a permanent standby, run the receiver as the "
                        "server's user (docs/service.md).",
                        ::geteuid(), ::geteuid()));
      const auto now = std::chrono::steady_clock::now();
      if (dynamic_cast<const BeingWritten*>(&error) != nullptr && patience > patience.zero() &&
          ::getppid() == server) {
        // However long the copy takes: it is damage once nothing was written for a while.
        if (!std::exchange(told_of_writer, true))
          log.warning("{}; the file was written to a moment ago: waiting for the rest of it",
                      error.what());
      } else if (!may_pass(error)) {
        throw;
      } else if (now + pause <= deadline) {
        log.warning("{}; trying again", error.what());
      } else {
        if (!places.store || error.kind() != ErrorKind::retry || !is_standby(parent) ||
            ::getppid() != server)
          throw;
        if (now + pause >= told) {
          log.warning(
              "{}; the standby waits for the store, since WAL may exist that only the store has. "
              "To continue without the store, remove it from restore_command, and restart the "
              "server",
              error.what());
          told = now + kReminder;
        }
      }
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace weir::restore
