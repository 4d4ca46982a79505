#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "archive/union_shelf.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/report_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/limit_options.h"
#include "cli/options/store_options.h"
#include "cli/options/web_options.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/bounded_look.h"
#include "cli/shared/stored_archive.h"
#include "cli/shared/stored_manifest.h"
#include "daemon/screen.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "metrics/exporter.h"
#include "prune/stored_backups.h"
#include "status/backups.h"
#include "status/check.h"
#include "status/only_stored.h"
#include "status/report.h"
#include "status/several.h"
#include "status/text.h"
#include "status/upstream.h"
#include "store/cluster_record.h"
#include "store/insist.h"
#include "web/html.h"
#include "web/look.h"
#include "web/page.h"
#include "web/recorder.h"

namespace weir::cli {

namespace {

constexpr auto kStatusJson = flag("json", "JSON output; see docs/status.md");
constexpr auto kStatusCheck = flag(
    "check",
    "print a first line in the format of monitoring plugins, and return their exit status (below)");
constexpr auto kStatusBeside = option_of<any_text>(
    "compare-archive", "DIR", "another archive of the same server: compare the file names");
constexpr auto kHtml = option_of<any_text>(
    "html", "FILE", "write the web page to FILE, for a ticket or a mail: one file without scripts");
constexpr auto kStatusDirectories = repeated(kDirectory);
constexpr Option kStatusOptions[] = {
    kStatusDirectories.says(
        "archive directory; several are reported one after another, and compared"),
    kStatusBeside, kStatusJson, kHtml, kWebBackups};
constexpr Option kStatusServer[] = {
    kDbname,   kHost,       kPort,
    kUsername, kNoPassword, kSlot.says("this slot (default: that of the running receiver)")};
constexpr Relation kWithCheck{.others = {{kStatusCheck}}, .command_line = true};
constexpr Choice<bool> kReceivers[] = {{"expected", false}, {"none", true}};
constexpr auto kReceiver = option_of<choice_value<kReceivers>>(
    "receiver", "WHICH",
    "none: that no receiver runs is normal, as for a copy of an archive; expected (default)",
    {.needs = &kWithCheck});
constexpr Option kMonitoring[] = {kStatusCheck, kReceiver, kMetricsFile, kConfig, kHelp};
constexpr OptionGroup kStatusGroups[] = {
    {"Options:", kStatusOptions},
    {"Query the server (its position, the replication lag, the slot):", kStatusServer},
    {"Monitoring:", kMonitoring},
    {"Thresholds of --check:", kLimits, {}, nullptr, {.needs = &kWithCheck}},
    {kStoreHeading, kStoreItself},
    {kAccessHeading, kStoreAccess, {}, &kOnStore},
};

status::Limits limits_of(const Arguments& arguments) {
  auto limits = read_limits(arguments);
  limits.at_rest = arguments.get(kReceiver, false);
  limits.must_judge = true;
  return limits;
}

void ask_server(status::StatusReport& report, const Arguments& arguments,
                const std::string& conninfo) {
  auto slot = arguments.get(kSlot);
  if (!slot)
    if (report.receiver) slot = report.receiver->slot;
  try {
    status::add_upstream(report, status::ask_upstream(conninfo, ordinary_conninfo(conninfo), slot));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    report.upstream_error = error.what();
    report.upstream_hint = error.hint();
  }
}

/// The page of a receiver, of this moment.
void write_page(const std::string& file, const status::StatusReport& report,
                const status::Verdict& verdict, const web::Look& look,
                std::optional<web::History> history) {
  auto facts =
      web::facts_of(&look, report.directory, std::chrono::system_clock::now(), std::nullopt);
  facts.report = report;
  facts.verdict = verdict;
  facts.history = std::move(history);
  constexpr unsigned kMode = 0644;
  io::replace_small_file(file, web::units_kept_together(web::page_html(facts, web::Mode::single)),
                         kMode);
}

bool terminal_is_utf8() {
  for (const auto* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string text(value);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text.find("utf-8") != std::string::npos || text.find("utf8") != std::string::npos;
  }
  return false;
}

/// By the store's own record.
std::optional<archive::Identity> cluster_of(StoredArchive& stored) {
  const auto cluster = insist(stored.patience(), [&] {
    return store::read_cluster(stored.opened().store(), stored.opened().layout());
  });
  if (!cluster) return std::nullopt;
  return archive::Identity{cluster->system_identifier, cluster->segment_size, "pgweir.json"};
}

/// By names and by the manifests: the segments cannot be decrypted here.
status::StatusReport report_of_encrypted(StoredArchive& stored, const status::StoreSide& side,
                                         const Error& refusal) {
  const auto cluster = cluster_of(stored);
  if (cluster && side.manifest)
    return status::make_report(stored.shelf(), *cluster, side.manifest->coverage);
  status::StatusReport report;
  report.damaged.push_back(refusal.what());
  return report;
}

/// The report of the store alone.
status::StatusReport report_of_store(StoredArchive& stored, const status::StoreSide& side) {
  try {
    auto report = status::make_report(stored.shelf(), 0);
    if (report.timelines.empty() && !report.identity) report.identity = cluster_of(stored);
    return report;
  } catch (const store::StoreError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::refused) throw;
    return report_of_encrypted(stored, side, error);
  }
}

/// The combined report of directory and store.
status::StatusReport report_of_both(io::Directory& directory, StoredArchive& stored) {
  archive::UnionShelf both(directory, stored.shelf());
  try {
    auto report = status::make_report(both, directory.free_bytes());
    report.directory = directory.path();
    status::add_own_records(report, directory);
    if (report.segment_size)
      status::describe_only_stored(
          report, status::rows_of(archive::list_archive(stored.shelf()), *report.segment_size),
          status::rows_of(archive::list_archive(directory), *report.segment_size));
    return report;
  } catch (const store::StoreError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::refused) throw;
    return status::make_report(directory);  // encrypted: there is no key here
  }
}

