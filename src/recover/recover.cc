#include "recover/recover.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <random>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/exit_status.h"
#include "base/text.h"
#include "base/units.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "net/wake.h"
#include "recover/choose.h"
#include "recover/fill.h"
#include "recover/places.h"
#include "recover/watch.h"
#include "recovery/programs.h"

// The states after an interruption:
//
//   before pgweir-recover.json exists   nothing was created, or an empty directory
//   incomplete                          no pg_control: no server starts; the same call copies again
//                                       (a tablespace only into its mark_in(), or what is empty)
//   prepared                            everything is durable; pg_control may not be renamed yet:
//                                       the same call renames it
//   recovering                          the server continues; the same call follows it

namespace weir::recover {

namespace {

using recovery::Target;

constexpr const char* kState = "/pgweir-recover.json";
constexpr std::string_view kStateName = "pgweir-recover.json";
constexpr std::uint64_t kLargestState = std::uint64_t{4} << 20;
constexpr unsigned kStateMode = 0600;

class Recover {
 public:
  explicit Recover(const Options& options) : options_(options) {
    report.into = options.into;
    report.archives = options.archives;
    report.target = options.standby ? "a standby" : target_text(options.target);
    report.dry_run = options.dry_run;
    report.notes = options.notes;
  }

  void run() {
    // The recovery cannot read files that the server's user cannot read.
    if (options_.owner) io::become_for_now(*options_.owner);
    if (const auto left = look_at_what_is_there()) {
      if (left->state != State::incomplete) return go_on(*left);
      options_.tell("an earlier call was interrupted: starting over");
      own_.insert(options_.into);
      report.id = left->report.id;
      for (const auto& each : left->report.tablespaces)
        if (io::type_of(mark_in(each.to, report.id)) == io::PathType::directory)
          own_.insert(each.to);
    }
    prepare();
  }

  /// Reports an error thrown on the way.
  void tell(const Error& error) {
    auto status = exit_status(error.kind());
    // An administrator can grant the permission.
    if (error.system_code() == EACCES) status = kTryAgain;
    if (error.kind() == ErrorKind::damage || error.kind() == ErrorKind::gap) status = kNo;
    if (error.kind() == ErrorKind::refused) status = kTryAgain;  // no programs of that version
    report.fail(status, error);
    if (error.system_code() == EACCES)
      report.hints.push_back(
          fmt::format("{} must be able to read the archive and the backup: \"setfacl -R -m u:{}:rX "
                      "DIRECTORY\", as root",
                      io::this_user().name, io::this_user().name));
    // A server that was started and has stopped can be started again.
    if (report.state == State::recovering && !server_lives(options_.into))
      report.state = State::prepared;
    try {
      write_state();
    } catch (const Error&) {
      // The disk is full, which is reported; the file keeps its earlier state.
    }
  }

  void write_state() {
    if (report.state != State::none && !options_.dry_run)
      io::replace_small_file(options_.into + kState, report_json(report, options_.words),
                             kStateMode, io::Replace::durably);
  }

  Report report;

 private:
  static std::string up(const std::string& path) {
    const auto slash = path.find_last_of('/');
    return slash == 0 ? "/" : path.substr(0, slash);
  }
  static std::string target_text(const Target& target) {
    return target.kind == Target::Kind::latest ? "latest: all WAL that is available now"
                                               : target.to_string();
  }

  static std::string new_id() {
    std::random_device device;
    return fmt::format("{:08x}{:08x}", device(), device());
  }

  /// nullopt: nothing of ours. Another call's is an error.
  std::optional<Left> look_at_what_is_there() {
    const auto file = options_.into + kState;
    if (io::type_of(options_.into) == io::PathType::directory) remove_unfinished_state();
    if (io::type_of(file) != io::PathType::file) return std::nullopt;
    auto left = parse_left(io::read_small_file(file, kLargestState));
    if (left && left->words == options_.words) return left;
    throw Error(ErrorKind::conflict, "the directory belongs to another recovery")
        .with("directory", options_.into)
        .with("backup", left ? left->report.backup : "?")
        .with("target", left ? left->report.target : "?")
        .with("state", left ? to_string(left->state) : "?")
        .hint(
            "The same command as then continues it. Otherwise, specify another directory with "
            "--into; existing files are never removed.");
  }

