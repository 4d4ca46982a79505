#include "drill/drill.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <variant>

#include "base/error.h"
#include "base/units.h"
#include "drill/checks.h"
#include "drill/sandbox.h"
#include "drill/server.h"
#include "io/tree.h"
#include "recovery/backup.h"

namespace weir::drill {

namespace {

using namespace std::chrono_literals;
using recovery::Backup;
using Clock = std::chrono::steady_clock;

/// Space left free for other programs: a drill must not fill the disk.
constexpr std::uint64_t kReserve = std::uint64_t{64} << 20;
constexpr auto kLook = 50ms;

/// One drill, from start to end.
class Drill {
 public:
  Drill(const Options& options, Archives& archives, const Backup& backup)
      : options_(options), archives_(archives), backup_(backup) {
    report.backup = options.backup;
    report.target = options.target.to_string();
  }

  void run() {
    look_through_archive();
    if (report.failed()) return;
    const auto programs = recovery::find_programs(major_, options_.bindir, options_.stop);
    report.server = programs.version;
    report.server_major = programs.major;
    for (const auto& name : Sandbox::remove_leftovers(options_.sandbox))
      options_.tell(fmt::format("removed {}, which a killed drill had left", name));
    Sandbox sandbox(options_.sandbox);
    try {
      use(sandbox, programs);
    } catch (const Error& error) {
      tell(error);
    }
    sandbox.remove();
  }

  /// Classifies the error by what it shows about the archive and the backup, if anything.
  void tell(const Error& error) {
    switch (error.kind()) {
      case ErrorKind::damage:
      case ErrorKind::conflict:
      case ErrorKind::gap:
        report.fail(Outcome::failed, error);
        break;
      default:
        report.fail(Outcome::not_tried, error);
    }
  }

  Report report;

 private:
  void look_through_archive();
  void require_status_kept(const std::optional<wal::Lsn>& promised);
  void require_space(const Sandbox& sandbox);
  void use(const Sandbox& sandbox, const Programs& programs);
  [[nodiscard]] bool recover(Server& server, const Sandbox& sandbox);
  void compare();

  template <typename Work>
  void phase(const std::string& name, const std::string& what, Work work) {
    options_.tell(what);
    const auto begin = Clock::now();
    const auto end = [&] {
      report.phases.push_back(
          {name, std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin)});
    };
    try {
      work();
    } catch (...) {
      end();
      throw;
    }
    end();
  }