/// A store that cannot be read is reported, in addition to the local archive. `ask`: queries the
/// receiver, after waiting for the store, and before the directory is read: its answer is not newer
/// than the listing, nor old.
status::StatusReport report_with_store(const std::string& path, StoredArchive& stored,
                                       const std::function<void()>& ask) {
  const auto directory = path.empty() ? nullptr : io::open_existing_directory(path);
  status::StoreSide side;
  try {
    stored.hide_pruned({});
    side = status::look_at_store(directory.get(), stored.shelf(), stored.opened().identity(),
                                 std::chrono::system_clock::now());
  } catch (const store::StoreError& error) {
    side = status::no_store_side(stored.shelf().path(), error);
  }
  const auto failed = [&](const store::StoreError& error) {
    side = status::no_store_side(side.place, error);
  };
  if (side.error.empty()) {
    try {
      auto look = look_at_manifests(stored, {.beside = directory.get()});
      // Another program may be removing objects: what a second look does not show is not reported.
      if (look && !look->report.sound())
        look = look_at_manifests(stored, {.beside = directory.get()});
      if (look) side.manifest = std::move(look->report);
    } catch (const store::StoreError& error) {
      failed(error);
    }
  }
  status::StatusReport report;
  if (side.error.empty()) {
    ask();
    try {
      report = directory ? report_of_both(*directory, stored) : report_of_store(stored, side);
    } catch (const store::StoreError& error) {
      failed(error);
    }
  }
  if (!side.error.empty()) {
    ask();
    report = directory ? status::make_report(*directory) : status::StatusReport();
  }
  if (directory)
    report.disk_bytes = io::inspect_place(path).bytes;
  else
    report.taken = std::chrono::system_clock::now();
  if (report.directory.empty()) report.directory = side.place;
  report.store = std::move(side);
  return report;
}

/// The answers of the processes that work on the archive.
status::StatusReport answers_of(const std::string& directory) {
  return look_within_bounds(directory, [directory] {
    status::StatusReport answers;
    ask_receiver(answers, directory);
    ask_relays(answers, directory);
    return answers;
  });
}

/// Those of Barman or WAL-G next to the WAL. A store that was already reported as unavailable is
/// not queried again.
std::vector<prune::FoundBackup> stored_backups(StoredArchive& stored,
                                               status::StatusReport& report) {
  if (report.store && !report.store->error.empty()) return {};
  try {
    return prune::find_stored_backups(
        stored.opened().store(), stored.opened().layout(),
        report.identity ? std::optional(report.identity->segment_size) : std::nullopt,
        stored.jobs(), stored.patience());
  } catch (const store::StoreError& error) {
    report.backups_error = error.what();
    return {};
  }
}

/// Those of the archive's directory, unless that is empty, those of each place, and those of the
/// store, unless that is nullptr.
void add_backups(status::StatusReport& report, const std::string& directory,
                 std::vector<std::string> places, StoredArchive* stored = nullptr) {
  const auto in_store =
      stored != nullptr ? stored_backups(*stored, report) : std::vector<prune::FoundBackup>();
  std::string hangs;
  try {
    for (const auto& place : places)
      look_within_bounds(place, [place] { io::ask_file_system(place); });
  } catch (const FileSystemHangs& error) {
    hangs = error.what();
    places.clear();
  }
  report = look_within_bounds(directory, [directory, places, in_store, report]() mutable {
    const auto archive = directory.empty() ? nullptr : io::open_existing_directory(directory);
    prune::BackupSizes sizes;
    status::look_for_backups(report, archive.get(), places, sizes, in_store);
    return report;
  });
  if (!hangs.empty()) report.backups_error = hangs;
}

