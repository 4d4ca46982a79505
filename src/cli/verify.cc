#include "verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "archive/backup_files.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/union_shelf.h"
#include "backup/standing.h"
#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/report_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/shared/keep_check.h"
#include "cli/shared/stored_archive.h"
#include "cli/shared/stored_manifest.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/bounded_shelf.h"
#include "io/posix_directory.h"
#include "io/processor_limit.h"
#include "io/small_file.h"
#include "io/user_tree.h"
#include "metrics/exporter.h"
#include "prune/find_backups.h"
#include "verify/beside.h"

namespace weir::cli {

namespace {

using Json = nlohmann::ordered_json;

/// The losses that are known.
std::string read_accepted(const std::string& path, const std::string& source) {
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;
  try {
    return io::read_small_file(path, kMost);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, fmt::format("could not read the file of {}", source))
        .with("path", path)
        .with("reason", error.message())
        .hint("Check the path and that this user may read it.");
  }
}

/// For one call to the archive that is compared, whose file system may hang.
constexpr std::chrono::seconds kComparePatience(60);

constexpr const char* kNotRead =
    "note: objects were compared by names, sizes and MD5; --deep reads them\n";

constexpr auto kFrom = option_of<position_value>(
    "from", "LSN|SEGMENT", "position to start at (default: the archive's beginning)");
constexpr auto kVerifyTo = option_of<position_value>(
    "to", "LSN|SEGMENT", "position to stop at; the archive must reach it");
constexpr auto kVerifyBackup = option_of<any_text>(
    "backup", "PATH",
    "backup_label, .backup file, backup_manifest, base.tar, or directory of a base backup: report "
    "whether it can be brought to consistency, and how far forward");
constexpr Relation kStore{.others = {{"store"}}};
constexpr auto kVerifyBeside = option_of<any_text>(
    "compare-archive", "DIR",
    "also compare with another archive of the same server: missing and different segments",
    {.excludes = &kStore});
constexpr auto kAcceptFile = option_of<any_text>(
    "accept-file", "FILE", "known losses, in lines \"TIMELINE FROM TO REASON\"");
constexpr auto kDeep = flag(
    "deep", "with --store alone: read all objects instead of comparing them with the manifests");
constexpr auto kVerifyJson = flag("json", "JSON output; see docs/verify.md");
constexpr auto kVerifyMetrics = kMetricsFile.says(
    "write metrics to FILE, whose name must end in .prom; of a part of the archive, only if there "
    "is a finding");
constexpr Option kVerifyOptions[] = {
    kDirectory,     kFrom,
    kVerifyTo,      kTimeline.says("only the history of this timeline"),
    kVerifyBackup,  kVerifyBeside,
    kAcceptFile,    kJobs,
    kVerifyJson,    kNoProgress,
    kVerifyMetrics, kConfig,
    kHelp};
constexpr Option kVerifyManifests[] = {kDeep, kManifestPublicKey.of_section("store"), kExpectHead};

/// True for options that require reading.
bool asks_to_read(const Arguments& arguments) {
  for (const Option& option :
       {Option(kDirectory), Option(kDeep), Option(kFrom), Option(kVerifyTo), Option(kTimeline),
        Option(kVerifyBackup), Option(kAcceptFile), Option(kMetricsFile)})
    if (arguments.has(option)) return true;
  return std::any_of(std::begin(kIdentityOptions), std::end(kIdentityOptions),
                     [&](const Option& option) { return arguments.has(option); });
}

/// An incremental backup is useless without the backups that it builds upon. As recover does, this
/// searches for them next to its directory.
archive::BackupPoint read_backup(const std::string& path) {
  auto point = archive::read_backup_point(path);
  if (!point.parent || point.missing || io::type_of(path) != io::PathType::directory) return point;
  const auto beside = prune::directory_beside(path);
  if (beside.empty()) return point;
  for (const auto& each : backup::find_standing(beside, nullptr))
    if (each.found.point && io::real_path(each.found.point->file) == io::real_path(point.file) &&
        !each.good())
      point.missing = fmt::format("{} (in {})", each.why, beside);
  return point;
}

std::vector<archive::Loss> holes_of(std::span<const verify::AcceptedLoss> accepted) {
  std::vector<archive::Loss> holes;
  for (const auto& [loss, reason, line] : accepted) {
    auto& hole = holes.emplace_back();
    hole.timeline = hole.next_timeline = loss.timeline;
    hole.begin = loss.from;
    hole.end = loss.to;
  }
  return holes;
}

/// The results of the manifests and of reading, as one object.
std::string both_json(std::string text, const store::ManifestReport& report) {
  auto json = text.empty() ? Json::object() : Json::parse(text);
  json["sound"] = json.value("sound", true) && report.sound();
  json["manifest"] = Json::parse(store::to_json(report));
  return json.dump(2) + "\n";
}

int verify_as_asked(const Arguments& arguments) {
  const bool in_store = arguments.has("store");
  const auto path = in_store ? arguments.get(kDirectory, "") : required_directory(arguments);

  verify::Options options;
  options.from = arguments.get(kFrom);
  options.to = arguments.get(kVerifyTo);
  options.timeline = arguments.get(kTimeline);
  if (const auto backup = arguments.get(kVerifyBackup)) options.backup = read_backup(*backup);
  if (const auto file = arguments.get(kAcceptFile))
    options.accepted =
        verify::parse_accepted(read_accepted(*file, arguments.source(kAcceptFile)), *file);
  options.jobs = arguments.get(kJobs, io::worthwhile_threads());

  const daemon::StopRequest stop;
  options.stop = [&] { return stop.made(); };
  // The store alone, or the directory with it.
  std::unique_ptr<StoredArchive> stored;
  if (in_store) {
    stored = open_stored_archive(arguments, [&] { return stop.made(); });
    options.told_identity = [&] { return stored->told_identity(); };
  }
  const auto directory = path.empty() ? nullptr : io::open_existing_directory(path);
  const auto beside = arguments.get(kVerifyBeside);
  std::unique_ptr<io::Shelf> beside_directory;
  if (beside) {
    beside_directory = std::make_unique<io::BoundedShelf>(
        *beside, [path = *beside] { return io::open_existing_directory(path); }, kComparePatience,
        options.stop);
    static_cast<void>(beside_directory->names());  // a wrong path is reported at once
  }
  std::optional<archive::UnionShelf> both;
  if (directory && stored) both.emplace(*directory, stored->shelf());
  io::Shelf& archive = both        ? static_cast<io::Shelf&>(*both)
                       : directory ? static_cast<io::Shelf&>(*directory)
                                   : stored->shelf();
  std::optional<ManifestLook> manifest;
  const ManifestRequest request{.keys = manifest_public_keys_of(arguments),
                                .expected_heads = arguments.texts(kExpectHead),
                                .beside = directory.get(),
                                .deep = arguments.has(kDeep),
                                .accepted = holes_of(options.accepted)};
  if (stored) manifest = look_at_manifests(*stored, request);
  // The files that a line lists were verified, record by record, before they were uploaded.
  if (manifest && !asks_to_read(arguments)) {
    if (arguments.has(kVerifyJson))
      print_data(both_json("", manifest->report));
    else
      print_coloured(store::to_text(manifest->report) + kNotRead);
    return manifest->report.sound() ? kDone : kNo;
  }
  if (stored) stored->hide_pruned(request.keys);
  // Each object is fetched once: to be checked, and for its digest.
  const bool deep = manifest && arguments.has(kDeep);
  const auto at_once = stored ? stored->jobs() : 0;
  store::ReadDigests digests;
  std::mutex digests_mutex;
  if (deep) {
    options.jobs = std::max<unsigned>(options.jobs, static_cast<unsigned>(at_once));
    constexpr std::size_t kKept = 2;  // for each thread: its own, and the next one's front
    stored->shelf().read_whole_segments(kKept * options.jobs,
                                        [&](const std::string& key, const std::string& sha256) {
                                          const std::lock_guard lock(digests_mutex);
                                          digests.try_emplace(key, sha256);
                                        });
  }
  io::Shelf* const other = beside_directory      ? beside_directory.get()
                           : directory && stored ? &stored->shelf()
                                                 : nullptr;
  verify::Report report;
  std::optional<verify::BesideReport> compared;
  {
    daemon::ProgressBar bar("verify");
    if (!arguments.has(kNoProgress))
      options.progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); };
    report = verify::verify(archive, options);
    if (other)
      compared = verify::compare_archives(directory ? *directory : archive, *other, options);
  }
  if (deep) look_deeply(*stored, request, *manifest, digests, at_once, options.stop);
  const VerifyResults results{.report = report,
                              .compared = compared ? &*compared : nullptr,
                              .manifest = manifest ? &manifest->report : nullptr,
                              .beside = stored             ? archive::LastCheck::Beside::store
                                        : beside_directory ? archive::LastCheck::Beside::archive
                                                           : archive::LastCheck::Beside::none};
  // Before the text, whose reader may have gone.
  const bool whole = !options.from && !options.to && !options.timeline && !options.backup;
  if (directory) {
    keep_check(path, archive::LastCheck::Kind::verify,
               last_check_of(results, whole, std::chrono::system_clock::now()));
  }
  // A part that is sound says nothing about the rest: the file keeps the earlier result.
  if (const auto file = arguments.get(kMetricsFile); file && (whole || !results.sound()))
    metrics::write_file(*file, verify_metrics(report, results.sound(),
                                              directory ? directory->path() : archive.path(),
                                              std::chrono::system_clock::now()));
  if (arguments.has(kVerifyJson)) {
    auto json = verify::to_json(report, compared ? &*compared : nullptr);
    print_data(manifest ? both_json(std::move(json), manifest->report) : json);
  } else {
    print_coloured(verify::to_text(report) + (compared ? "\n" + verify::to_text(*compared) : "") +
                   (manifest ? "\n" + store::to_text(manifest->report) : ""));
  }
  return results.sound() ? kDone : kNo;
}

