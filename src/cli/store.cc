#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "archive/home.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "base/random.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/former_names.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/publish_open.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/stored_archive.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "restore/published.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/mark.h"
#include "store/open_store.h"
#include "store/sealed/rewrap.h"
#include "store/send/follow.h"
#include "store/send/push.h"
#include "store/shelf/near_shelf.h"
#include "store/shelf/store_files.h"
#include "store/store_check.h"

namespace weir::cli {

namespace {

constexpr std::chrono::milliseconds kStorePatience{60'000};

constexpr auto kStoreRetryFor = option_of<time_value<>>(
    "retry-for", "TIME", "push: how long to retry temporary errors (default: 1min)");
constexpr auto kFollow =
    flag("follow", "push: continue with segments completed from now on, and retry indefinitely");
constexpr OfVerbs kOfPush{"push"};
constexpr OfVerbs kOfUploads{"push publish-partial"};
constexpr OfVerbs kOfKey{"push rewrap publish-partial"};
constexpr OfVerbs kOfPublication{"publish-partial"};
constexpr OfVerbs kOfDecryption{
    "get rewrap publish-partial",
    "Do not keep a private key on the machine that archives: public keys are sufficient to "
    "encrypt (--encrypt-to)."};
constexpr Relation kFollowing{.others = {{kFollow}}, .command_line = true};
constexpr Option kStoreVerbOptions[] = {
    kDirectory.says("push, publish-partial: the archive; check: compare it, too"),
    kStoreRetryFor.with({.excludes = &kFollowing, .verbs = &kOfPush}),
    kStoreCompression.with({.verbs = &kOfUploads}).of_section("store"),
    kEncryptTo.of_section("store"),
    kManifestKey.with({.verbs = &kOfKey}).of_section("store"),
    kManifestPublicKey
        .says("ls, check: report which manifests this key proves; rewrap: trust lines of this "
              "former key, too; can be repeated")
        .of_section("store"),
    kFollow.with({.verbs = &kOfPush}),
    kStorePartialInterval.with({.needs = &kFollowing, .verbs = &kOfPush}).of_section("store"),
    kLocalRetention.with({.needs = &kFollowing, .verbs = &kOfPush}).of_section("store"),
    kNoProgress,
    kConfig,
    kHelp};

Error expected(const std::string& what) {
  return Error(ErrorKind::usage, what).hint("See \"pgweir store --help\".");
}

std::string files(std::size_t segments, std::size_t histories) {
  auto text = counted(segments, "segment");
  if (histories > 0)
    text += fmt::format(" and {} histor{}", histories, histories == 1 ? "y" : "ies");
  return text;
}

/// The worst of several: errors that require manual intervention before temporary ones.
int status_of(const std::vector<Error>& failures) {
  int status = kDone;
  for (const auto& failure : failures) status = std::max(status, exit_status(failure.kind()));
  return status;
}

std::string signature_of(const store::ManifestChain& chain, std::string_view none) {
  if (!chain.signed_by) return std::string(none);
  return fmt::format("signed by key {}{}", store::to_string(*chain.signed_by),
                     chain.proved ? ", proved" : "");
}

/// Runs until it is stopped.
int follow(const Arguments& arguments, const store::StoreOptions& options) {
  const auto path = required_directory(arguments);
  const daemon::StopRequest stop;
  StoreLog log;
  for (const auto& each : warnings_of_private_keys(arguments)) log.warning("{}", each);
  const auto directory = io::open_existing_directory(path);
  io::keep_owner(*directory);
  archive::require_not_a_server_directory(*directory);
  store::OpenStore opened(
      options, [&] { return stop.made(); }, log);
  store::Follow following(*directory, opened.store(), opened.layout(),
                          {.store_name = opened.identity(),
                           .shown_name = opened.store().name_of(opened.layout().root()),
                           .jobs = options.jobs,
                           .sealing = sealing_for(options, path),
                           .compression = options.compression,
                           .manifest_key = options.manifest_key,
                           .keep_local = arguments.get(kLocalRetention),
                           .open_every = arguments.get(kStorePartialInterval),
                           .durable_end = [&path] { return durable_end_of(path); },
                           .stop = [&] { return stop.made(); },
                           .seed = random_bits()},
                          machine_threads(), log);
  following.run();
  const auto view = following.view();
  std::string text =
      fmt::format("sent {} files, {}", view.sent_files, format_size(view.sent_bytes));
  if (view.pending_segments + view.pending_histories > 0)
    text += fmt::format("; {} wait, from {} on", view.pending_segments + view.pending_histories,
                        view.next);
  if (view.removed_files > 0) text += fmt::format("; removed {} segments here", view.removed_files);
  print(text + "\n");
  return kDone;
}

int push(const Arguments& arguments, const store::StoreOptions& options) {
  const auto path = required_directory(arguments);
  const daemon::StopRequest stop;
  StoreLog log;
  const auto directory = io::open_existing_directory(path);
  io::keep_owner(*directory);
  store::OpenStore opened(
      options, [&] { return stop.made(); }, log);
  store::PushResult result;
  {
    daemon::ProgressBar bar("store push");
    store::PushOptions push_options{.store_name = opened.identity(),
                                    .shown_name = opened.store().name_of(opened.layout().root()),
                                    .jobs = options.jobs,
                                    .retry_for = arguments.get(kStoreRetryFor, kStorePatience),
                                    .stop = [&] { return stop.made(); },
                                    .sealing = sealing_for(options, path),
                                    .compression = options.compression,
                                    .manifest_key = options.manifest_key,
                                    .seed = random_bits()};
    if (!arguments.has(kNoProgress))
      push_options.progress = [&](std::size_t done, std::size_t all) { bar.show(done, all); };
    result = store::push(*directory, opened.store(), opened.layout(), push_options,
                         machine_threads(), log);
  }
  for (const auto& failure : result.failures) print_error(failure);
  std::string text = fmt::format("sent {}, {}", files(result.segments, result.histories),
                                 format_size(result.bytes));
  if (result.were_there > 0) text += fmt::format("; {} were already there", result.were_there);
  if (result.not_compared > 0)
    text += fmt::format("; {} of them could not be compared", result.not_compared);
  if (result.vanished > 0)
    text += fmt::format("; {} of them had been sent before, but had disappeared from the store",
                        result.vanished);
  if (result.pending > 0) text += fmt::format("; {} wait, from {} on", result.pending, result.next);
  print(text + "\n");
  if (!result.manifest.empty())
    print(fmt::format("manifest {}, {}; head {}\n", result.manifest,
                      options.manifest_key ? "signed" : "not signed", result.head));
  if (result.stopped && result.failures.empty())
    throw Error(ErrorKind::retry, "stopped before all files were sent")
        .hint("Run the command again to resume.");
  return status_of(result.failures);
}

int list(const store::StoreOptions& options) {
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  store::for_each_file(opened.store(), opened.layout(), [&](const store::StoredFile& file) {
    print(fmt::format("{:>12}  {}\n", file.object.size,
                      file.object.key.substr(file.object.key.rfind('/') + 1)));
    ++count;
    bytes += file.object.size;
    return true;
  });
  print_stderr("{} files, {}\n", count, format_size(bytes));
  for (const auto& chain :
       store::read_manifests(opened.store(), opened.layout(), options.public_keys, {}))
    print_stderr("manifest {}: {} lines, {}; head {}\n", chain.id, chain.length(),
                 signature_of(chain, "not signed"), chain.head());
  return kDone;
}

/// As restore does: a padded segment is for the end of its timeline only.
void require_last(store::OpenStore& opened, const store::StoreOptions& options,
                  wal::SegmentName segment, wal::SegmentSize size, wal::Lsn padded_from) {
  store::NearShelf stored([&]() -> store::ObjectStore& { return opened.store(); },
                          opened.store().name_of(opened.layout().wal_prefix()), opened.layout(),
                          store::kOnce, 1, options.identities);
  if (const auto gap = restore::wal_after_published(stored, segment, size))
    throw restore::not_the_last(segment.to_string(), *gap, padded_from);
}

int get(const Arguments& arguments, const store::StoreOptions& options) {
  const auto& words = arguments.words();
  const auto& name = words[1];
  auto target = words[2];
  while (target.size() > 1 && target.ends_with('/')) target.pop_back();
  const auto slash = target.rfind('/');
  const auto directory = io::open_directory(slash == std::string::npos ? "."
                                            : slash == 0               ? "/"
                                                                       : target.substr(0, slash));
  const auto file = slash == std::string::npos ? target : target.substr(slash + 1);
  if (directory->find(file))
    throw Error(ErrorKind::conflict, "a file with this name exists")
        .with("path", target)
        .hint("It is not overwritten: specify another target.");
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  archive::DirectoryHome home(*directory);
  const auto fetched =
      store::fetch_file(opened.store(), opened.layout(), name, home, file, options.identities,
                        [&](wal::SegmentName segment, wal::SegmentSize size, wal::Lsn padded_from) {
                          require_last(opened, options, segment, size, padded_from);
                        });
  if (!fetched) {
    print_stderr("pgweir: the store has no {}\n", name);
    return kNo;
  }
  if (fetched->damage) {
    log.error(*fetched->damage);
    log.warning("{} was downloaded from its other, valid object", name);
  }
  if (fetched->padded_from)
    log.warning(
        "{} was published unfinished (pgweir store publish-partial): WAL up to {}, followed by "
        "zeros",
        name, *fetched->padded_from);
  return kDone;
}

/// Damage is reported when the archive is compared.
std::optional<std::uint64_t> known_cluster_of(io::Shelf& archive) {
  try {
    return store::cluster_of(archive, archive::list_archive_names(archive));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    const auto mark = store::read_mark(archive);
    return mark ? std::optional(mark->system_identifier) : std::nullopt;
  }
}

int check(const Arguments& arguments, const store::StoreOptions& options) {
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  store::StoreCheck result;
  const auto credentials = opened.credentials().get();
  result.findings.push_back(
      {store::StoreFinding::Level::good,
       fmt::format(
           "credentials from {}{}", credentials.source,
           credentials.expires ? ", until " + format_time(*credentials.expires) : std::string())});
  const auto path = arguments.get(kDirectory);
  const auto directory = path ? io::open_existing_directory(*path) : nullptr;
  store::check_store(opened.store(), opened.layout(), random_bits(), result,
                     directory ? known_cluster_of(*directory) : std::nullopt);
  if (result.all_good()) store::check_settings(opened.store(), opened.layout(), result);
  if (result.all_good()) store::check_end(opened.store(), opened.layout(), result);
  using Level = store::StoreFinding::Level;
  if (result.all_good()) {
    const auto chains =
        store::read_manifests(opened.store(), opened.layout(), options.public_keys, {});
    if (directory)
      store::compare_archive(*directory, opened.store(), opened.layout(), opened.identity(), chains,
                             !options.public_keys.empty(), result);
    for (const auto& chain : chains) {
      for (const auto& what : chain.broken)
        result.findings.push_back({Level::bad, fmt::format("manifest {}: {}", chain.id, what),
                                   "\"pgweir verify --store\" compares all objects with it."});
      result.findings.push_back(
          {chain.signed_by ? Level::good : Level::warning,
           fmt::format("manifest {}: {} lines, {}; head {}", chain.id, chain.length(),
                       signature_of(chain, "not signed (--manifest-key)"), chain.head())});
    }
  }
  for (const auto& finding : result.findings) {
    print(fmt::format("{:<7}  {}\n",
                      finding.level == Level::good      ? "ok"
                      : finding.level == Level::warning ? "warning"
                                                        : "FAILED",
                      finding.text));
    if (!finding.hint.empty()) print(fmt::format("         {}\n", finding.hint));
  }
  return result.all_good() ? kDone : kNo;
}

/// Rewraps for the current recipients of --encrypt-to, on the host of the private key: not on the
/// archiver.
int rewrap(const store::StoreOptions& options) {
  constexpr std::size_t kTold = 20;
  if (options.identities.empty())
    throw expected("store rewrap needs --identity or --identity-command");
  if (options.recipients.empty()) throw expected("store rewrap needs --encrypt-to");
  const daemon::StopRequest stop;
  StoreLog log;
  store::OpenStore opened(
      options, [&] { return stop.made(); }, log);
  const auto result = store::rewrap(opened.store(), opened.layout(),
                                    {.identities = options.identities,
                                     .recipients = options.recipients,
                                     .key = options.manifest_key,
                                     .former = options.public_keys,
                                     .patience = {.seed = random_bits()},
                                     .stop = [&] { return stop.made(); }},
                                    log);
  for (std::size_t i = 0; i < result.left.size() && i < kTold; ++i)
    print_stderr("pgweir: left unchanged: {}: {}\n", result.left[i].name, result.left[i].why);
  if (result.left.size() > kTold) print_stderr("pgweir: and {} more\n", result.left.size() - kTold);
  print(fmt::format("rewrapped {} objects; {} had been rewrapped before; {} were left unchanged\n",
                    result.rewrapped, result.were_so, result.left.size()));
  if (result.stopped)
    throw Error(ErrorKind::retry, "stopped before all objects were checked")
        .hint("Run the command again to resume.");
  return result.left.empty() ? kDone : kNo;
}

int store_command(const Arguments& arguments) {
  forbid_core_files();
  const auto verb = arguments.verb();
  if (verb == "keygen") {
    make_manifest_key(arguments.words()[1]);
    return kDone;
  }
  const bool decrypts = verb == "get" || verb == "rewrap";
  const auto options = store_options_of(arguments, StoreName::directory,
                                        decrypts ? PrivateKeys::read : PrivateKeys::ignored);
  if (verb == "push")
    return arguments.has(kFollow) ? follow(arguments, options) : push(arguments, options);
  if (verb == "publish-partial") return publish_open(arguments, options);
  if (verb == "rewrap") return rewrap(options);
  if (verb == "ls") return list(options);
  if (verb == "get") return get(arguments, options);
  return check(arguments, options);
}

constexpr Option kServers[] = {
    kPrimaryIsGone.with({.verbs = &kOfPublication}),
    kDbname.says("servers that must not answer").with({.verbs = &kOfPublication}),
    kHost.with({.verbs = &kOfPublication}),
    kPort.with({.verbs = &kOfPublication}),
    kUsername.with({.verbs = &kOfPublication}),
    kNoPassword,
};
constexpr OptionGroup kStoreGroups[] = {
    {"Options:", kStoreVerbOptions},
    {"publish-partial: servers that must be down:", kServers},
    {kAccessHeading, kStoreOptions},
    {.heading = "get, rewrap, publish-partial: encrypted objects:",
     .options = kIdentityOptions,
     .rules = {.verbs = &kOfDecryption}}};
constexpr CommandVerb kStoreVerbs[] = {
    {"push"},           {"ls"},     {"get", 2, "a name and a target"},
    {"check"},          {"rewrap"}, {"keygen", 1, "a file"},
    {"publish-partial"}};

}  // namespace

constinit const Command kStoreCommand = {
    .name = "store",
    .summary = "upload complete segments to an object store",
    .about = R"(pgweir store maintains a second copy of an archive in an object store: S3
(AWS, Ceph, Swift, MinIO, R2), Azure Blob Storage (azure://CONTAINER/PREFIX),
or Google Cloud Storage (gs://BUCKET/PREFIX).

Usage:
  pgweir store push  -D DIRECTORY --store s3://BUCKET/PREFIX [OPTION]...
  pgweir store ls    --store s3://BUCKET/PREFIX [OPTION]...
  pgweir store get   --store s3://BUCKET/PREFIX [OPTION]... NAME TARGET
  pgweir store check [-D DIRECTORY] --store s3://BUCKET/PREFIX [OPTION]...
  pgweir store rewrap --store s3://BUCKET/PREFIX --identity FILE
                      --encrypt-to KEY [OPTION]...
  pgweir store keygen FILE
  pgweir store publish-partial [-D DIR] --store s3://BUCKET/PREFIX [OPTION]...

  push    upload the complete segments and history files that the store does
          not have: once, for cron, next to a receiver of any kind. Each is
          verified first and written once: objects are never overwritten. With
          --follow, it continues until it is stopped, and retries indefinitely.
  ls      list the segments and history files in the store, and their sizes
  get     download one of them into a new file: a segment by its plain name
          decompressed and verified, by another name as it is stored
  check   test everything that push needs, with a temporary object; with -D,
          report which files of the archive are in the store, which no longer
          are, and which differ from the manifest's line (size and MD5)
  rewrap  encrypt for the recipients of --encrypt-to, and for no others, on the
          machine that has the private key: a new header for each object
  keygen  create a key for --manifest-key in FILE, its public key in FILE.pub
  publish-partial
          after a disaster, for readers of complete segments (Barman, WAL-G):
          upload the flushed WAL after the last complete segment under the
          segment's final name, padded with zeros. Refused while a server or
          its slot answers. Without -D: from the store's own objects (receive
          --store-partial-interval)
)",
    .groups = kStoreGroups,
    .notes = R"(Credentials are taken from --store-credential-command, --store-credentials,
environment variables and files of the provider, a web identity, or a
container's or machine's metadata service, in this order (see
docs/store-providers.md).

Examples:
  pgweir store push -D /srv/wal --store s3://backup/pg \
      --store-endpoint https://s3.example.org --store-credentials keys
  pgweir -c /etc/pgweir/main.ini store check

Exit status: 0 done; 1 the store has no such file, or a check failed; 2 invalid
options, no credentials; 3 temporary failure (no answer, too many requests);
4 manual intervention required (different WAL under a name, another cluster,
insufficient permission, corrupted WAL).
)",
    .most_words = 3,
    .verbs = kStoreVerbs,
    .run = store_command,
};

}  // namespace weir::cli