  /// An earlier call that ended while it wrote its state has left a file, perhaps as the only one.
  void remove_unfinished_state() {
    if (options_.dry_run) return;
    // A call that still runs is about to rename such a file.
    const auto alone = io::LockFile::of_directory(options_.into);
    if (!alone) return;
    for (const auto& name : io::all_names(options_.into))
      if (io::is_leftover_of(name, kStateName)) io::remove_tree(options_.into + "/" + name);
  }

  void lock() {
    lock_ = io::LockFile::of_directory(options_.into);
    if (!lock_)
      throw Error(ErrorKind::retry, "another \"pgweir recover\" is running in this directory")
          .with("directory", options_.into);
  }

  void prepare() {
    auto choice = choose(options_, report);
    if (!choice) return;
    const auto& promise = choice->promise;
    report.backup = choice->backup.path;
    report.backup_bytes = choice->backup.bytes;
    report.timeline = choice->timeline;
    report.promised = promise.position;
    report.promised_commit = promise.commit;
    report.next_commit = promise.next_commit;
    report.wal_bytes = promise.bytes;
    report.segment_bytes = choice->segment_size.bytes();
    tell_of_silence(*choice);
    if (!choice->more_wal.empty())
      report.notes.push_back(
          fmt::format("the archive lacks files that are in the backup's own WAL: {} is used as one "
                      "more archive, and must not be removed before the recovery has ended",
                      choice->more_wal.front()));
    if (options_.target.kind == Target::Kind::latest && !options_.standby)
      report.notes.emplace_back(
          "latest means the last record that the archive has now; WAL received later is not "
          "included");
    if (options_.target.kind == Target::Kind::latest && !options_.standby &&
        options_.action != Action::promote && !promise.last_record.valid())
      report.notes.emplace_back(
          "no record follows the checkpoint of the backup, so that the server has no target to "
          "pause or shut down at: it is promoted");
    if (!choice->no_promotion.empty() && !options_.standby)
      report.notes.push_back(recovery::of_no_promotion(choice->no_promotion));
    if (promise.position < choice->newest_begin && !options_.standby)
      report.notes.push_back(
          fmt::format("the target is before timeline {}, which begins at {}: the recovered server "
                      "leaves that branch, so archive its WAL into a directory of its own, and "
                      "specify both directories in later recoveries",
                      choice->newest_timeline, choice->newest_begin));
    if (const auto& damage = promise.damage_behind)
      report.notes.push_back(fmt::format(
          "{} {} {}, after the target: restore_command has --up-to-damage for this recovery",
          damage->segment,
          damage->is_padding ? "in the WAL of the backup has only zeros from" : "is corrupted at",
          damage->is_padding ? fmt::format("{} on", damage->at) : damage->at.to_string()));
    const auto places = places_of(*choice, options_);
    for (const auto& place : places)
      report.tablespaces.push_back({place.of.oid, place.of.location, place.path});
    for (const auto& place : places)
      if (place.of.is_original)
        report.notes.push_back(fmt::format(
            "tablespace {} is read from {}, its location on the server of the backup: if a server "
            "has used it since the backup, its files are not those of the backup",
            place.of.oid, place.of.location));
    require_places(*choice, places, options_, own_);
    const auto programs = recovery::find_programs(
        choice->backup.major.value_or(promise.server_major), options_.bindir, options_.stop);
    report.server = programs.version;
    require_start(*choice);
    if (options_.dry_run || report.failed()) return;

    make_directories(places);
    lock();
    report.state = State::incomplete;
    if (report.id.empty()) report.id = new_id();
    write_state();
    fill(*choice, places, programs, command(*choice), options_, report);
    // In this order: a state that survives a power loss must not list files that do not.
    make_durable(places, options_);
    report.state = State::prepared;
    write_state();
    finish(places, options_, report);
    end(programs);
  }

  /// Creates missing directories. As root, they are given to the owner, and the rest is done as
  /// that user.
  void make_directories(const std::vector<Place>& places) {
    if (options_.owner) io::become_root_again();
    std::vector<std::string> paths = {options_.into};
    for (const auto& place : places) paths.push_back(place.path);
    for (const auto& path : paths) {
      std::vector<std::string> made = {path};
      for (auto above = up(path); io::type_of(above) == io::PathType::nothing; above = up(above))
        made.push_back(above);
      io::make_directories(path);
      if (!options_.owner) continue;
      for (const auto& each : made) io::give_directory(each, *options_.owner);
    }
    if (options_.owner) io::become(*options_.owner);
  }

