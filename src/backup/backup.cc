// The order of a backup is that of its proof: copied, brought to consistency by this archive,
// compared with its manifest, on the disk, named. Before the name nothing counts, and nothing older
// is removed; after it nothing can take the name away but a rule.

#include "backup/backup.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <vector>

#include "archive/backup_files.h"
#include "archive/branch.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "backup/command.h"
#include "backup/keep.h"
#include "backup/place.h"
#include "backup/server.h"
#include "backup/talk.h"
#include "backup/tar_check.h"
#include "backup/wait.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "base/text.h"
#include "base/units.h"
#include "io/owner.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "net/wait.h"
#include "prune/archive_wal.h"
#include "prune/backup_size.h"
#include "recovery/programs.h"
#include "wal/page.h"
#include "wal/server_version.h"

namespace weir::backup {

namespace {

using Clock = std::chrono::steady_clock;

/// So much stays free for others.
constexpr std::uint64_t kReserve = std::uint64_t{64} << 20;

std::chrono::milliseconds since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
}

/// pg_basebackup and pg_verifybackup of that major version or a newer one: in `bindir`, else where
/// Debian and Red Hat have them, the oldest that fits first. Throws Error{retry} if they are not
/// there, or are older.
recovery::Programs find_tools(int major, const std::optional<std::string>& bindir,
                              const std::function<bool()>& stop) {
  std::vector<std::string> directories;
  if (bindir) {
    directories.push_back(*bindir);
  } else {
    for (int each = major; each <= std::max(major, wal::kNewestKnownMajor); ++each)
      for (const auto* place : {"/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"})
        directories.push_back(fmt::format(fmt::runtime(place), each));
  }
  std::string seen;
  for (const auto& directory : directories) {
    recovery::Programs programs{.directory = directory};
    if (!io::is_program(programs.path("pg_basebackup")) ||
        !io::is_program(programs.path("pg_verifybackup")))
      continue;
    if (recovery::ask_version(programs, "pg_basebackup", stop) && programs.major >= major)
      return programs;
    seen += (seen.empty() ? "" : ", ") + fmt::format("{} in {}", programs.version, directory);
  }
  Error error(
      ErrorKind::retry,
      fmt::format("could not find pg_basebackup and pg_verifybackup of PostgreSQL {} or newer",
                  major));
  if (bindir) error.with("directory", *bindir);
  if (!seen.empty()) error.with("found", seen);
  throw error.hint(
      fmt::format("Install the client programs (Debian: postgresql-client-{}), or specify their "
                  "directory with --bindir.",
                  major));
}

Error no_place(std::string what, const std::string& path, std::string_view hint) {
  return Error(ErrorKind::usage, std::move(what)).with("path", path).hint(hint);
}

bool lies_within(const std::string& inner, const std::string& outer) {
  return inner == outer || inner.starts_with(outer == "/" ? outer : outer + "/");
}

void require_directory(const std::string& path, const char* what) {
  if (io::type_of(path) != io::PathType::directory)
    throw no_place(fmt::format("directory for the {} does not exist", what), path,
                   "Create it, or mount its file system. pgweir does not create it, so as not to "
                   "write into an empty mount point.");
}

/// pg_basebackup keeps what reaches libpq from outside, as our own connection has it.
io::Environment tool_environment(const std::string& password) {
  auto result = io::own_environment([&](std::string_view entry) {
    const bool ours = !password.empty() && entry.starts_with("PGPASSWORD=");
    return ours || entry.starts_with("LC_") || entry.starts_with("LANG");
  });
  result.emplace_back("LC_ALL=C");
  if (!password.empty()) result.push_back("PGPASSWORD=" + password);
  return result;
}

std::string one_line(const std::string& output) {
  std::string text(trimmed(output));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int status_of(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::damage:
    case ErrorKind::gap:
      return kNo;
    default:
      return exit_status(error.kind());
  }
}

/// One run, from the front to the end.
class Run {
 public:
  Run(const Options& options, Report& report) : options_(options), report_(report) {}

  void run();

 private:
  void look_at_archive();
  void ask_upstream();
  void tidy();
  void choose_kind(const std::vector<Standing>& standing);
  void require_space(const pq::BackupPlan& plan) const;
  void copy();
  bool run_basebackup(const CopyPlan& plan, Talk& talk);
  bool copy_once(const CopyPlan& plan, Talk& talk);
  void make_links_relative(const std::vector<std::string>& oids) const;
  void read_point();
  void check_files();
  void finish();
  void apply();
  /// Removes what does not count, unless a person should look at it.
  void give_up(const Error& error);

