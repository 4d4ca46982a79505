#include "drill/drill.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>

#include "archive/union_shelf.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/report_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/restore_setting.h"
#include "cli/shared/stored_archive.h"
#include "daemon/signals.h"
#include "io/tree.h"
#include "metrics/exporter.h"
#include "net/wake.h"
#include "restore/archives.h"
#include "restore/open_archives.h"
#include "restore/union_reader.h"
#include "status/report.h"

namespace weir::cli {

namespace {

drill::Target target_value(const std::string& text) { return drill::Target::parse(text); }

constexpr auto kDirectories = repeated(kDirectory);
constexpr auto kBackup = option_of<any_text>(
    "backup", "BASEBACKUP",
    "base backup: its directory, or pg_basebackup's tar files (their directory, or base.tar)");
constexpr auto kTo =
    option_of<target_value>("to", "TARGET",
                            "recovery target: latest (default; including the current segment), a "
                            "time such as '2026-11-20 03:14:15+00', or an LSN");
constexpr auto kCheck = repeated(option_of<any_text>(
    "check", "SQL",
    "query on the recovered server; its first value must be true; can be repeated"));
constexpr auto kCheckDatabase =
    option_of<any_text>("check-database", "NAME", "database for the queries (default: postgres)");
constexpr auto kCheckUser =
    option_of<any_text>("check-user", "NAME", "superuser of the cluster (default: postgres)");
constexpr auto kSandbox = option_of<any_text>(
    "sandbox", "DIR",
    "directory in which the sandbox is created and removed (default: TMPDIR, or /tmp)");
constexpr auto kBindir = option_of<any_text>("bindir", "DIR",
                                             "directory of the server's programs (default: "
                                             "/usr/lib/postgresql/N/bin, of the backup's version)");
constexpr auto kPreload = option_of<any_text>(
    "preload", "LIBS", "shared_preload_libraries; the backup's own setting is not used");
constexpr auto kJson = flag("json", "JSON output; see docs/drill.md");
constexpr Option kOptions[] = {
    kDirectories.says("archive directory; several form one archive, as for restore"),
    kBackup,
    kTo,
    kSandbox,
    kBindir,
    kPreload,
};
constexpr Option kChecks[] = {kCheck, kCheckDatabase, kCheckUser};
constexpr Option kTelling[] = {kJson, kMetricsFile, kConfig, kHelp};
constexpr Option kProofs[] = {
    kManifestPublicKey
        .says("restore only objects that the manifest proves with this key; can be repeated")
        .of_section("store")};
constexpr OptionGroup kGroups[] = {
    {"Options:", kOptions},
    {kStoreHeading, kStoreItself},
    {"Queries on the recovered server, in addition to pg_amcheck and pg_checksums:", kChecks},
    {"Output:", kTelling},
    {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
    {"Encrypted objects:", kIdentityOptions, {}, &kOnStore},
    {"Proof by the manifest:", kProofs, {}, &kOnStore},
};

/// What goes wrong with one of several archives.
class StderrLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override { print_stderr("pgweir: {}\n", message); }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }
};

/// The archives of the command, asked as `restore` asks them.
class ArchivesOfCommand final : public drill::Archives {
 public:
  explicit ArchivesOfCommand(const restore::Places& places)
      : directories_(places.directories),
        options_{.if_empty_is_right = {}, .store = places.place_of_store()},
        open_(places, std::chrono::seconds(10), log_),
        archives_(open_.shelves(), options_, log_) {}

  drill::Way way(const archive::BackupPoint& backup) override {
    archives_.require_wal();
    const auto identity = archives_.identity();
    if (!identity)
      throw Error(ErrorKind::gap, "there is no WAL in the archive directory")
          .with("directory", archives_.paths())
          .hint("Is its file system mounted, and is it the right directory?");
    if (backup.system_identifier != 0 && backup.system_identifier != identity->system_identifier)
      throw Error(ErrorKind::conflict, "the backup is of another cluster than the archive")
          .with("backup", backup.system_identifier)
          .with("archive", identity->system_identifier);
    size_ = identity->segment_size;
    history_ = newest_history(backup);
    reader_ = std::make_unique<restore::UnionReader>(
        archives_, restore::UnionReader::Options{.segment_size = size_,
                                                 .timeline = history_->timeline(),
                                                 .history = history_,
                                                 .unfinished = true,
                                                 .durable_end = durable_end_of,
                                                 .unsound = &unsound_});
    return {.source = *reader_,
            .history = *history_,
            .segment_size = size_,
            .system_identifier = identity->system_identifier,
            .goes_on = [this](wal::Lsn at) { return goes_on(at); },
            .unfinished =
                [this] {
                  const auto copy = reader_->copy();
                  return copy && copy->name.partial;
                },
            .is_finished = [this](wal::Lsn at) { return is_finished(at); },
            .has_another_copy = [this] { return has_another_copy(); }};
  }

