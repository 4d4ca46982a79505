#include "prune/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "archive/backup_files.h"
#include "archive/backup_point.h"
#include "archive/backup_whole.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/union_shelf.h"
#include "archive/upkeep.h"
#include "base/exit_status.h"
#include "base/random.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/shared/stored_archive.h"
#include "daemon/stop_request.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "io/user_tree.h"
#include "prune/archive_wal.h"
#include "prune/find_backups.h"
#include "prune/record_prune.h"
#include "prune/retention.h"
#include "prune/stored_backups.h"
#include "store/ledger/manifest_prune.h"
#include "store/removal.h"

namespace weir::cli {

namespace {

constexpr auto kPruneKeep = option_of<time_value<1>>(
    "keep", "TIME", "keep the WAL for recovery to any point in time in the last TIME, such as 7d");
constexpr auto kPruneKeepBackups = option_of<count_value<1>>(
    "keep-backups", "N", "keep the WAL that the newest N full backups need");
constexpr Relation kWithRule{.others = {{kPruneKeep}, {kPruneKeepBackups}}, .command_line = true};
constexpr auto kPruneBackups = option_of<any_text>(
    "backups", "DIR",
    "directory in which backups are found, at any depth; can also be given as arguments",
    {.needs = &kWithRule});
constexpr auto kIgnoreBackup =
    repeated(option_of<any_text>("ignore-backup", "PATH",
                                 "ignore this backup, in the store by its name there; can be "
                                 "repeated",
                                 {.needs = &kWithRule}));
constexpr auto kKeepFromBackup = option_of<any_text>(
    "keep-from-backup", "PATH [PATH]...",
    "keep the WAL that these backups need: each a backup_label, .backup file, backup_manifest, "
    "base.tar, or directory; with the options above, choose among these, too");
constexpr auto kKeepFrom =
    option_of<position_value>("keep-from", "LSN|SEGMENT", "keep this segment and all later ones");
constexpr auto kOlderThan = option_of<time_value<>>(
    "older-than", "TIME", "and remove only files that were last written before TIME, such as 14d");

constexpr auto kPruneDryRun = flag('n', "dry-run", "only list what would be removed, and why");
constexpr auto kPruneVerbose =
    flag('v', "verbose", "report each file, and what each backup counts for");
constexpr Option kPruneOptions[] = {
    kDirectory, kPruneKeep, kPruneKeepBackups, kPruneBackups, kIgnoreBackup, kKeepFromBackup,
    kKeepFrom,  kOlderThan, kPruneDryRun,      kPruneVerbose, kConfig,       kHelp};

constexpr Option kPruneManifests[] = {
    kManifestKey.of_section("store"),
    kManifestPublicKey
        .says("public key of a former --manifest-key: trust its lines, too; can be repeated")
        .of_section("store")};

bool has_rule(const Arguments& arguments) {
  return arguments.has(kPruneKeep) || arguments.has(kPruneKeepBackups);
}

void require_no_stray_words(const Arguments& arguments) {
  if (arguments.has(kKeepFromBackup) || arguments.words().empty()) return;
  throw Error(ErrorKind::usage,
              fmt::format("unexpected argument \"{}\"", arguments.words().front()))
      .hint("See \"pgweir prune --help\".");
}

/// In a store, not a path of this machine: "s3://…".
bool names_object(const std::string& text) { return text.find("://") != std::string::npos; }

prune::Places places(const Arguments& arguments) {
  prune::Places places;
  if (const auto named = arguments.get(kKeepFromBackup)) places.named.push_back(*named);
  if (const auto place = arguments.get(kPruneBackups)) places.searched.push_back(*place);
  for (const auto& word : arguments.words()) places.searched.push_back(word);
  for (auto& path : arguments.texts(kIgnoreBackup))
    if (!names_object(path)) places.ignored.push_back(std::move(path));
  return places;
}

/// The base backups next to the WAL in the store, which need not be named.
std::vector<prune::FoundBackup> stored_backups(const Arguments& arguments, StoredArchive& stored,
                                               io::Shelf& archive) {
  const auto told = stored.told_identity();
  const auto identity =
      told ? told : archive::read_identity(archive, archive::list_archive_names(archive));
  auto found =
      prune::find_stored_backups(stored.opened().store(), stored.opened().layout(),
                                 identity ? std::optional(identity->segment_size) : std::nullopt,
                                 stored.jobs(), stored.patience());
  const auto ignored = arguments.texts(kIgnoreBackup);
  std::erase_if(found, [&](const prune::FoundBackup& backup) {
    return std::find(ignored.begin(), ignored.end(), backup.path) != ignored.end();
  });
  return found;
}

/// Those of the places named, and of the store.
std::vector<prune::FoundBackup> find_backups(const Arguments& arguments, StoredArchive* stored,
                                             io::Shelf& archive) {
  const auto named = places(arguments);
  auto backups = prune::find_backups(named);
  if (stored != nullptr)
    for (auto& each : stored_backups(arguments, *stored, archive))
      backups.push_back(std::move(each));
  if (!backups.empty() || !named.named.empty() || !named.searched.empty()) return backups;
  Error error(ErrorKind::usage, "no backups specified");
  if (stored != nullptr)
    error.with(
        "no backups in the store, below",
        stored->opened().store().name_of(prune::prefix_of_backups(stored->opened().layout())));
  throw error.hint(
      "Specify the directory of the backups after the options or with --backups, or each backup "
      "with --keep-from-backup.");
}

/// Chooses the backups that the rules keep, and reports what an operator should know.
prune::Retention retain(const Arguments& arguments, StoredArchive* stored, io::Shelf& archive,
                        const daemon::StopRequest& stop) {
  const auto backups = find_backups(arguments, stored, archive);
  prune::Rules rules;
  rules.window = arguments.get(kPruneKeep);
  if (const auto count = arguments.get(kPruneKeepBackups)) rules.count = *count;
  rules.now = wal::PgTime::of(std::chrono::system_clock::now());
  prune::ArchiveWal wal(archive, [&] { return stop.made(); });
  auto retention = prune::choose(backups, rules, wal);
  if (arguments.has(kPruneDryRun) || arguments.has(kPruneVerbose))
    for (const auto& line : retention.choice) print_stderr("{}\n", line);
  for (const auto& remark : retention.remarks) print_stderr("pgweir: {}\n", remark);
  return retention;
}

void tell_dry_run(const prune::Plan& plan, const std::string& where) {
  for (const auto& segments : plan.numbers)
    for (const auto& segment : segments)
      for (const auto& file : segment.files) print(file + "\n");
  print_stderr("would remove {} files, {}{}; kept from {} on, because {}\n", plan.files,
               format_size(plan.bytes), where, plan.keep_from, plan.reason);
}

void tell_held_back(const prune::Plan& plan) {
  for (const auto& held : plan.held_back) print_stderr("pgweir: {}\n", prune::text_of(held));
}

/// Prints what one copy of the archive loses. Returns false if there is nothing to remove from it.
bool tell_plan(const prune::Plan& plan, bool dry_run, const std::string& where) {
  tell_held_back(plan);
  if (plan.never_comes) {
    print_stderr(
        "pgweir: nothing is removed{}, because {} is not there ({}), and will not be uploaded: it "
        "is a partial segment, and its timeline was left before the backup's end\n"
        "hint: Only the archive directory can bring this backup to consistency. Specify a backup "
        "of the current timeline instead.\n",
        where, plan.awaited, plan.reason);
    return false;
  }
  if (!plan.awaited.empty()) {
    print(fmt::format("nothing to remove until {} is uploaded ({}){}\n", plan.awaited, plan.reason,
                      where));
    return false;
  }
  if (plan.files == 0) {
    print((plan.keep_from.empty()
               ? "nothing to remove: there are no segments"
               : fmt::format("nothing to remove below {} ({})", plan.keep_from, plan.reason)) +
          where + "\n");
    return false;
  }
  if (dry_run) tell_dry_run(plan, where);
  return !dry_run;
}

/// Objects that the store keeps are reported one by one, up to a limit.
int prune_store(const Arguments& arguments, StoredArchive& stored, const prune::Plan& plan,
                const daemon::StopRequest& stop) {
  constexpr std::size_t kTold = 20;
  auto& store = stored.opened().store();
  std::size_t removed = 0;
  std::size_t refused = 0;
  const bool through = prune::carry_out(
      store, [&](const std::string& file) { return stored.shelf().keys_of(file); }, plan,
      [&] { return stop.made(); },
      [&](const std::string& file) {
        ++removed;
        if (arguments.has(kPruneVerbose)) print("removed " + file + "\n");
      },
      [&](const store::Kept& kept) {
        if (++refused <= kTold || arguments.has(kPruneVerbose))
          print_stderr("pgweir: the store keeps {}: {}\n", kept.key, kept.why);
      },
      {.seed = random_bits()});
  if (refused > 0)
    print_stderr(
        "pgweir: the store did not remove {} of {} objects\n"
        "hint: A lock has not expired, a permission is missing (s3:DeleteObject; Azure: d; "
        "Google: storage.objects.delete), or the store has failed. The next prune retries.\n",
        refused, removed + refused);
  if (!through)
    throw Error(ErrorKind::retry, "stopped before the removal was complete")
        .hint("The remaining WAL has no gap. Run the command again to resume.");
  print(fmt::format("removed {} objects of {} ({}) from {}; kept from {} on, because {}\n", removed,
                    removed + refused, format_size(plan.bytes), store.name(), plan.keep_from,
                    plan.reason));
  try {
    auto* const rules = store.rules();
    const auto versioning = rules != nullptr ? rules->rule("versioning") : std::nullopt;
    if (versioning && versioning->find("<Status>Enabled") != std::string::npos)
      print_stderr(
          "pgweir: the bucket keeps versions: removed objects take space until a lifecycle rule "
          "removes their versions\n");
  } catch (const store::StoreError& error) {  // not an error that ends the command: everything else
                                              // is done
    print_stderr("pgweir: could not determine whether the bucket keeps versions: {}\n",
                 error.what());
  }
  return refused > 0 ? kNo : kDone;
}

/// In addition to the segments: obsolete partial segments that precede all kept WAL, and manifests
/// that are no longer needed.
int prune_beside(const Arguments& arguments, StoredArchive& stored, const prune::Plan& plan) {
  const auto begin = wal::SegmentName::parse(plan.keep_from);
  if (!begin) return kDone;
  auto& store = stored.opened().store();
  const store::Patience patience{.seed = random_bits()};
  const auto keys = store::needless_objects(
      store, stored.opened().layout(), *begin,
      store::proofs_of(manifest_key_of(arguments), manifest_public_keys_of(arguments)), patience);
  if (keys.empty()) return kDone;
  if (arguments.has(kPruneDryRun)) {
    for (const auto& each : keys) print(each + "\n");
    print_stderr("would remove {} objects of partial segments and of manifests\n", keys.size());
    return kDone;
  }
  constexpr std::size_t kAtOnce = 1000;
  std::size_t kept = 0;
  for (std::size_t from = 0; from < keys.size(); from += kAtOnce) {
    const auto some = std::span(keys).subspan(from, std::min(kAtOnce, keys.size() - from));
    for (const auto& each : store::remove_patiently(store, some, patience)) {
      ++kept;
      print_stderr("pgweir: the store keeps {}: {}\n", each.key, each.why);
    }
  }
  print(fmt::format("removed {} unneeded objects of partial segments and of manifests\n",
                    keys.size() - kept));
  return kept > 0 ? kNo : kDone;
}

void tell_manifest(const Arguments& arguments, StoredArchive& stored, const prune::Plan& plan) {
  StoreLog log;
  const bool dry_run = arguments.has(kPruneDryRun);
  const auto record = prune::record_prune(
      stored.opened().store(), stored.opened().layout(), plan, manifest_key_of(arguments),
      manifest_public_keys_of(arguments), {.seed = random_bits()}, log, dry_run);
  if (record && record->by_others > 0)
    print(fmt::format(
        "{} in the manifest that the archive begins at {}: {} before it had already been removed "
        "by another program\n",
        dry_run ? "would record" : "recorded", record->begin,
        counted(record->by_others, "segment")));
}

/// The store needs all WAL up to there before it loses any. What cannot be read stays unknown: then
/// it needs more (make_plan()).
void add_ends(std::vector<archive::BackupPoint>& backups, io::Shelf& archive,
              const daemon::StopRequest& stop) {
  if (std::all_of(backups.begin(), backups.end(),
                  [](const auto& each) { return each.end.has_value(); }))
    return;
  try {
    prune::ArchiveWal wal(archive, [&] { return stop.made(); });
    for (auto& each : backups) prune::add_end(each, wal);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::refused && error.kind() != ErrorKind::damage) throw;
  }
}

/// A backup with missing files retains nothing: earlier WAL may be needed.
archive::BackupPoint whole_backup(const std::string& path) {
  auto point = archive::read_backup_point(path);
  if (point.missing)
    throw Error(ErrorKind::refused, "the backup is incomplete: " + *point.missing)
        .with("backup", path)
        .hint(
            "Nothing was removed. Copy the backup again, or specify another one; --keep-from "
            "SEGMENT removes WAL before a segment regardless of backups.");
  return point;
}

/// The backup that an incremental one builds upon may be elsewhere: nothing is refused.
void tell_of_missing_parent(const archive::BackupPoint& backup, const std::string& path) {
  if (!backup.parent || io::type_of(path) != io::PathType::directory) return;
  const auto beside = prune::directory_beside(path);
  if (beside.empty()) return;
  std::vector<prune::FoundBackup> found;
  try {
    found = prune::find_backups({.searched = {beside}, .depth = archive::Depth::names});
  } catch (const Error&) {
    // It cannot be searched, and was not found.
  }
  if (std::any_of(found.begin(), found.end(), [&](const prune::FoundBackup& each) {
        return each.point && archive::is_parent(backup, *each.point);
      }))
    return;
  print_stderr(
      "pgweir: {} is incremental to a backup that started at {} on timeline {}, which was not "
      "found in {}: it can only be recovered with that one\n",
      path, backup.parent->start, backup.parent->timeline, beside);
}

int prune_command(const Arguments& arguments) {
  const bool in_store = arguments.has("store");
  const auto path = in_store ? arguments.get(kDirectory, "") : required_directory(arguments);

  prune::Options options;
  options.now = std::chrono::system_clock::now();
  options.keep_from = arguments.get(kKeepFrom);
  options.older_than = arguments.get(kOlderThan);
  if (!has_rule(arguments)) {
    require_no_stray_words(arguments);
    // Any number of backups can be named: further ones are plain words.
    std::vector<std::string> named = arguments.words();
    if (const auto backup = arguments.get(kKeepFromBackup)) named.insert(named.begin(), *backup);
    for (const auto& each : named) {
      options.backups.push_back(whole_backup(each));
      tell_of_missing_parent(options.backups.back(), each);
    }
  }

  const daemon::StopRequest stop;
  std::unique_ptr<StoredArchive> stored;
  if (in_store) stored = open_stored_archive(arguments, [&] { return stop.made(); });
  const auto directory = path.empty() ? nullptr : io::open_existing_directory(path);
  if (directory) {
    archive::require_not_a_server_directory(*directory);
    io::keep_owner(*directory);
  }
  std::optional<archive::UnionShelf> both;
  if (directory && stored) both.emplace(*directory, stored->shelf());
  io::Shelf& whole = both        ? static_cast<io::Shelf&>(*both)
                     : directory ? static_cast<io::Shelf&>(*directory)
                                 : stored->shelf();
  archive::require_some_wal(archive::list_archive_names(whole), whole.path(),
                            directory ? io::what_is_nearby(path) : std::string());
  int status = kDone;
  if (has_rule(arguments)) {
    auto retention = retain(arguments, stored.get(), whole, stop);
    if (retention.complaint) status = kNo;
    if (retention.nothing) {
      print("nothing was removed\n");
      return status;
    }
    options.backups = std::move(retention.kept);
    options.doubtful = std::move(retention.doubtful);
  }
  if (!has_rule(arguments) && directory && stored) add_ends(options.backups, whole, stop);
  io::Shelf& slots = directory ? static_cast<io::Shelf&>(*directory) : whole;
  const bool dry_run = arguments.has(kPruneDryRun);
  std::optional<archive::Upkeep> upkeep;
  if (directory && !dry_run) upkeep.emplace(*directory, archive::Upkeep::Kind::prune);
  // Both are made before any removal: an error in one of them prevents both.
  std::optional<prune::Plan> here;
  std::optional<prune::Plan> there;
  if (directory) here = prune::make_plan({*directory, whole, slots}, options);
  if (stored)
    there = prune::make_plan({stored->shelf(), stored->shelf(), slots, stored->told_identity(),
                              directory.get(), directory == nullptr},
                             options);
  if (there) tell_manifest(arguments, *stored, *there);
  if (here && tell_plan(*here, dry_run, stored ? " in " + path : "")) {
    const bool through = prune::carry_out(
        *directory, *here, [&] { return stop.made(); },
        [&](const std::string& file) {
          if (arguments.has(kPruneVerbose)) print("removed " + file + "\n");
        });
    if (!through)
      throw Error(ErrorKind::retry, "stopped before the removal was complete")
          .hint("The remaining WAL has no gap. Run the command again to resume.");
    print(fmt::format("removed {} files, {}; kept from {} on, because {}\n", here->files,
                      format_size(here->bytes), here->keep_from, here->reason));
  }
  if (there && tell_plan(*there, dry_run, " in " + stored->shelf().path()))
    status = std::max(status, prune_store(arguments, *stored, *there, stop));
  if (there && there->never_comes) status = std::max(status, kNo);
  if (there) status = std::max(status, prune_beside(arguments, *stored, *there));
  return status;
}

constexpr OptionGroup kPruneGroups[] = {{"Options:", kPruneOptions},
                                        {kStoreHeading, kStoreItself},
                                        {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
                                        {"Signed manifest:", kPruneManifests, {}, &kOnStore}};

}  // namespace

constinit const Command kPruneCommand = {
    .name = "prune",
    .summary = "remove WAL that no backup needs",
    .about = R"(pgweir prune removes the oldest segments of an archive that the retention policy
does not need. History files are kept. WAL that a replication slot of "pgweir
serve" needs is kept, too, and reported. A receiver can be running.

Usage:
  pgweir prune -D DIRECTORY --keep TIME [OPTION]... BACKUPS...
  pgweir prune -D DIRECTORY --keep-backups N [OPTION]... BACKUPS...
  pgweir prune -D DIRECTORY [OPTION]...
  pgweir prune [-D DIRECTORY] --store s3://BUCKET/PREFIX [OPTION]...

With --store, the policy is applied to the object store; with -D and --store, to
both, and the slots of the archive directory are respected. Base backups of
barman-cloud-backup or WAL-G next to the WAL in the store count without being
named.
)",
    .groups = kPruneGroups,
    .notes = R"(Exit status: 0 done; 1 no backup satisfies --keep, a backup is in doubt and the
WAL that it may need was kept, or the store kept an object; 2 invalid options;
3 stopped, or import is running; 4 refused.

Invoked as pg_archivecleanup, it accepts the arguments of that program.
)",
    .most_words = SIZE_MAX,
    .run = prune_command,
};

}  // namespace weir::cli