/// For programs there is an answer, whatever the outcome.
int verify_command(const Arguments& arguments) {
  try {
    return verify_as_asked(arguments);
  } catch (const Error& error) {
    if (arguments.has(kVerifyJson)) {
      Json json;
      json["sound"] = false;
      json["error"] = {{"message", error.what()}, {"hint", error.hint()}};
      print_data(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    }
    throw;
  }
}

constexpr OptionGroup kVerifyGroups[] = {
    {"Options:", kVerifyOptions},
    {kStoreHeading, kStoreItself},
    {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
    {"Manifests of the store:", kVerifyManifests, {}, &kOnStore, {.needs = &kStore}},
    {"Encrypted objects:", kIdentityOptions, {}, &kOnStore}};

}  // namespace

constinit const Command kVerifyCommand = {
    .name = "verify",
    .summary = "verify an archive: every record, gaps, timelines, a backup's WAL",
    .about = R"(pgweir verify reads every segment of an archive, and reports WAL at which a
recovery would fail because it is missing or corrupted. It needs no lock, and
writes nothing but its result, for "pgweir status".

Usage:
  pgweir verify -D DIRECTORY [OPTION]...
  pgweir verify --store s3://BUCKET/PREFIX [OPTION]...

With --store alone, it compares the objects with the store's manifests, by name,
size and MD5, without a private key. If there is no manifest, or with --deep or
--identity, it reads every byte. With -D and --store, it reads both together,
and compares segments that both have.
)",
    .groups = kVerifyGroups,
    .notes = R"(Exit status: 0 the WAL of this range is complete and valid (and the other
archive is the same, between the ends of both); 1 a problem was found;
2 invalid options; 3 stopped, or a temporary failure; 4 the directory cannot be
read.
)",
    .run = verify_command,
};

}  // namespace weir::cli