  std::optional<wal::Lsn> promised_by_status(const archive::BackupPoint& backup,
                                             wal::TimelineId timeline) override {
    std::optional<wal::Lsn> promised;
    const auto take = [&](const status::StatusReport& report) {
      for (const auto& window : report.windows)
        if (window.timeline == timeline && window.from <= backup.start && backup.start < window.to)
          promised = std::max(promised.value_or(window.to), window.to);
    };
    if (!open_.stored()) {
      for (const auto& directory : directories_) take(status::make_report(directory));
      return promised;
    }
    // A part of it may be in the store alone: what all have together counts.
    std::vector<std::unique_ptr<archive::UnionShelf>> unions;
    io::Shelf* all = open_.shelves().front();
    for (auto* const each : open_.shelves().subspan(1))
      all = unions.emplace_back(std::make_unique<archive::UnionShelf>(*all, *each)).get();
    take(status::make_report(*all, 0));
    return promised;
  }

 private:
  /// Of the newest timeline with WAL to which the backup leads.
  wal::TimelineHistory newest_history(const archive::BackupPoint& backup) {
    const auto timelines = archives_.timelines();
    std::optional<wal::TimelineHistory> newest;
    for (const auto& entry : archives_.listing().segments) {
      const auto timeline = entry.name.segment.timeline();
      if (newest && timeline <= newest->timeline()) continue;
      const auto history = timelines.history(timeline);
      if (!history || !history->contains(backup.timeline)) continue;
      const auto left = history->end_of(backup.timeline);
      if (!left || backup.end.value_or(backup.start) <= *left) newest = history;
    }
    if (!newest)
      throw Error(ErrorKind::gap, "the archive has no WAL of the backup's timeline")
          .with("timeline", backup.timeline)
          .with("directory", archives_.paths());
    return *newest;
  }

  std::optional<wal::Lsn> goes_on(wal::Lsn at) {
    archives_.forget();
    std::optional<wal::Lsn> next;
    const auto take = [&](wal::Lsn begin) {
      if (begin >= at) next = std::min(next.value_or(begin), begin);
    };
    for (const auto& entry : archives_.listing().segments) {
      const auto& segment = entry.name.segment;
      if (segment.fits(size_) && archive::timeline_of_segment(*history_, segment.segno(size_),
                                                              size_) == segment.timeline())
        take(segment.start(size_));
    }
    for (const auto& hole : archives_.known_holes(size_))
      if (history_->contains(hole.next_timeline)) take(hole.end);
    return next;
  }

  bool is_finished(wal::Lsn at) {
    const auto segment = reader_->segment_at(at);
    bool finished = false;
    archives_.forget();
    archives_.ask_each([&](std::size_t each) {
      finished = finished || archives_.at(each).finished_form_exists(segment);
    });
    return finished;
  }

  bool has_another_copy() {
    const auto copy = reader_->copy();
    if (!copy || !archives_.several()) return false;
    const auto segment = copy->name.segment;
    if (!unsound_.emplace(copy->archive, segment).second) return false;
    bool another = false;
    archives_.ask_each([&](std::size_t each) {
      another = another || (!unsound_.contains({each, segment}) &&
                            archives_.at(each).finished_form_exists(segment));
    });
    return another;
  }

