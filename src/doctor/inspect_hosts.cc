#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "doctor/failover.h"
#include "doctor/preferred.h"
#include "net/wait.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/parameters.h"
#include "pq/replication_stream.h"
#include "pq/slot_view.h"
#include "wal/server_version.h"

namespace weir::doctor {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kPatience = 5s;

/// A connection to one host, regardless of its role. `never` must outlive it.
pq::Connection connect_to(const std::string& conninfo, std::size_t host,
                          pq::Replication replication, const net::Wake& never) {
  return pq::Connection::open({.conninfo = conninfo,
                               .replication = replication,
                               .timeout = kPatience,
                               .first_host = host,
                               .only_first_host = true,
                               .any_role = true},
                              never);
}

/// Its WAL from there on, at most as much; empty: it no longer has it; nullopt: unknown. By a
/// stream without the slot, and without reporting a flush position: it changes nothing.
std::optional<std::string> read_wal(const HostFacts& host, const std::string& conninfo,
                                    std::size_t index, wal::Lsn at, std::size_t most) {
  constexpr std::string_view kUndefinedFile = "58P01";
  const auto timeline = host.history ? host.history->timeline_of(at) : host.identity.timeline;
  const net::Wake never;
  auto connection = connect_to(conninfo, index, pq::Replication::physical, never);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  try {
    auto stream = pq::ReplicationStream::start(connection, std::nullopt, at, timeline,
                                               connection.interrupt());
    for (std::string wal; wal.size() < most;) {
      const auto event = stream.next();
      if (const auto* data = std::get_if<wire::XLogData>(&event))
        for (const auto byte : data->wal.first(std::min(data->wal.size(), most - wal.size())))
          wal += static_cast<char>(byte);
      if (wal.size() == most) return wal;
      if (std::holds_alternative<pq::EndOfStream>(event)) return std::nullopt;
      if (!std::holds_alternative<pq::NothingYet>(event)) continue;
      if (!net::wait_for_socket(stream.socket(), true, false, nullptr, deadline))
        return std::nullopt;
      stream.receive();
    }
  } catch (const Error& error) {
    if (error.sqlstate() == kUndefinedFile) return std::string();
  }
  return std::nullopt;
}

std::optional<bool> has_wal_at(const HostFacts& host, const std::string& conninfo,
                               std::size_t index, wal::Lsn at) {
  if (at >= host.identity.flush_position) return true;  // there is none yet that could be missing
  const auto wal = read_wal(host, conninfo, index, at, 1);
  return wal ? std::optional(!wal->empty()) : std::nullopt;
}

/// Compares the last bytes that both have: each record names the one before it, so branches that
/// began earlier differ there, too.
void compare_wal(HostFacts& host, const std::string& conninfo, std::size_t index,
                 const FailoverFacts& archive, const ReadArchive& read) {
  constexpr std::uint64_t kCompared = 256;
  const auto end = common_end(archive, host);
  if (!end || !end->valid()) return;
  // One stream has the WAL of one timeline.
  const auto begin =
      host.history ? host.history->begin_of(host.history->timeline_of(wal::Lsn(end->byte() - 1)))
                   : std::nullopt;
  const auto at = std::max(wal::Lsn(end->byte() - std::min(kCompared, end->byte())),
                           begin.value_or(wal::Lsn()));
  auto ours = read(at, *end - at);
  // After an xlog switch, or in a partial segment that was published, zeros mean nothing.
  ours.resize(ours.find_last_not_of('\0') + 1);
  if (ours.empty()) return;
  const auto theirs = read_wal(host, conninfo, index, at, ours.size());
  if (theirs && !theirs->empty() && *theirs != ours) host.differs_before = *end;
}

/// Over an ordinary connection, if the server accepts one. An invalidated slot reserves no WAL.
std::optional<pq::SlotState> read_slot_by_sql(const std::string& conninfo, std::size_t host,
                                              const std::string& slot) {
  try {
    const net::Wake never;
    auto connection = connect_to(conninfo, host, pq::Replication::none, never);
    pq::SlotState state;
    const auto found = pq::find_slot(connection, slot);
    if (!found) return state;
    state.exists = true;
    state.type = found->type;
    if (found->restart_lsn && found->view.wal_status != "lost")
      state.restart_lsn = wal::Lsn::parse(*found->restart_lsn);
    return state;
  } catch (const Error&) {
    return std::nullopt;  // reported as a check that could not be made
  }
}

void ask(HostFacts& host, const std::string& conninfo, std::size_t index,
         const FailoverFacts& archive) {
  constexpr std::string_view kNotSupported = "0A000";
  const net::Wake never;
  auto connection = connect_to(conninfo, index, pq::Replication::physical, never);
  host.major = connection.server_major();
  host.relay = connection.parameter("pgweir_version").has_value();  // WalsenderState::greet()
  host.standby = pq::show_if_standby(connection);
  host.identity = pq::identify_system(connection);
  if (host.identity.timeline == 1) {
    host.history = wal::TimelineHistory(1);
  } else {
    try {
      host.history = wal::TimelineHistory::parse(
          host.identity.timeline, pq::timeline_history(connection, host.identity.timeline));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::conflict) throw;  // it has no such file
    }
  }
  if (archive.slot) {
    // Since 16, an invalidated slot may have a restart_lsn, and only an ordinary connection shows
    // that it is invalid. Before 15, only that one shows a slot at all.
    if (pq::unseen_invalidation(host.major) ||
        !wal::ServerVersion(host.major).has_read_replication_slot())
      host.slot = read_slot_by_sql(conninfo, index, *archive.slot);
    if (!host.slot && pq::setting_of_unseen_invalidation(connection).empty()) {
      try {
        host.slot = pq::read_replication_slot(connection, *archive.slot);
      } catch (const Error& error) {
        if (error.sqlstate() != kNotSupported) throw;
        host.slot = pq::SlotState{.exists = true, .type = "logical"};
      }
    }
  }
}

