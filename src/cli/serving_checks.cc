#include "cli/serving_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/runtime/access_files.h"
#include "cli/runtime/serve_listeners.h"
#include "cli/shared/archive_slots.h"
#include "doctor/check_list.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "net/ip.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "relay/archive_end.h"

namespace weir::cli {

namespace {

/// The result of reading a file; unset, with a failed check, if it is invalid.
template <typename Read>
auto look(doctor::Checks& checks, const char* name, Read read) -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (const Error& error) {
    std::vector<std::string> todo;
    if (!error.hint().empty()) todo.emplace_back(error.hint());
    checks.fail(name, error.message() + (error.context().empty() ? "" : " ") + error.context(),
                std::move(todo));
    return std::nullopt;
  }
}

void check_users(doctor::Checks& checks, const ServeRequest& request, const relay::Rules& rules) {
  constexpr const char* kName = "serve_users";
  const auto users = look(checks, kName, [&] { return read_users(request); });
  if (!users) return;
  if (users->size() == 0 && !request.hba)
    return checks.fail(kName, "no client can connect: no user has a password",
                       {"--serve-users FILE, with lines \"name\" \"SCRAM-SHA-256$...\"; "
                        "docs/serve.md describes how to create them"});
  if (users->size() == 0 && rules.needs_passwords())
    return checks.warn(kName, "the HBA file requires a password, but no user has one",
                       {"--serve-users FILE"});
  if (request.users && open_to_others(*request.users))
    return checks.warn(kName, fmt::format("all users of this machine can read {}", *request.users),
                       {"chmod 640 " + shell_word(*request.users)});
  checks.ok(kName, fmt::format("{} with a password", users->size()));
}

/// Others than this machine can connect.
bool reaches_others(const ServeRequest& request) {
  if (!request.listen || request.listen->host.empty()) return false;
  return !request.listen->host.starts_with("127.") && request.listen->host != "[::1]";
}

void check_tls(doctor::Checks& checks, const ServeRequest& request) {
  constexpr const char* kName = "serve_tls";
  if (!request.tls) {
    if (reaches_others(request))
      return checks.warn(kName, "no TLS: WAL is sent over the network unencrypted",
                         {"--serve-tls-cert FILE --serve-tls-key FILE, and hostssl in the HBA "
                          "file"});
    return checks.ok(kName, "no TLS, but only clients on this machine can connect");
  }
  const auto tls = look(checks, kName, [&] { return read_tls(*request.tls); });
  if (!tls) return;
  doctor::check_expiry(checks, kName, "the certificate " + request.tls->certificate,
                       (*tls)->expires(), std::chrono::system_clock::now(),
                       {"a new certificate and its key in the same files, then SIGHUP"});
}

void check_address(doctor::Checks& checks, const ServeRequest& request) {
  constexpr const char* kName = "serve_address";
  if (!request.listen) return;
  try {
    const auto listener = bind_tcp(*request.listen);
    checks.ok(kName, listener.address().to_string() + " is free");
  } catch (const Error& error) {
    checks.warn(kName, error.message() + " " + error.context(),
                {"nothing, if this archive's relay is running", std::string(error.hint())});
  }
}

/// The result is valid for this host only: clients may use other name servers.
void check_name(doctor::Checks& checks, const ServeRequest& request) {
  constexpr const char* kName = "serve_name";
  if (!reaches_others(request)) return;
  const auto name = net::host_name();
  std::vector<net::Ip> own;
  for (const auto& network : net::own_networks()) own.push_back(network.address);
  std::string others;
  for (const auto& ip : net::look_up(name)) {
    const auto text = ip.to_string();
    const bool loopback = text.starts_with("127.") || text == "::1";
    const bool listened = request.listen->host == "*" || request.listen->host == text ||
                          request.listen->host == "[" + text + "]";
    if (!loopback && listened && std::find(own.begin(), own.end(), ip) != own.end())
      return checks.ok(kName,
                       fmt::format("\"{}\" resolves to {}, which is a listen address", name, text));
    others += (others.empty() ? "" : ", ") + text;
  }
  checks.unknown(
      kName,
      others.empty()
          ? fmt::format("this machine cannot resolve its own name \"{}\"", name)
          : fmt::format("\"{}\" resolves to {} on this machine, which is not a listen address "
                        "for other machines",
                        name, others),
      {"look the name up on the clients' machines: getent hosts " + name});
}

void check_socket(doctor::Checks& checks, const ServeRequest& request) {
  constexpr const char* kName = "serve_socket";
  if (!request.socket) return;
  const auto path = socket_path(request);
  const auto place = look(checks, kName, [&] { return io::inspect_place(*request.socket); });
  if (!place) return;
  if (path.size() > kLongestSocketPath)
    return checks.fail(kName,
                       fmt::format("the socket's path {} has {} characters, more than the "
                                   "maximum of {}",
                                   path, path.size(), kLongestSocketPath),
                       {"a shorter --serve-socket DIR, such as /run/pgweir"});
  if (!place->writable)
    return checks.fail(kName,
                       fmt::format("no socket can be created in {} (mode {:04o}, owner {})",
                                   *request.socket, place->mode, place->owner_name),
                       {"chown it to the user that serves, or use a directory of that user "
                        "(RuntimeDirectory= of systemd)"});
  constexpr unsigned kOthersEnter = 01;
  if ((place->mode & kOthersEnter) == 0)
    return checks.warn(
        kName,
        fmt::format("other users cannot enter {} (mode {:04o}): their clients "
                    "cannot reach the socket",
                    *request.socket, place->mode),
        {"nothing, if this is intended", "chmod o+x " + shell_word(*request.socket)});
  checks.ok(kName, path + " can be created");
}

void check_slots(doctor::Checks& checks, const ServeRequest& request,
                 const std::optional<std::string>& archive) {
  constexpr const char* kName = "serve_slots";
  const auto limit = request.slots.keep
                         ? fmt::format("a slot that retains more than {} is lost",
                                       format_size(*request.slots.keep))
                         : std::string(
                               "there is no limit: an unused slot prevents pgweir prune from "
                               "removing WAL until it is dropped (--serve-max-slot-wal-keep-size)");
  if (!archive) return checks.ok(kName, limit);
  const auto slots = look(checks, kName, [&] { return read_archive_slots(*archive); });
  if (!slots) return;
  for (const auto& slot : *slots)
    if (const auto warning = archive::warning_of(slot))
      return checks.warn(kName, *warning + "; " + limit, {"pgweir slot list -D " + *archive});
  checks.ok(kName, fmt::format("{} here; {}", slots->size(), limit));
}

void check_backups(doctor::Checks& checks, const ServeRequest& request,
                   const std::optional<std::string>& archive) {
  constexpr const char* kName = "serve_base_backup";
  if (!request.server.backups) return;
  const net::Wake never;
  const auto identity = look(checks, kName, [&] {
    auto connection = pq::Connection::open({.conninfo = request.server.backups->conninfo}, never);
    return std::pair(connection.server_name(), pq::identify_system(connection));
  });
  if (!identity) return;
  const auto& [server, system] = *identity;
  if (archive) {
    const auto cluster = look(
        checks, kName, [&] { return relay::find_cluster(*io::open_existing_directory(*archive)); });
    if (!cluster) return;
    if (*cluster && (*cluster)->system_identifier != system.system_identifier)
      return checks.fail(kName,
                         fmt::format("{} and the archive belong to different clusters", server),
                         {"the right server in --serve-base-backup"});
  }
  checks.ok(kName, server + " can be asked for base backups");
}

}  // namespace

std::vector<doctor::Check> check_serving(const ServeRequest& request,
                                         const std::optional<std::string>& archive) {
  doctor::Checks checks;
  const auto rules = look(checks, "serve_rules", [&] { return read_rules(request); });
  if (rules)
    checks.ok("serve_rules", request.hba ? fmt::format("{} can be read", *request.hba)
                                         : std::string("only from this machine, with a password"));
  check_users(checks, request, rules.value_or(relay::Rules()));
  check_tls(checks, request);
  check_address(checks, request);
  check_name(checks, request);
  check_socket(checks, request);
  check_slots(checks, request, archive);
  check_backups(checks, request, archive);
  return checks.take();
}

}  // namespace weir::cli