void look_for_break(status::StatusReport& report, const std::string& directory) {
  report = look_within_bounds(directory, [directory, report]() mutable {
    status::look_for_break(report, *io::open_existing_directory(directory));
    return report;
  });
}

/// What a receiver with a web page has recorded; the report gets when the disk will be full.
std::optional<web::History> look_at_history(status::StatusReport& report,
                                            const std::string& directory) {
  auto history =
      look_within_bounds(directory, [directory] { return web::read_history(directory); });
  if (history) report.full_in = web::full_in(*history, report.free_bytes, report.taken);
  return history;
}

/// What a failure means to monitoring.
status::Level level_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const FileSystemHangs&) {
    return status::Level::critical;  // nothing can be archived, either
  } catch (...) {
    return status::Level::unknown;
  }
}

status::StatusReport report_of_directory(const std::string& directory) {
  auto asked = answers_of(directory);  // older than the listing
  auto report =
      look_within_bounds(directory, [directory] { return status::make_report(directory); });
  take_answers(report, std::move(asked));
  look_for_break(report, directory);
  add_backups(report, directory, {});
  look_at_history(report, directory);
  return report;
}

void refuse_with_several(const Arguments& arguments) {
  for (const Option& option :
       {Option(kStatusBeside), Option(kHtml), Option(kWebBackups), Option(kDbname), Option(kHost),
        Option(kPort), Option(kUsername), Option(kSlot), Option(kMetricsFile)})
    if (arguments.has(option))
      throw Error(ErrorKind::usage,
                  fmt::format("{} cannot be used with several archives", arguments.source(option)))
          .hint("Run pgweir status once for each archive.");
  if (arguments.has("store"))
    throw Error(ErrorKind::usage,
                fmt::format("{} cannot be used with several archives", arguments.source("store")))
        .hint("Run pgweir status once for each archive.");
}

/// An archive that cannot be read does not hide the others.
int status_of_several(const Arguments& arguments, const std::vector<std::string>& directories) {
  refuse_with_several(arguments);
  const auto limits = limits_of(arguments);
  const bool check = arguments.has(kStatusCheck);
  std::vector<status::ArchiveStatus> archives;
  int result = kDone;
  for (const auto& directory : directories) {
    status::ArchiveStatus archive{.directory = directory, .report = std::nullopt};
    try {
      archive.report = report_of_directory(directory);
      if (check) archive.verdict = status::check(*archive.report, limits);
    } catch (const std::exception&) {
      const auto failure = std::current_exception();
      result = std::max(result, tell_failure(failure));
      archive.report.reset();
      archive.error = error_of(failure).what();
      const auto level = level_of(failure);
      if (check)
        archive.verdict =
            status::Verdict{level, {}, status::line_without_report(level, archive.error)};
    }
    archives.push_back(std::move(archive));
  }
  const auto comparison = status::compare(archives);
  if (comparison.different_clusters) result = std::max(result, exit_status(ErrorKind::conflict));
  if (arguments.has(kStatusJson)) {
    print_data(status::several_json(archives, comparison) + "\n");
  } else {
    std::string text;
    if (check) text = status::check_lines(archives, comparison) + "\n";
    const int width = daemon::Screen(STDOUT_FILENO).width();
    for (const auto& archive : archives)
      text += (archive.report ? status::status_text(*archive.report, width, terminal_is_utf8())
                              : fmt::format("Archive {}: cannot be read: {}\n", archive.directory,
                                            archive.error)) +
              "\n";
    print_coloured(text + status::text_of(comparison) + "\n");
  }
  return check ? static_cast<int>(status::level_of(archives, comparison)) : result;
}