/// By one connection after the other: a walsender may be all that is free.
void inspect(HostFacts& host, const std::string& conninfo, std::size_t index,
             const FailoverFacts& archive, const ReadArchive& read) {
  ask(host, conninfo, index, archive);
  compare_wal(host, conninfo, index, archive, read);
  if (const auto next = would_go_on_at(archive, host))
    host.has_wal = has_wal_at(host, conninfo, index, *next);
}

void inspect(HostRole& host, const std::string& conninfo, std::size_t index,
             const std::optional<std::string>& slot) {
  const net::Wake never;
  auto connection = connect_to(conninfo, index, pq::Replication::physical, never);
  host.standby = pq::show_if_standby(connection);
  if (!slot || !wal::ServerVersion(connection.server_major()).has_read_replication_slot()) return;
  constexpr std::string_view kNotSupported = "0A000";  // a logical one
  try {
    if (const auto state = pq::read_replication_slot(connection, *slot))
      host.has_slot = state->exists;
  } catch (const Error& error) {
    if (error.sqlstate() != kNotSupported) throw;
    host.has_slot = false;
  }
}

/// Runs inspect() for each host of the connection string; an error is the host's trouble.
template <typename Host, typename... Wanted>
std::vector<Host> inspect_all(const std::string& conninfo, const Wanted&... wanted) {
  std::vector<Host> hosts;
  for (const auto& host : pq::hosts_of(conninfo)) {
    Host facts;
    facts.host = host.to_string();
    try {
      inspect(facts, conninfo, hosts.size(), wanted...);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage) throw;
      facts.trouble = Trouble{error.what(), {}};
      if (!error.hint().empty()) facts.trouble->todo.push_back(error.hint());
    }
    hosts.push_back(std::move(facts));
  }
  return hosts;
}

}  // namespace

std::vector<HostFacts> inspect_hosts(const std::string& conninfo, const FailoverFacts& archive,
                                     const ReadArchive& read) {
  return inspect_all<HostFacts>(conninfo, archive, read);
}

std::vector<HostRole> inspect_roles(const std::string& conninfo,
                                    const std::optional<std::string>& slot) {
  return inspect_all<HostRole>(conninfo, slot);
}

}  // namespace weir::doctor