  const Options& options_;
  Archives& archives_;
  const Backup& backup_;
  int major_ = 0;
  recovery::Promise promise_;
  wal::SegmentSize segment_size_;
  std::uint64_t system_identifier_ = 0;
};

/// The archive's content is known before anything is copied: a hole is found at once.
void Drill::look_through_archive() {
  auto way = archives_.way(backup_.point, std::nullopt);
  segment_size_ = way.segment_size;
  system_identifier_ = way.system_identifier;
  report.timeline = way.history.timeline();
  if (const auto newest = archives_.newest_timeline(); newest && report.timeline < *newest) {
    report.of_left_branch = true;
    report.warnings.push_back(recovery::of_a_left_branch(*report.timeline, *newest));
  }
  // Before the WAL is read: a running receiver may add more meanwhile.
  const auto by_status = archives_.promised_by_status(backup_.point, way.history.timeline());
  phase("look through", "reading the archive's WAL from the backup on", [&] {
    promise_ = recovery::look_through(way, backup_.point, options_.target, options_.stop);
  });
  major_ = backup_.major.value_or(promise_.server_major);
  report.wal_bytes = promise_.bytes;
  report.promised = promise_.position;
  report.promised_commit = promise_.commit;
  const auto newer = archives_.newest_without_wal();
  if (newer) {
    auto warning =
        recovery::of_a_timeline_without_wal(*newer, *report.timeline, options_.target, promise_);
    if (newer->lost && options_.target.kind == Target::Kind::latest && promise_.problem.empty()) {
      promise_.problem = std::move(warning);
      promise_.hint = recovery::hint_of_lost_files(*newer);
    } else if (!warning.empty()) {
      report.warnings.push_back(std::move(warning));
    }
  }
  if (!promise_.problem.empty()) {
    auto hint = promise_.hint;
    if (promise_.held) {
      const auto older = recovery::older_backup(backup_, promise_.held->start);
      if (older) hint += fmt::format(" An older one is {}.", *older);
    }
    return report.fail(Outcome::failed, promise_.problem, hint);
  }
  if (!way.no_promotion.empty())
    return report.fail(Outcome::failed, recovery::of_no_promotion(way.no_promotion),
                       recovery::kNoPromotionHint);
  if (const auto& damage = promise_.damage_behind)
    report.warnings.push_back(
        fmt::format("{} is damaged at {}, after the target: {}. A recovery to this target needs "
                    "--up-to-damage in its restore_command, which this drill uses; \"pgweir import "
                    "--replace-damaged\" can repair the segment from another copy",
                    damage->segment, damage->at, damage->what));
  if (options_.target.kind == Target::Kind::latest) require_status_kept(by_status);
  if (!promise_.tablespaces.empty())
    report.fail(Outcome::not_tried,
                fmt::format("a tablespace was created at {}, in {}: a server that replays this "
                            "would write there, outside the sandbox",
                            promise_.tablespaces.front().at, promise_.tablespaces.front().location),
                "Use a base backup that started after it, or choose a target before it.");
}

void Drill::require_status_kept(const std::optional<wal::Lsn>& promised) {
  if (promised && promise_.position < *promised && promise_.read_to < *promised)
    report.fail(Outcome::failed,
                fmt::format("\"pgweir status\" reports WAL up to {}, but its records end at {}",
                            *promised, promise_.position),
                "Run \"pgweir verify\" to find the damage in between.");
}

void Drill::require_space(const Sandbox& sandbox) {
  // Restored WAL, and WAL written by its replay, is kept only up to a limit.
  const auto wal = std::min(2 * promise_.bytes, std::uint64_t{1} << 30) + 4 * segment_size_.bytes();
  const bool shares = backup_.tars.empty() &&
                      io::can_share_blocks(backup_.path + "/PG_VERSION", sandbox.path() + "/probe");
  const auto needed = (shares ? 0 : backup_.bytes) + wal + kReserve;
  const auto free = io::free_bytes(sandbox.path());
  if (needed <= free) return;
  throw Error(ErrorKind::disk_full, "not enough space for the sandbox")
      .with("place", options_.sandbox)
      .with("free", format_size(free))
      .with("needed about", format_size(needed))
      .hint("Name a directory with more space with --sandbox.");
}

void Drill::use(const Sandbox& sandbox, const Programs& programs) {
  require_space(sandbox);
  const CheckOptions checks{.programs = programs,
                            .sandbox = sandbox,
                            .username = options_.username,
                            .database = options_.database,
                            .stop = options_.stop,
                            .interrupt = *options_.interrupt};
  phase("copy",
        fmt::format("copying the backup into {} ({})", sandbox.path(), format_size(backup_.bytes)),
        [&] {
          const auto brought = recovery::bring(backup_, sandbox.layout(), options_.stop);
          report.backup_bytes = brought.bytes;
          report.shared_bytes = brought.shared_bytes;
          for (auto& warning : recovery::settings_that_act(brought.settings))
            report.warnings.push_back(std::move(warning));
          if (!brought.settings.contains("postgresql.conf"))
            report.skipped.emplace_back(
                "the settings of the backup's server: the backup has no postgresql.conf, so they "
                "are stored elsewhere");
        });
  const auto control = recovery::read_control(programs, sandbox.data(), options_.stop);
  if (system_identifier_ != 0 && control.system_identifier != system_identifier_)
    throw Error(ErrorKind::conflict, "the backup and the archive belong to different clusters")
        .with("backup", control.system_identifier)
        .with("archive", system_identifier_);
  phase("manifest", "comparing the copy with the backup's manifest",
        [&] { verify_backup(checks, backup_.manifest, report); });
  if (report.failed()) return;

  Server server(programs, sandbox,
                {.restore_command = promise_.damage_behind ? options_.restore_command_up_to_damage
                                                           : options_.restore_command,
                 .preload = options_.preload,
                 .target = options_.target,
                 .last_record = promise_.last_record,
                 .timeline = *report.timeline,
                 .segment_size = segment_size_,
                 .prepared_transactions = control.prepared_transactions()});
  if (!recover(server, sandbox)) return;
  report.reached = recovery::reached_position(sandbox.data());
  phase("checks", "checking the recovered server", [&] {
    look_for_commit(checks, report);
    compare();
    ask(checks, options_.checks, report);
    run_amcheck(checks, report);
    if (!server.shut_down())
      report.fail(Outcome::failed, "the recovered server could not be shut down cleanly");
    else
      run_checksums(checks, control, report);
  });
}

/// Returns false if it failed, which is reported.
bool Drill::recover(Server& server, const Sandbox& sandbox) {
  constexpr std::size_t kWords = 12;
  constexpr auto kLookAtSpace = 1s;
  options_.tell(fmt::format("recovering {} of WAL", format_size(promise_.bytes)));
  const auto begin = Clock::now();
  auto space_looked_at = begin;
  Server::View view;
  for (;;) {
    view = server.look();
    if (view.state == Server::State::open || view.state == Server::State::ended) break;
    if (options_.stop()) throw Error(ErrorKind::retry, "stopped while the server recovered");
    if (Clock::now() - space_looked_at >= kLookAtSpace) {
      space_looked_at = Clock::now();
      if (io::free_bytes(sandbox.path()) < kReserve / 2)
        throw Error(ErrorKind::disk_full, "the disk of the sandbox is nearly full: stopped")
            .with("place", options_.sandbox)
            .hint("Name a directory with more space with --sandbox.");
    }
    std::this_thread::sleep_for(kLook);
  }
  if (view.state == Server::State::open) {
    report.phases.push_back({"start", view.start});
    report.phases.push_back({"replay", view.replay});
    return true;
  }
  report.phases.push_back(
      {"replay", std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin)});
  report.server_log = server.complaints(kWords);
  if (server.said("No space left on device"))
    report.fail(Outcome::not_tried, "the disk of the sandbox became full",
                "Name a directory with more space with --sandbox.");
  else if (!server.began())
    report.fail(Outcome::not_tried, "the server did not start",
                "See its messages above. If its WAL or its settings need a library, specify it "
                "with --preload.");
  else
    report.fail(Outcome::failed, "the server stopped before its recovery had reached the target",
                "See its messages, and those of pgweir restore, above.");
  return false;
}

