#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "archive/find_losses.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "base/random.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/serve_options.h"
#include "cli/options/store_options.h"
#include "cli/serving_checks.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/bounded_look.h"
#include "cli/shared/stored_archive.h"
#include "doctor/check_list.h"
#include "doctor/checks.h"
#include "doctor/failover.h"
#include "doctor/inspect.h"
#include "doctor/preferred.h"
#include "doctor/report.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "pq/conninfo.h"
#include "store/ledger/manifest_reader.h"
#include "store/sealed/compare_key.h"
#include "store/store_check.h"

namespace weir::cli {

namespace {

constexpr auto kMeasure = option_of<time_value<0, 600 * kSecond>>(
    "measure", "TIME", "how long to measure the WAL rate (default: 3s)");
constexpr auto kFailover = flag("failover",
                                "only this check: what would happen if each host of the connection "
                                "string were promoted now; requires -D");
constexpr Choice<bool> kSlotHostsChoices[] = {{"current", false},
                                              {"all", true},
                                              {"none", false, /*former=*/true},
                                              {"listed", true, /*former=*/true}};
constexpr auto kSlotHosts = option_of<choice_value<kSlotHostsChoices>>(
    "slot-hosts", "WHERE", "current (default) or all, as for receive");
constexpr Choice<doctor::PreferredRole> kPreferChoices[] = {
    {"any", doctor::PreferredRole::any},
    {"primary", doctor::PreferredRole::primary},
    {"standby", doctor::PreferredRole::standby}};
constexpr auto kPrefer =
    option_of<choice_value<kPreferChoices>>("prefer", "ROLE",
                                            "any (default), primary, or standby, as for receive: "
                                            "report what it means with the hosts that answer");
constexpr auto kDoctorJson = flag("json", "JSON output; see docs/doctor.md");
constexpr Option kDoctorOptions[] = {
    kDbname.says("connection string, URI, or database name, as for receive"),
    kHost,
    kPort,
    kUsername.says("role that receives WAL"),
    kNoPassword,
    kSlot.says("slot that will be used"),
    kDirectory.says("archive directory; flushes of a hidden file are timed in it"),
    kMeasure,
    kSlotHosts,
    kPrefer,
    kConfirm.of_section("store").says("local (default) or stored: as receive is going to be given"),
    kFailover,
    kDoctorJson,
    kConfig,
    kHelp,
};

constexpr auto kServe = option_of<listen_value>(
    "serve", "[ADDRESS:]PORT", "address on which serve, or receive with --serve, will listen");
constexpr Option kServing[] = {kServe,          kServeSocket, kServeHba,   kServeUsers,
                               kServeTlsCert,   kServeTlsKey, kServeTlsCa, kServeMaxSlotWalKeepSize,
                               kServeBaseBackup};
constexpr Option kConnection[] = {kDbname, kHost, kPort, kUsername, kSlot};

/// If only serving is checked there may be no server any more.
bool asks_for_server(const Arguments& arguments, bool serving) {
  return !serving || std::any_of(std::begin(kConnection), std::end(kConnection),
                                 [&](const Option& option) { return arguments.has(option); });
}

std::size_t hosts_in(const std::string& conninfo) { return pq::hosts_of(conninfo).size(); }

/// Commits of the archive that a host lacks.
std::optional<doctor::CommitCount> count_commits(io::Directory& directory,
                                                 const doctor::FailoverFacts& facts,
                                                 const doctor::LeftBehind& left) {
  archive::Loss loss;
  loss.kind = archive::Loss::Kind::lost_branch;
  loss.timeline = left.timeline;
  loss.next_timeline = left.timeline + 1;
  loss.begin = loss.counted_to = left.from;
  loss.end = left.to;
  loss.system_identifier = facts.identity.system_identifier;
  loss.segment_size = facts.identity.segment_size;
  archive::count_commits(directory, archive::list_archive(directory), loss);
  if (!loss.commits) return std::nullopt;
  return doctor::CommitCount{*loss.commits, loss.counted_to >= loss.end, loss.prepared};
}

/// Along the history of its newest timeline. Damage is for verify to report.
std::string read_archive(io::Directory& directory, const doctor::FailoverFacts& facts, wal::Lsn at,
                         std::size_t most) {
  const auto timeline = facts.ends.rbegin()->first;
  std::string wal(most, '\0');
  archive::WalReader reader(directory, {.segment_size = facts.identity.segment_size,
                                        .timeline = timeline,
                                        .history = facts.timelines.history(timeline),
                                        .unfinished = true});
  try {
    const auto read = reader.read(at, std::as_writable_bytes(std::span(wal)));
    wal.resize(read.state == archive::WalSource::State::bytes ? read.count : 0);
  } catch (const Error&) {
    wal.clear();
  }
  return wal;
}

int failover(const Arguments& arguments) {
  const auto path = required_directory(arguments);
  const auto conninfo = conninfo_of(arguments);
  const auto directory = io::open_directory(path);
  const auto listing = archive::list_archive(*directory);
  const auto identity = archive::read_identity(*directory, listing);
  if (!identity)
    throw Error(ErrorKind::refused, "the archive is empty, so a failover cannot be assessed")
        .with("directory", path)
        .hint("Archive some WAL first.");
  doctor::FailoverFacts facts{
      .slot = arguments.get(kSlot),
      .identity = *identity,
      .timelines = archive::Timelines::read(*directory, listing),
      .ends = archive::read_timeline_ends(*directory, listing, identity->segment_size)};
  // Only a running receiver itself knows its flush position.
  if (const auto durable = durable_end_of(path)) facts.ends[durable->timeline] = durable->flush;
  std::vector<doctor::Check> checks;
  std::vector<doctor::Candidate> candidates;
  const auto read = [&](wal::Lsn at, std::size_t most) {
    return read_archive(*directory, facts, at, most);
  };
  for (auto& host : doctor::inspect_hosts(conninfo, facts, read)) {
    std::optional<doctor::CommitCount> commits;
    if (const auto left = doctor::would_leave_behind(facts, host))
      commits = count_commits(*directory, facts, *left);
    checks.push_back(doctor::judge_failover(facts, host, commits));
    candidates.push_back({std::move(host), commits});
  }
  if (auto primaries = doctor::judge_primaries(candidates)) checks.push_back(std::move(*primaries));
  const auto conclusion = doctor::conclude_failover(facts, candidates);
  if (arguments.has(kDoctorJson))
    print_data(doctor::to_json(checks, conclusion.known, conclusion.text) + "\n");
  else
    print_coloured(doctor::to_text(checks, conclusion.text));
  if (!doctor::healthy(checks)) return kNo;
  return conclusion.known ? kDone : kTryAgain;
}

doctor::Check judge_preference(const std::string& conninfo, const doctor::Plan& plan) {
  const auto values = pq::expand_conninfo(conninfo);
  const auto attrs = values.find("target_session_attrs");
  return doctor::judge_preferred(plan, attrs == values.end() ? "" : attrs->second,
                                 doctor::inspect_roles(conninfo, plan.slot));
}

/// Checks which objects would be lost with a key.
void check_keys(const Arguments& arguments, store::OpenStore& opened, store::StoreCheck& result) {
  using Level = store::StoreFinding::Level;
  constexpr std::size_t kSomeObjects = 100;
  const auto chains = store::read_manifests(opened.store(), opened.layout(), {}, {});
  const auto unsigned_chain = std::find_if(chains.begin(), chains.end(),
                                           [](const auto& chain) { return !chain.signed_by; });
  if (unsigned_chain != chains.end())
    result.findings.push_back(
        {Level::warning,
         fmt::format("the manifest {} is not signed: anyone who can write to the store can "
                     "change it, too",
                     unsigned_chain->id),
         "Create a key with \"pgweir store keygen FILE\", and specify it with --manifest-key."});
  const auto page = opened.store().list(opened.layout().wal_prefix(), "", kSomeObjects);
  if (std::none_of(page.objects.begin(), page.objects.end(),
                   [](const auto& object) { return object.key.ends_with(store::kAgeSuffix); }))
    return;
  result.findings.push_back(
      {Level::good,
       "uploads are encrypted. Without the private key (identity), the objects cannot be read: "
       "keep it in two places that are not on this machine, and verify the objects with it "
       "regularly on another machine"});
  const auto directory = arguments.get(kDirectory);
  if (!directory || io::type_of(*directory) != io::PathType::directory) return;
  const auto name = std::string(store::kCompareKeyName);
  if (io::type_of(*directory + "/" + name) == io::PathType::file)
    result.findings.push_back(
        {Level::good, fmt::format("{} is the key that compares encrypted objects: include it in "
                                  "backups of this machine (without it, objects can no longer be "
                                  "compared)",
                                  *directory + "/" + name)});
}

/// Checks what uploading and restoring require, with a temporary object. `cluster`: that of the
/// server or the directory.
std::vector<doctor::Check> check_store(const Arguments& arguments,
                                       std::optional<std::uint64_t> cluster) {
  forbid_core_files();
  StoreLog log;
  doctor::Checks checks;
  store::StoreCheck result;
  try {
    store::OpenStore opened(store_options_of(arguments), nullptr, log);
    const auto credentials = opened.credentials().get();
    result.findings.push_back(
        {store::StoreFinding::Level::good, "credentials from " + credentials.source});
    store::check_store(opened.store(), opened.layout(), random_bits(), result, cluster);
    if (result.all_good()) store::check_settings(opened.store(), opened.layout(), result);
    if (result.all_good()) check_keys(arguments, opened, result);
  } catch (const Error& error) {
    result.findings.push_back({store::StoreFinding::Level::bad, error.what(), error.hint()});
  }
  for (const auto& finding : result.findings) {
    const auto todo =
        finding.hint.empty() ? std::vector<std::string>() : std::vector<std::string>{finding.hint};
    switch (finding.level) {
      case store::StoreFinding::Level::good:
        checks.ok("store", finding.text);
        break;
      case store::StoreFinding::Level::warning:
        checks.warn("store", finding.text, todo);
        break;
      case store::StoreFinding::Level::bad:
        checks.fail("store", finding.text, todo);
        break;
    }
  }
  return checks.take();
}

/// A directory that hangs, as with a network file system, is one of the findings.
doctor::ArchiveFacts inspect_archive(const std::string& directory,
                                     std::optional<wal::SegmentSize> segment_size) {
  try {
    return look_within_bounds(directory, [directory, segment_size] {
      return doctor::inspect_archive(directory, segment_size);
    });
  } catch (const FileSystemHangs& error) {
    doctor::ArchiveFacts facts;
    facts.path = directory;
    facts.trouble = doctor::Trouble{error.what(), {error.hint()}};
    return facts;
  }
}

int doctor_command(const Arguments& arguments) {
  if (arguments.has(kFailover)) return failover(arguments);
  const auto directory = arguments.get(kDirectory);
  doctor::Plan plan;
  plan.slot = arguments.get(kSlot);
  const auto measure = arguments.get(kMeasure, std::chrono::seconds(3));
  const bool serving = std::any_of(std::begin(kServing), std::end(kServing),
                                   [&](const Option& option) { return arguments.has(option); });
  const bool in_store = arguments.has("store");
  const auto request = read_serve(arguments, arguments.get(kServe));
  const auto conninfo = conninfo_of(arguments);
  plan.hosts = hosts_in(conninfo);
  plan.slot_on_all_hosts = arguments.get(kSlotHosts, false);
  plan.prefer = arguments.get(kPrefer, doctor::PreferredRole::any);
  plan.confirm_stored = arguments.get(kConfirm, false);
  if (const auto values = pq::expand_conninfo(conninfo); true)
    if (const auto name = values.find("application_name"); name != values.end())
      if (!name->second.empty()) plan.application_name = name->second;

  std::vector<doctor::Check> checks;
  const auto add = [&](std::vector<doctor::Check> more) {
    std::move(more.begin(), more.end(), std::back_inserter(checks));
  };
  std::optional<doctor::ServerFacts> server;
  std::optional<std::uint64_t> cluster;
  if (asks_for_server(arguments, serving || in_store)) {
    server = doctor::inspect_server(conninfo, ordinary_conninfo(conninfo), plan.slot, measure);
    cluster = server->system_identifier;
    add(doctor::judge_server(*server, plan));
    if (plan.prefer != doctor::PreferredRole::any) add({judge_preference(conninfo, plan)});
  }
  if (directory) {
    std::optional<wal::SegmentSize> size;
    if (const auto bytes = server ? server->size("wal_segment_size") : std::nullopt)
      size = wal::SegmentSize::of(*bytes);
    const auto archive = inspect_archive(*directory, size);
    if (!cluster && archive.identity) cluster = archive.identity->system_identifier;
    add(doctor::judge_archive(archive));
    if (server) {
      // Another program, such as pg_receivewal, may have written more WAL there meanwhile.
      const auto end = archive.timeline_ends.find(server->timeline);
      if (end != archive.timeline_ends.end() && end->second > server->position)
        doctor::renew_position(*server, conninfo);
      add(doctor::judge_both(*server, archive, plan));
    }
  }
  if (serving) add(check_serving(request, directory));
  if (in_store) add(check_store(arguments, cluster));
  if (arguments.has(kDoctorJson))
    print_data(doctor::to_json(checks) + "\n");
  else
    print_coloured(doctor::to_text(checks));
  return doctor::healthy(checks) ? kDone : kNo;
}

constexpr Topic kOnServing{"serve", "listen address, authentication, TLS, slots, base backups"};
constexpr OptionGroup kDoctorGroups[] = {
    {"Options:", kDoctorOptions},
    {"Object store, tested with a temporary object (without -d no server is queried):",
     kStoreItself},
    {"Prerequisites of serving (without -d, -h, -p, -U, -S no server is queried):",
     kServing,
     {},
     &kOnServing},
    {kAccessHeading, kStoreAccess, {}, &kOnStore}};

}  // namespace

constinit const Command kDoctorCommand = {
    .name = "doctor",
    .summary = "check the prerequisites of archiving: server, slot, directory, disk",
    .about = R"(pgweir doctor checks the prerequisites of archiving: the server's settings, the
role, the slot, the directory and its disk. Each finding says what to change. It
makes no changes.

Usage:
  pgweir doctor [-d CONNINFO] [-S SLOT] [-D DIRECTORY] [OPTION]...
  pgweir doctor --store s3://BUCKET/PREFIX [OPTION]...
  pgweir doctor --failover [-d CONNINFO] [-S SLOT] -D DIRECTORY [--json]
)",
    .groups = kDoctorGroups,
    .notes = R"(Examples:
  pgweir doctor -d "host=db1 user=archiver" -S archive -D /srv/wal
  pgweir -c /etc/pgweir/main.conf doctor --measure 1min
  pgweir doctor --serve '*:5433' --serve-users /etc/pgweir/users
  pgweir doctor --failover -d "host=db1,db2 user=repl" -S weir -D /srv/wal

A role with only REPLICATION is sufficient; checks that need more are reported.

Exit status: 0 archiving will work (there can be warnings); 1 it will not, or
WAL can be lost; 2 invalid options. With --failover: 1 a failover to one of the
hosts would lose commits or leave a gap, or two hosts are primaries on one
timeline; 3 unknown, because no host answered.
)",
    .run = doctor_command,
};

}  // namespace weir::cli