  [[nodiscard]] std::string making() const { return options_.to + "/" + making_; }
  /// The data directory, or what has the tar files.
  [[nodiscard]] std::string data() const { return making() + (with_tablespaces_ ? "/data" : ""); }

  const Options& options_;
  Report& report_;
  const Clock::time_point begin_ = Clock::now();
  std::unique_ptr<io::Directory> archive_;
  std::unique_ptr<io::Directory> to_;
  std::unique_ptr<PlaceLock> lock_;
  archive::Listing listing_;
  archive::TimelineEnds ends_;
  std::optional<archive::Identity> identity_;
  Server server_;
  recovery::Programs tools_;
  std::optional<std::string> base_manifest_;
  std::string making_;  ///< the hidden name; empty: nothing was made
  bool with_tablespaces_ = false;
  archive::BackupPoint point_;
};

void Run::look_at_archive() {
  archive_ = io::open_existing_directory(options_.archive);
  io::keep_owner(*archive_);
  archive::require_not_a_server_directory(*archive_);
  listing_ = archive::list_archive(*archive_);
  archive::require_some_wal(listing_, options_.archive, io::what_is_nearby(options_.archive));
  identity_ = archive::read_identity(*archive_, listing_);
  if (identity_) ends_ = archive::read_timeline_ends(*archive_, listing_, identity_->segment_size);
}

void Run::ask_upstream() {
  server_ = ask_server(options_.conninfo, *options_.interrupt);
  report_.server = fmt::format("{} (PostgreSQL {})", server_.name, server_.major);
  if (identity_)
    archive::require_same_cluster(*identity_, server_.system_identifier, server_.segment_size,
                                  options_.archive);
  const auto timelines = archive::Timelines::read(*archive_, listing_);
  const auto branch = archive::compare_with_server(timelines, ends_, server_.place);
  if (branch && branch->relation == archive::Branch::Relation::diverged) {
    const auto remark = archive::remark_on(*branch, server_.place);
    throw Error(ErrorKind::conflict,
                "the server and the archive have diverged: this archive cannot bring a backup of "
                "this server to consistency")
        .with("timeline of the server", server_.place.timeline)
        .with("of the archive", branch->archive_timeline)
        .with("diverged at", branch->fork)
        .hint(remark.todo.empty() ? "See \"pgweir status -d\"; a server that was reset to an "
                                    "earlier state needs a new archive directory."
                                  : remark.todo);
  }
  if (server_.archives)
    report_.notes.emplace_back(
        "archive_mode is on: the server ends a backup only after its own archive_command has "
        "archived the WAL");
  // Its own archive_command may write the archive.
  if (server_.archives || !options_.durable_end || options_.durable_end()) return;
  report_.notes.emplace_back(
      "no receiver was streaming into the archive when this began: the backup cannot count until "
      "the receiver, or another program, has archived its WAL");
  options_.tell(report_.notes.back());
}

void Run::tidy() {
  for (const auto& name : leftovers(*to_)) {
    io::remove_tree(to_->path_of(name));
    report_.notes.push_back(fmt::format("removed {}, left over from an interrupted run", name));
    options_.tell(report_.notes.back());
  }
}

void Run::choose_kind(const std::vector<Standing>& standing) {
  if (!options_.incremental) return;
  const auto full = [&](const std::string& why) {
    report_.notes.push_back("a full backup is made: " + why);
    options_.tell(report_.notes.back());
  };
  if (!wal::ServerVersion(server_.major).has_combine_backup())
    return full(fmt::format("PostgreSQL {} does not support incremental backups", server_.major));
  if (!server_.summarizes) return full("summarize_wal is off on the server");
  if (!server_.place.history) return full("the history of the server's timeline is not known");
  const auto* const base = newest_base(standing, *server_.place.history);
  if (base == nullptr) return full("there is no backup in plain format to build upon");
  if (length_of_chain(standing, *base) >= options_.full_every)
    return full(fmt::format("one of {} is (--full-every)", options_.full_every));
  report_.incremental = true;
  report_.base = base->name;
  base_manifest_ = io::real_path(base->found.path) + "/backup_manifest";
}

void Run::require_space(const pq::BackupPlan& plan) const {
  // How far something shrinks is not known before.
  if (!options_.compress.empty() || base_manifest_) return;
  const auto free = io::free_bytes(options_.to);
  const auto needed = plan.bytes() + kReserve;
  if (needed <= free) return;
  throw Error(ErrorKind::disk_full, "there is too little space for the backup")
      .with("path", options_.to)
      .with("free", format_size(free))
      .with("needed about", format_size(needed))
      .hint(
          "No older backup is removed automatically. Add space, or remove a backup that is no "
          "longer needed.");
}

/// False: pg_basebackup has failed.
bool Run::run_basebackup(const CopyPlan& plan, Talk& talk) {
  constexpr auto kTell = std::chrono::seconds(30);
  const auto command = basebackup_command(tools_.path("pg_basebackup"), server_.values, plan);
  std::optional<Clock::time_point> waits;
  auto told = Clock::now();
  const auto stop = [&] {
    if (waits && Clock::now() - *waits >= options_.wait) return true;
    return options_.stop();
  };
  std::optional<recovery::Finished> finished;
  try {
    finished = recovery::run_tool(
        command, tool_environment(server_.password), stop,
        {.line =
             [&](std::string_view line) {
               switch (talk.take(line)) {
                 case Talk::Kind::progress:
                   options_.progress(talk.done(), talk.total());
                   if (Clock::now() - told < kTell) break;
                   told = Clock::now();
                   options_.tell(
                       fmt::format("copied {}{}", format_size(talk.done()),
                                   talk.total() == 0 ? "" : " of " + format_size(talk.total())));
                   break;
                 case Talk::Kind::waits:
                   if (!waits) waits = Clock::now();
                   options_.tell(
                       "all files are copied; the server waits for its own archive_command, which "
                       "must archive the WAL first (archive_mode is on)");
                   break;
                 case Talk::Kind::swallowed:
                   break;
                 case Talk::Kind::other:
                   options_.tell("pg_basebackup: " + std::string(line));
                   break;
               }
             },
         .keep = {lock_->descriptor()}});
  } catch (const Error&) {
    if (options_.stop() || !waits) throw;
    throw Error(ErrorKind::retry,
                fmt::format("the server still waited for its own archive_command after {}",
                            format_duration(options_.wait)))
        .hint(
            "See the server's log for why archive_command fails, and pg_stat_archiver. Repair it, "
            "or turn it off (archive_command = '/bin/true' if pgweir is the archive). The server's "
            "process continues to wait until its next message to the client, a minute or more.");
  }
  return finished->done();
}

/// False: an incremental backup could not even begin.
bool Run::copy_once(const CopyPlan& plan, Talk& talk) {
  constexpr auto kUntilFree = std::chrono::seconds(10);
  constexpr auto kBetween = std::chrono::seconds(1);
  const auto begin = Clock::now();
  for (; !run_basebackup(plan, talk); talk = Talk()) {
    const auto failure = talk.failure();
    if (!talk.found_none_free()) {
      if (plan.base_manifest && talk.done() == 0 && failure.kind() == ErrorKind::retry)
        return false;
      throw failure;
    }
    // The server may still count the connection that asked for its tablespaces.
    if (Clock::now() - begin > kUntilFree) throw failure;
    if (!net::pause(*options_.interrupt, kBetween)) throw failure;
  }
  return true;
}

/// pg_basebackup's links name the hidden directory: a backup must not change with its name, and a
/// careless copy of its data directory must not lead into it.
void Run::make_links_relative(const std::vector<std::string>& oids) const {
  if (oids.empty()) return;  // a backup in tar format, too
  const auto there = io::all_names(data() + "/pg_tblspc");
  for (const auto& oid : oids) {
    // It was dropped after the server was asked for its tablespaces, and before the backup began.
    if (std::find(there.begin(), there.end(), oid) == there.end()) continue;
    const auto link = data() + "/pg_tblspc/" + oid;
    if (!io::read_link(link))
      throw Error(ErrorKind::damage, "pg_basebackup created no link for a tablespace")
          .with("path", link);
    io::remove_tree(link);
    io::make_symlink("../../tablespaces/" + oid, link);
  }
}

void Run::copy() {
  const auto sizes = ask_plan(server_, *options_.interrupt);
  require_space(sizes);
  const auto now = std::chrono::system_clock::now();
  report_.name = free_name(*to_, now);
  making_ = std::string(kMaking) + report_.name;
  report_.path = making();

  CopyPlan plan{.format = options_.format,
                .compress = options_.compress,
                .rate = options_.rate,
                .base_manifest = base_manifest_,
                .tool_major = tools_.major};
  std::vector<std::string> oids;
  if (options_.format == Format::plain)
    for (const auto& each : sizes.tablespaces) {
      // In-place tablespaces (allow_in_place_tablespaces) are part of the data directory.
      if (each.oid.empty() || !each.location.starts_with('/')) continue;
      oids.push_back(each.oid);
      plan.tablespaces.emplace_back(
          each.location, io::real_path(options_.to) + "/" + making_ + "/tablespaces/" + each.oid);
    }
  with_tablespaces_ = !oids.empty();
  const auto begin = [&] {
    io::remove_tree(making());
    io::make_directories(making());
    plan.into = io::real_path(making()) + (with_tablespaces_ ? "/data" : "");
  };
  begin();
  options_.tell(fmt::format(
      "copying {} from {}{}", format_size(sizes.bytes()), server_.name,
      report_.incremental ? ", what has changed since " + report_.base : std::string()));
  Talk talk;
  if (!copy_once(plan, talk)) {
    report_.notes.push_back(
        fmt::format("a full backup is made: an incremental one to {} is not possible: {}",
                    report_.base, talk.last_words()));
    options_.tell(report_.notes.back());
    report_.incremental = false;
    report_.base.clear();
    base_manifest_.reset();
    plan.base_manifest.reset();
    require_space(sizes);
    begin();
    talk = Talk();
    static_cast<void>(copy_once(plan, talk));
  }
  require_no_other_tablespace(data(), oids);
  make_links_relative(oids);
}

void Run::read_point() {
  point_ = archive::read_backup_point(data());
  if (!point_.end)
    throw Error(ErrorKind::damage, "the backup has no manifest with its end position")
        .with("path", data());
  if (point_.missing)
    throw Error(ErrorKind::damage, "the backup is incomplete: " + *point_.missing)
        .with("path", data());
  if (point_.system_identifier == 0) point_.system_identifier = server_.system_identifier;
  if (point_.system_identifier != server_.system_identifier)
    throw Error(ErrorKind::conflict,
                "the backup and the server that was queried before belong to different clusters")
        .with("backup", point_.system_identifier)
        .with("server", server_.system_identifier)
        .hint("The connection string leads to different servers: name one of them.");
  if (const auto files = archive::look_at_backup(data()))
    report_.bytes = prune::BackupSizes().of(*files).value_or(0);
  report_.begin = point_.start;
  report_.end = point_.end;
  report_.timeline = point_.end_timeline;
}

void Run::check_files() {
  options_.tell("comparing the backup with its manifest");
  const bool reads_control = !wal::ServerVersion(server_.major).has_identifier_in_manifest() ||
                             tools_.major == server_.major;
  const bool reads_tars = wal::ServerVersion(tools_.major).verifies_tar_backups();
  if (options_.format == Format::tar && !(reads_tars && reads_control)) {
    check_tars(data(), options_.stop);
    return;
  }
  io::Command command{tools_.path("pg_verifybackup"), "--no-parse-wal", "--quiet"};
  // read_point() has compared its size and system identifier, and it has a checksum of its own.
  if (!reads_control) command.emplace_back("--ignore=global/pg_control");
  command.push_back(data());
  const auto told = recovery::run_tool(command, recovery::environment(), options_.stop,
                                       {.keep = {lock_->descriptor()}});
  if (!told.done())
    throw Error(ErrorKind::damage, "the backup does not match its manifest")
        .with("pg_verifybackup", one_line(told.output))
        .hint("The disk or the memory of this machine may be faulty: see its kernel log.");
}

void Run::finish() {
  options_.tell("making the backup durable");
  io::sync_tree(making());
  std::optional<Error> unsynced;
  try {
    publish(*to_, making_, report_.name);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::durability) throw;
    unsynced = error;
  }
  making_.clear();
  report_.path = options_.to + "/" + report_.name;
  report_.made = true;
  report_.elapsed = since(begin_);
  if (unsynced)
    throw unsynced->hint(
        "The backup was renamed into place, and counts, but a power loss may undo the renaming. "
        "Check the disk and the kernel log, then take another backup.");
}