void Drill::compare() {
  if (!report.reached)
    report.fail(Outcome::failed,
                "the server accepts connections, but did not report how far it "
                "has recovered");
  else if (*report.reached != promise_.position)
    report.fail(Outcome::failed, fmt::format("the recovery ended at {} instead of {}",
                                             *report.reached, promise_.position));
  if (report.commit_reached == false)
    report.fail(Outcome::failed, fmt::format("the last commit (xid {}) was not recovered",
                                             promise_.commit->transaction));
}

}  // namespace

Report run(const Options& options, Archives& archives) {
  if (::geteuid() == 0)
    throw Error(ErrorKind::usage, "a drill starts a server, which cannot run as root")
        .hint(
            "Run it as the user that owns the backup and may read the archive, as in \"su -s "
            "/bin/sh pgweir -c 'pgweir drill …'\".");
  const auto backup = [&]() -> std::variant<Backup, Error> {
    try {
      return recovery::open_backup(options.backup);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage) throw;
      return error;
    }
  }();
  if (const auto* error = std::get_if<Error>(&backup)) {
    Report report;
    report.backup = options.backup;
    report.target = options.target.to_string();
    const bool of_it = error->kind() == ErrorKind::damage || error->kind() == ErrorKind::conflict;
    report.fail(of_it ? Outcome::failed : Outcome::not_tried, *error);
    return report;
  }
  Drill drill(options, archives, std::get<Backup>(backup));
  try {
    drill.run();
  } catch (const Error& error) {
    drill.tell(error);
  } catch (const net::Interrupted&) {
    drill.report.fail(Outcome::not_tried, "stopped before the drill was done");
  }
  if (!drill.report.failed()) drill.report.outcome = Outcome::recovered;
  return drill.report;
}

}  // namespace weir::drill
