#include "doctor/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <thread>
#include <utility>

#include "archive/listing.h"
#include "archive/own_names.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "io/posix_directory.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connect_advice.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/parameters.h"
#include "pq/slot_view.h"
#include "wal/page.h"
#include "wal/server_version.h"

namespace weir::doctor {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTime = 10s;
constexpr std::size_t kMostSyncs = 50;
constexpr auto kSyncTime = 2s;

constexpr const char* kSettings[] = {
    "wal_level",
    "max_wal_senders",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "wal_keep_size",
    "idle_replication_slot_timeout",
    "synchronous_standby_names",
    "synchronous_commit",
    "synchronized_standby_slots",
    "wal_sender_timeout",
    "wal_sender_shutdown_timeout",
    "output_plugin_libraries",
    "archive_mode",
    "archive_command",
    "archive_library",
    "wal_segment_size",
    "fsync",
    "full_page_writes",
    "data_checksums",
    "summarize_wal",
};

Trouble trouble_of(const Error& error) {
  return {error.what(), error.hint().empty() ? std::vector<std::string>{}
                                             : std::vector<std::string>{error.hint()}};
}

/// Connects and runs the query. Returns the error, if there was one.
template <typename Ask>
std::optional<Trouble> attempt_connection(pq::ConnectOptions options, Ask&& ask) {
  const net::Wake never;
  std::vector<std::pair<std::string, pq::Advice>> advice;
  options.timeout = kTime;
  options.advice = [&](const std::string& host, const pq::Advice& of_host) {
    advice.emplace_back(host, of_host);
  };
  try {
    auto connection = pq::Connection::open(options, never);
    ask(connection);
    return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    if (advice.empty()) return trouble_of(error);  // connected
    Trouble trouble{error.what()};
    for (const auto& [host, of_host] : advice) {
      auto text = advice.size() > 1 ? fmt::format("{}: {}", host, of_host.text) : of_host.text;
      if (!of_host.lines.empty()) text += ':';
      if (!of_host.text.empty()) trouble.todo.push_back(std::move(text));
      trouble.todo.insert(trouble.todo.end(), of_host.lines.begin(), of_host.lines.end());
    }
    return trouble;
  }
}

std::optional<std::int64_t> number(const std::optional<std::string>& text) {
  return text ? parse_number<std::int64_t>(*text) : std::nullopt;
}

/// A lost connection, or no answer in time: all later queries would fail, too.
bool ends_connection(const Error& error) {
  return error.kind() == ErrorKind::retry && error.sqlstate().empty();
}

/// Runs a query that may be rejected; its results stay unset then. Throws if that ends the
/// connection.
template <typename Ask>
void attempt(ServerFacts& facts, std::string_view what, Ask&& ask) {
  try {
    ask();
  } catch (const Error& error) {
    if (ends_connection(error)) throw;
    facts.unseen.push_back(fmt::format("{}: {}", what, error.message()));
  }
}

void inspect_by_replication(ServerFacts& facts, pq::Connection& connection) {
  attempt(facts, "the system identifier", [&] {
    const auto identity = pq::identify_system(connection);
    facts.system_identifier = identity.system_identifier;
    facts.timeline = identity.timeline;
    facts.position = identity.flush_position;
  });
  if (facts.timeline == 1) facts.history = wal::TimelineHistory(1);
  if (facts.timeline > 1)
    attempt(facts, "its timeline's history", [&] {
      facts.history = wal::TimelineHistory::parse(facts.timeline,
                                                  pq::timeline_history(connection, facts.timeline));
    });
  // A role's or a database's settings (ALTER ROLE ... SET), which the other connection has, do not
  // affect a physical walsender. (A setting that it does not have would be a server error.)
  for (const auto* name : kSettings) {
    if (!facts.plain_trouble && !facts.settings.contains(name)) continue;
    try {
      facts.settings[name] = pq::show(connection, name);
    } catch (const Error& error) {
      // Otherwise unknown to this version, or not visible to this role.
      if (ends_connection(error)) throw;
    }
  }
}

/// pg_settings omits settings that the role must not see (for example output_plugin_libraries);
/// current_setting() alone would be a server error.
void read_settings(ServerFacts& facts, pq::Connection& connection) {
  for (const auto* name : kSettings)
    attempt(facts, name, [&] {
      const auto rows = connection.execute(
          "SELECT pg_catalog.current_setting(name, true) FROM pg_catalog.pg_settings WHERE name "
          "= " +
              connection.quote_literal(name),
          kTime);
      if (!rows.empty() && rows[0][0]) facts.settings[name] = *rows[0][0];
    });
  attempt(facts, "settings that wait for a restart", [&] {
    const auto rows = connection.execute(
        "SELECT name FROM pg_catalog.pg_settings WHERE pending_restart ORDER BY name", kTime);
    for (const auto& row : rows)
      if (std::find(std::begin(kSettings), std::end(kSettings), row.at(0)) != std::end(kSettings))
        facts.pending_restart.push_back(*row[0]);
  });
}

void read_slot(ServerFacts& facts, pq::Connection& connection, const std::string& name) {
  ServerFacts::Slot slot;
  if (auto found = pq::find_slot(connection, name, kTime)) {
    slot.type = found->type;
    slot.temporary = found->temporary;
    slot.view = std::move(found->view);
    if (found->restart_lsn) slot.restart_lsn = wal::Lsn::parse(*found->restart_lsn);
  }
  facts.slot = slot;
}

void read_clock(ServerFacts& facts, pq::Connection& connection) {
  // The fastest of a few: its answer is closest to its query.
  for (int i = 0; i < 5; ++i) {
    const auto before = std::chrono::system_clock::now();
    const auto rows = connection.execute(
        "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint", kTime);
    const auto after = std::chrono::system_clock::now();
    const auto theirs = rows.empty() ? std::nullopt : number(rows[0][0]);
    if (!theirs) return;
    const auto half = std::chrono::ceil<std::chrono::milliseconds>((after - before) / 2);
    if (facts.clock_ahead && half >= facts.clock_error) continue;
    const auto ours =
        std::chrono::duration_cast<std::chrono::milliseconds>((before + half).time_since_epoch());
    facts.clock_ahead = std::chrono::milliseconds(*theirs) - ours;
    facts.clock_error = half;
  }
}

/// A server's position, and the time: two of them determine its WAL rate.
struct Point {
  std::string server;
  wal::Lsn position;
  Clock::time_point at;
};

std::optional<Point> read_position(pq::Connection& connection) {
  const auto rows = connection.execute(fmt::format("SELECT {}", pq::kPositionSql), kTime);
  if (rows.empty() || !rows[0][0]) return std::nullopt;
  const auto position = wal::Lsn::parse(*rows[0][0]);
  if (!position) return std::nullopt;
  return Point{connection.server_name(), *position, Clock::now()};
}

/// No session is kept open meanwhile: a smart shutdown would wait for it.
void measure_rate(ServerFacts& facts, const std::string& conninfo, const Point& first,
                  std::chrono::milliseconds measure) {
  std::this_thread::sleep_until(first.at + measure);
  try {
    const net::Wake never;
    auto connection = pq::Connection::open(
        {.conninfo = conninfo, .replication = pq::Replication::none, .timeout = kTime}, never);
    const auto second = read_position(connection);
    if (!second || second->server != first.server || second->position < first.position) return;
    const std::chrono::duration<double> seconds = second->at - first.at;
    facts.wal_rate = static_cast<double>(second->position - first.position) / seconds.count();
  } catch (const Error& error) {
    facts.unseen.push_back(fmt::format("its rate of WAL: {}", error.message()));
  }
}

void read_average_rate(ServerFacts& facts, pq::Connection& connection) {
  if (!wal::ServerVersion(connection.server_major()).has_wal_statistics()) return;
  const auto rows = connection.execute(
      "SELECT wal_bytes::bigint, extract(epoch FROM pg_catalog.now() - stats_reset)::bigint "
      "FROM pg_catalog.pg_stat_wal",
      kTime);
  if (rows.empty()) return;
  const auto bytes = number(rows[0][0]);
  const auto seconds = number(rows[0][1]);
  if (bytes && seconds && *seconds >= 60)
    facts.wal_rate_average = static_cast<double>(*bytes) / static_cast<double>(*seconds);
}

void inspect_by_sql(ServerFacts& facts, pq::Connection& connection,
                    const std::optional<std::string>& slot) {
  read_settings(facts, connection);
  attempt(facts, "the role", [&] {
    const auto rows = connection.execute(
        "SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user", kTime);
    if (rows.empty()) return;
    facts.user = rows[0][0].value_or("");
    facts.superuser = rows[0][1] == "t";
  });
  attempt(facts, "whether it is a standby", [&] {
    // The last received position stays when the connection is lost.
    const auto rows = connection.execute(
        fmt::format("SELECT pg_catalog.pg_is_in_recovery(), {}", pq::kReceivesSql), kTime);
    facts.standby = rows.at(0).at(0) == "t";
    if (*facts.standby) facts.standby_receives = rows[0][1] == "t";
  });
  attempt(facts, "its walsenders", [&] {
    const auto rows =
        connection.execute("SELECT count(*) FROM pg_catalog.pg_stat_replication", kTime);
    if (const auto count = number(rows.at(0).at(0))) facts.senders = static_cast<int>(*count);
  });
  attempt(facts, "its slots", [&] {
    const auto slots = pq::read_slots(connection, std::nullopt, kTime);
    facts.slots = static_cast<int>(slots.size());
    std::set<std::string> plugins;
    for (const auto& each : slots)
      if (each.plugin) plugins.insert(*each.plugin);
    facts.plugins.assign(plugins.begin(), plugins.end());
    if (slot) read_slot(facts, connection, *slot);
  });
  attempt(facts, "its archiver", [&] {
    const auto rows = connection.execute(
        "SELECT failed_count, last_failed_time IS NOT NULL AND (last_archived_time IS NULL OR "
        "last_failed_time > last_archived_time), last_failed_wal FROM pg_catalog.pg_stat_archiver",
        kTime);
    if (rows.empty()) return;
    facts.archiver = ServerFacts::Archiver{.failed = number(rows[0][0]).value_or(0),
                                           .failing = rows[0][1] == "t",
                                           .last_failed = rows[0][2].value_or("")};
  });
  attempt(facts, "its clock", [&] { read_clock(facts, connection); });
  attempt(facts, "its rate of WAL", [&] { read_average_rate(facts, connection); });
}

ArchiveFacts::SyncTimes time_syncs(io::Directory& directory) {
  // A name that the next start of a receiver would clean away, should this be killed.
  const auto name = archive::temporary_name("FFFFFFFFFFFFFFFFFFFFFFFF");
  directory.remove(name);
  auto file = directory.create(name);
  std::vector<std::chrono::microseconds> times;
  try {
    constexpr std::size_t kBlock = 8192;
    const std::vector<std::byte> block(kBlock, std::byte{0x5a});
    file->allocate(kBlock * kMostSyncs);
    file->sync();
    const auto begin = Clock::now();
    while (times.size() < kMostSyncs && (times.size() < 3 || Clock::now() - begin < kSyncTime)) {
      file->write_at(kBlock * times.size(), block);
      const auto before = Clock::now();
      file->sync();
      times.push_back(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - before));
    }
    file->close();
  } catch (...) {
    directory.remove(name);
    throw;
  }
  directory.remove(name);
  std::sort(times.begin(), times.end());
  return {.count = times.size(), .median = times[times.size() / 2], .longest = times.back()};
}