int status_command(const Arguments& arguments) {
  if (const auto directories = arguments.texts(kStatusDirectories); directories.size() > 1)
    return status_of_several(arguments, directories);
  const bool in_store = arguments.has("store");
  const auto directory = in_store ? arguments.get(kDirectory, "") : required_directory(arguments);
  const auto limits = limits_of(arguments);
  const bool with_server = arguments.has(kDbname) || arguments.has(kHost) || arguments.has(kPort) ||
                           arguments.has(kUsername);
  const auto conninfo = with_server ? conninfo_of(arguments) : std::string();
  // With a store it is what names the archive there.
  if (arguments.has(kSlot) && !with_server && !in_store)
    throw Error(ErrorKind::usage, fmt::format("{} needs a server to ask", arguments.source(kSlot)))
        .hint("Give it with -d CONNINFO.");

  // The receiver before the directory: it needs no disk, and its answer is then older than the
  // listing. After the store, which may take some time to report that it is unavailable.
  status::StatusReport asked;
  const auto ask = [&] {
    if (directory.empty()) return;
    asked = answers_of(directory);
  };
  std::unique_ptr<StoredArchive> stored;
  if (in_store) {
    if (!directory.empty())
      look_within_bounds(directory, [directory] { io::ask_file_system(directory); });
    stored = open_stored_archive_briefly(arguments);
  } else {
    ask();
  }
  web::Look look{.at = std::chrono::system_clock::now()};
  if (arguments.has(kHtml) && !directory.empty())
    look = look_within_bounds(directory, [directory, backups = arguments.texts(kWebBackups)] {
      prune::BackupSizes sizes;
      return web::look_at(directory, backups, sizes);
    });
  auto report =
      stored ? report_with_store(directory, *stored, ask)
      : arguments.has(kHtml)
          ? look.report
          : look_within_bounds(directory, [directory] { return status::make_report(directory); });
  take_answers(report, std::move(asked));
  if (!directory.empty()) look_for_break(report, directory);
  if (!arguments.has(kHtml) || stored || directory.empty())
    add_backups(report, directory, arguments.texts(kWebBackups), stored.get());
  if (with_server && !directory.empty())
    report = look_within_bounds(directory, [directory, report]() mutable {
      ask_receiver_again(report, directory);
      return report;
    });
  if (with_server) ask_server(report, arguments, conninfo);
  if (const auto beside = arguments.get(kStatusBeside))
    report.beside = look_within_bounds(
        *beside, [report, other = *beside] { return status::look_beside(report, other); });

  std::optional<web::History> history;
  if (!directory.empty()) history = look_at_history(report, directory);
  if (const auto file = arguments.get(kMetricsFile))
    metrics::write_file(*file, status_metrics(report, limits, std::chrono::system_clock::now()));
  std::optional<status::Verdict> verdict;
  if (arguments.has(kStatusCheck)) verdict = status::check(report, limits);
  if (const auto file = arguments.get(kHtml))
    write_page(*file, report, verdict ? *verdict : status::check(report, limits), look,
               std::move(history));
  if (arguments.has(kStatusJson)) {
    print_data(status::status_json(report, verdict) + "\n");
  } else {
    if (verdict) print_coloured(verdict->line + "\n");
    print_coloured(
        status::status_text(report, daemon::Screen(STDOUT_FILENO).width(), terminal_is_utf8()));
  }
  if (verdict) return static_cast<int>(verdict->level);
  return report.store && report.store->error_kind ? exit_status(*report.store->error_kind) : kDone;
}

/// Monitoring reads the first line of the standard output, and 3 as "could not find out".
int status_failed(const Words& words, const std::exception_ptr& failure) {
  const bool check = std::find(words.begin(), words.end(), "--check") != words.end();
  if (!check) return tell_failure(failure);
  const auto error = error_of(failure);
  const auto level = level_of(failure);
  print(status::line_without_report(level, error.what()) + "\n");
  print_error(error);
  return static_cast<int>(level);
}

}  // namespace

constinit const Command kStatusCommand = {
    .name = "status",
    .summary = "report an archive's contents and the state of its receiver",
    .about = R"(pgweir status reports an archive's contents and the state of its receiver. It
queries the running receiver and reads the directory; it needs no server.

Usage:
  pgweir status -D DIRECTORY [-d CONNINFO] [OPTION]...
  pgweir status -D DIRECTORY -D DIRECTORY... [--json] [--check [LIMIT]...]
  pgweir status [-D DIRECTORY] --store s3://BUCKET/PREFIX [OPTION]...

With --store, it reports the contents of directory and object store together,
the end of each, and the WAL that the store does not have yet.

With several archives of one server, it reports each of them, and which one
reaches furthest.
)",
    .groups = kStatusGroups,
    .notes = R"(Examples:
  pgweir status -D /srv/wal
  pgweir status -D /srv/wal -d "host=db1 user=repl"
  pgweir status -D /srv/wal --html status.html
  pgweir status -D /srv/wal -D /mnt/wal
  pgweir status -D /srv/wal --check --max-lag 64MB --max-age 5min

Missing WAL is detected by file names only; "pgweir verify" reads the files.

Exit status: 0 reported; 2 invalid options; 4 a directory cannot be read, or
several archives belong to different clusters. If the store did not answer
within 5 s: 3, or 4 if it rejected the request.
With --check: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN, also for invalid options.
)",
    .run = status_command,
    .failed = status_failed,
};

}  // namespace weir::cli