  void tell_of_silence(const Choice& choice) {
    if (choice.silent.empty()) return;
    std::string names;
    for (const auto each : choice.silent)
      names += (names.empty() ? "" : ", ") + options_.archives.at(each);
    report.notes.push_back(
        fmt::format("an archive does not respond, and is omitted from restore_command: {}", names));
  }

  /// Reports before anything is copied that the server cannot be started.
  void require_start(const Choice& choice) {
    if (!options_.start || options_.start_command) return;
    const bool plain = choice.backup.tars.empty();
    if (plain && io::type_of(choice.backup.path + "/postgresql.conf") != io::PathType::file)
      report.fail(kTryAgain,
                  "the backup has no postgresql.conf, and pg_ctl cannot start the server without "
                  "its configuration",
                  "Use --start-command, such as \"pg_ctlcluster 15 main start\", or omit --start.");
  }

  [[nodiscard]] std::string command(const Choice& choice) const {
    const auto* option = options_.standby               ? "--on-gap absent --allow-empty"
                         : choice.promise.damage_behind ? "--partial --up-to-damage"
                                                        : "--partial";
    return options_.restore_command(choice.silent, choice.more_wal, option);
  }

  void go_on(const Left& left) {
    auto words = report.archives;
    report = left.report;
    report.archives = std::move(words);
    report.state = left.state;
    report.dry_run = options_.dry_run;
    if (options_.dry_run) return;
    if (options_.owner) {
      io::become_root_again();
      io::become(*options_.owner);
    }
    lock();
    std::vector<Place> places;
    for (const auto& each : report.tablespaces) places.push_back({{each.oid, each.from}, each.to});
    const auto version = io::read_small_file(options_.into + "/PG_VERSION", kLargestState);
    const auto programs =
        recovery::find_programs(std::atoi(version.c_str()), options_.bindir, options_.stop);
    report.server = programs.version;
    if (report.state == State::prepared) finish(places, options_, report);
    if (report.state == State::reached) {
      options_.tell("an earlier call has recovered it");
      return;
    }
    end(programs);
  }

  void end(const recovery::Programs& programs) {
    if (!options_.start) {
      tell_how_to_start(programs);
      write_state();
      return;
    }
    report.state = State::recovering;
    write_state();
    start_and_watch(programs, options_, report);
    if (report.state == State::reached) tell_what_next();
    if (report.failed()) report.state = State::failed;
    write_state();
  }

  void tell_how_to_start(const recovery::Programs& programs) {
    report.next.push_back(
        fmt::format("the same command with --start starts the server; manually: {} -D {} -l {} "
                    "-w start",
                    shell_word(programs.path("pg_ctl")), shell_word(options_.into),
                    shell_word(options_.into + "/pgweir-recover.log")));
    if (options_.standby) return;
    report.next.emplace_back(
        "if you start it manually, remove the recovery settings from postgresql.auto.conf "
        "afterwards: they are between the lines \"# pgweir recover\"");
    if (options_.action == Action::pause) tell_pause();
  }

  void tell_pause() {
    report.next.emplace_back(
        "the server pauses at the target, for read-only queries: SELECT pg_wal_replay_resume() "
        "promotes it there; for another target, stop it, and recover into another directory");
  }

  void tell_what_next() {
    if (options_.standby) {
      report.next.emplace_back(
          "the standby follows the archive and its primary: see pg_stat_wal_receiver");
      return;
    }
    if (options_.action == Action::pause) return tell_pause();
    if (options_.action == Action::shutdown) return;
    report.next.emplace_back(
        "check the data, then start a receiver with a slot (the same archive continues, "
        "unless a note says otherwise), take a "
        "base backup, set archive_command and synchronous_standby_names again, and use pg_rewind "
        "for standbys: docs/restore.md, \"After the restore\"");
  }

  const Options& options_;
  std::optional<io::LockFile> lock_;
  std::set<std::string> own_;  ///< directories that an earlier call with the same words filled
};

}  // namespace

Report run(const Options& options) {
  Recover recover(options);
  try {
    recover.run();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    recover.tell(error);
  } catch (const net::Interrupted&) {
    recover.tell(Error(ErrorKind::retry, "interrupted").hint("The same command continues."));
  }
  return recover.report;
}

}  // namespace weir::recover