void inspect_content(ArchiveFacts& facts, io::Directory& directory,
                     std::optional<wal::SegmentSize> segment_size) {
  const auto listing = archive::list_archive(directory);
  facts.identity = archive::read_identity(directory, listing);
  if (facts.identity) segment_size = facts.identity->segment_size;
  const auto newest =
      facts.identity ? archive::SegmentFileName::parse(facts.identity->file) : std::nullopt;
  if (newest)
    if (const auto page = archive::read_first_page_header(directory, *newest);
        page && wal::magic_is_newer_than_known(page->magic))
      facts.newer_magic = page->magic;
  if (segment_size) facts.end = archive::find_resume_point(directory, listing, *segment_size);
  facts.timelines = archive::Timelines::read(directory, listing);
  if (segment_size)
    facts.timeline_ends = archive::read_timeline_ends(directory, listing, *segment_size);
}

}  // namespace

std::optional<std::string> ServerFacts::setting(std::string_view name) const {
  const auto found = settings.find(name);
  return found == settings.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::uint64_t> ServerFacts::size(std::string_view name) const {
  const auto text = setting(name);
  return text ? parse_size(*text) : std::nullopt;
}

std::optional<std::chrono::milliseconds> ServerFacts::time(std::string_view name) const {
  const auto text = setting(name);
  return text ? pq::parse_guc_time(*text, "ms") : std::nullopt;
}

std::optional<int> ServerFacts::number(std::string_view name) const {
  const auto value = doctor::number(setting(name));
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

ServerFacts inspect_server(const std::string& conninfo, const std::string& ordinary_conninfo,
                           const std::optional<std::string>& slot,
                           std::chrono::milliseconds measure) {
  ServerFacts facts;
  const auto expanded = pq::expand_conninfo(conninfo);
  if (const auto user = expanded.find("user"); user != expanded.end()) facts.user = user->second;
  facts.certificates.own = pq::look_at_secrets(pq::secret_files(expanded));
  facts.certificates.now = std::chrono::system_clock::now();
  std::optional<Point> first;
  facts.plain_trouble = attempt_connection(
      {.conninfo = ordinary_conninfo, .replication = pq::Replication::none},
      [&](pq::Connection& connection) {
        facts.server = connection.server_name();
        facts.version = connection.server_version();
        inspect_by_sql(facts, connection, slot);
        if (measure > 0ms)
          attempt(facts, "its position", [&] { first = read_position(connection); });
      });
  facts.replication_trouble =
      attempt_connection({.conninfo = conninfo}, [&](pq::Connection& connection) {
        facts.server = connection.server_name();
        facts.version = connection.server_version();
        facts.certificates.server_expires = connection.server_certificate_expires();
        inspect_by_replication(facts, connection);
        if (slot && !facts.slot) {
          attempt(facts, "the slot", [&] {
            if (const auto state = pq::read_replication_slot(connection, *slot)) {
              facts.slot = ServerFacts::Slot{};
              facts.slot->view.exists = state->exists;
              facts.slot->type = state->type;
              facts.slot->restart_lsn = state->restart_lsn;
            }
          });
        }
      });
  if (first) measure_rate(facts, ordinary_conninfo, *first, measure);
  return facts;
}

void renew_position(ServerFacts& facts, const std::string& conninfo) {
  static_cast<void>(attempt_connection({.conninfo = conninfo}, [&](pq::Connection& connection) {
    const auto identity = pq::identify_system(connection);
    if (connection.server_name() == facts.server && identity.timeline == facts.timeline &&
        identity.system_identifier == facts.system_identifier)
      facts.position = identity.flush_position;
  }));
}

ArchiveFacts inspect_archive(const std::string& path,
                             std::optional<wal::SegmentSize> segment_size) {
  ArchiveFacts facts;
  facts.path = path;
  std::unique_ptr<io::Directory> directory;
  try {
    facts.place = io::inspect_place(path);
    directory = io::open_directory(path);
  } catch (const Error& error) {
    facts.trouble = trouble_of(error);
    return facts;
  }
  try {
    archive::require_not_a_server_directory(*directory);
  } catch (const Error& error) {
    facts.server_directory = true;
    facts.trouble = trouble_of(error);
    return facts;
  }
  // Released at once: a receiver that starts now must not be rejected.
  facts.in_use = !io::open_directory(path)->try_lock();
  if (facts.place.writable && !facts.place.read_only) {
    try {
      facts.syncs = time_syncs(*directory);
    } catch (const Error& error) {
      facts.write_trouble = trouble_of(error);
    }
  }
  try {
    inspect_content(facts, *directory, segment_size);
  } catch (const Error& error) {
    facts.content_trouble = trouble_of(error);
  }
  return facts;
}

}  // namespace weir::doctor