void Run::apply() {
  prune::ArchiveWal wal(*archive_, options_.stop);
  auto& standing = report_.standing.emplace(find_standing(options_.to, &wal.lines()));
  if (options_.rules.any()) apply_rules(*archive_, *to_, options_, wal, standing, report_);
  std::erase_if(standing, [&](const Standing& each) {
    return std::find(report_.removed.begin(), report_.removed.end(), each.name) !=
           report_.removed.end();
  });
  for (const auto& each : standing)
    if (!each.good() && !each.for_others)
      report_.fail(kNo, fmt::format("{} does not count: {}", each.path, each.why),
                   "It was not changed. Repair or remove it manually.");
}

void Run::give_up(const Error& error) {
  if (making_.empty()) return;
  if (status_of(error) == kNo) {
    report_.notes.push_back(
        fmt::format("{} remains for inspection; the next run removes it", making()));
    return;
  }
  try {
    io::remove_tree(making());
    report_.path.clear();
  } catch (const Error& other) {
    report_.notes.push_back(fmt::format("{}; the next run removes it", other.what()));
  }
}

void Run::run() {
  const auto archive = io::real_path(options_.archive), to = io::real_path(options_.to);
  require_directory(options_.archive, "archive");
  require_directory(options_.to, "backups");
  if (lies_within(archive, to) || lies_within(to, archive))
    throw no_place("the archive and the directory of the backups are inside one another",
                   options_.to, "Use two separate directories.");
  report_.format = options_.format;
  report_.dry_run = options_.dry_run;
  report_.archive = options_.archive;
  try {
    to_ = io::open_existing_directory(options_.to);
    archive::require_not_a_server_directory(*to_);
    look_at_archive();
    ask_upstream();
    if (!options_.dry_run) {
      io::require_writable(options_.to);
      lock_ = std::make_unique<PlaceLock>(*to_);
      if (to_->names().size() == 1) {
        const auto place = io::inspect_place(options_.to);
        report_.notes.push_back(fmt::format(
            "{} was empty, and is on {} ({}): if a disk should be mounted there, it is not mounted",
            options_.to, place.file_system, format_size(place.bytes)));
      }
      lock_->require_cluster(server_.system_identifier);
      tidy();
    }
    tools_ = find_tools(server_.major, options_.bindir, options_.stop);
    prune::ArchiveWal wal(*archive_, options_.stop);
    // Their files count where they decide something before the copy is made.
    const bool decide = options_.incremental || options_.dry_run;
    const auto standing = find_standing(options_.to, &wal.lines(),
                                        decide ? archive::Depth::whole : archive::Depth::names);
    for (const auto& each : standing)
      if (const auto& point = each.found.point;
          point && point->system_identifier != 0 &&
          point->system_identifier != server_.system_identifier)
        throw Error(ErrorKind::conflict, "the directory contains backups of another cluster")
            .with("path", each.path)
            .with("its system identifier", point->system_identifier)
            .with("the server's", server_.system_identifier)
            .hint("Use one directory for each cluster.");
    choose_kind(standing);
    if (options_.dry_run) {
      if (options_.rules.any()) apply_rules(*archive_, *to_, options_, wal, standing, report_);
      return;
    }
    copy();
    read_point();
    wait_for_wal(*archive_, point_, options_);
    check_files();
    finish();
  } catch (const Error& error) {
    give_up(error);
    report_.fail(status_of(error), error);
    return;
  } catch (const net::Interrupted&) {
    const Error stopped(ErrorKind::retry, "stopped before the backup was made");
    give_up(stopped);
    report_.fail(kTryAgain, stopped);
    return;
  }
  try {
    apply();
  } catch (const Error& error) {
    report_.fail(status_of(error), error);
  }
}

}  // namespace

Report run(const Options& options) {
  Report report;
  Run(options, report).run();
  return report;
}

std::vector<Standing> list(const Options& options) {
  require_directory(options.to, "backups");
  if (options.archive.empty()) return find_standing(options.to, nullptr);
  const auto archive = io::open_existing_directory(options.archive);
  prune::ArchiveWal wal(*archive, options.stop);
  return find_standing(options.to, &wal.lines());
}

}  // namespace weir::backup