  const std::vector<std::string> directories_;
  const restore::Options options_;
  StderrLog log_;
  restore::OpenArchives open_;
  restore::Archives archives_;
  wal::SegmentSize size_;
  std::optional<wal::TimelineHistory> history_;
  restore::UnionReader::Unsound unsound_;
  std::unique_ptr<restore::UnionReader> reader_;
};

std::string default_sandbox() {
  const char* const place = std::getenv("TMPDIR");
  return place != nullptr && *place != '\0' ? place : "/tmp";
}

drill::Options options_of(const Arguments& arguments, const std::vector<std::string>& directories) {
  drill::Options options;
  const auto backup = arguments.get(kBackup);
  if (!backup)
    throw Error(ErrorKind::usage, "no base backup given: --backup BASEBACKUP")
        .hint("See \"pgweir drill --help\".");
  options.backup = *backup;
  options.target = arguments.get(kTo, drill::Target());
  options.checks = arguments.texts(kCheck);
  options.sandbox = arguments.get(kSandbox, default_sandbox());
  options.bindir = arguments.get(kBindir);
  options.preload = arguments.get(kPreload, "");
  options.username = arguments.get(kCheckUser, "postgres");
  options.database = arguments.get(kCheckDatabase, "postgres");
  const auto program = io::read_link("/proc/self/exe");
  options.restore_command = restore_command_for(program.value_or("pgweir"),
                                                {directories, store_words(arguments)}, "--partial");
  options.restore_command_up_to_damage =
      restore_command_for(program.value_or("pgweir"), {directories, store_words(arguments)},
                          "--partial --up-to-damage");
  options.tell = [quiet = arguments.has(kJson)](const std::string& what) {
    if (!quiet) print_stderr("pgweir: {}\n", what);
  };
  return options;
}

int drill_command(const Arguments& arguments) {
  const auto directories = arguments.texts(kDirectories);
  restore::Places places{.directories = directories};
  if (arguments.has("store")) {
    forbid_core_files();
    places.store = store_options_of(arguments, StoreName::said);
  }
  if (places.count() == 0)
    throw Error(ErrorKind::usage, "no archive given: -D DIRECTORY, or --store")
        .hint("See \"pgweir drill --help\".");
  auto options = options_of(arguments, directories);

  daemon::Signals signals;  // before any thread
  net::Wake wake;
  std::atomic<bool> stopped = false;
  signals.start({.stop =
                     [&] {
                       stopped = true;
                       wake.raise();
                     },
                 .reload = {},
                 .leave = {}});
  options.stop = [&] { return stopped.load(); };
  options.interrupt = &wake;

  ArchivesOfCommand archives(places);
  auto report = drill::run(options, archives);
  report.archives = places.names();
  if (arguments.has(kJson))
    print_data(drill::report_json(report));
  else
    print(drill::report_text(report));
  const auto now = std::chrono::system_clock::now();
  if (const auto file = arguments.get(kMetricsFile)) {
    try {
      metrics::write_file(*file, drill_metrics(report, report.archives.front(), now));
    } catch (const Error& error) {
      print_error(error);  // what came of the drill stays what it is
    }
  }
  return static_cast<int>(report.outcome);
}

/// Whatever kept the drill from being made is no word on the archive.
int failed(const Words&, const std::exception_ptr& failure) {
  const auto status = tell_failure(failure);
  return status == kUsage ? kUsage : static_cast<int>(drill::Outcome::not_tried);
}

}  // namespace

constinit const Command kDrillCommand = {
    .name = "drill",
    .summary = "recover a base backup in a sandbox, and check the result",
    .about = R"(pgweir drill copies a base backup into a sandbox, recovers it from the archive
with a server of its version, compares the position reached with the one that
the archive's WAL leads to, and reports how long it took. The backup and the
archive are only read.

Usage:
  pgweir drill -D DIR... --backup BASEBACKUP [--to TARGET] [--check SQL]...
  pgweir drill [-D DIR]... --store s3://BUCKET/PREFIX --backup BASEBACKUP ...
)",
    .groups = kGroups,
    .notes = R"(Do not run it as root. The sandbox is always removed.

Exit status: 0 recovered, and every check passed; 1 missing or corrupted WAL,
the target was not reached, or a check failed; 2 invalid options; 3 the drill
could not run: no server programs of that version, no space, stopped.
)",
    .run = drill_command,
    .failed = failed,
};

}  // namespace weir::cli
