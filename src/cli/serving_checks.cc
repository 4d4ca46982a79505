#include "cli/serving_checks.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "cli/access_files.h"
#include "cli/serve_listeners.h"
#include "doctor/check_list.h"
#include "io/small_file.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

/// What the reading of a file gives; unset, and told, where it is wrong.
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
    return checks.fail(kName, "nobody can connect: no user has a password",
                       {"--serve-users FILE, with lines \"name\" \"SCRAM-SHA-256$...\": "
                        "docs/serve.md tells how they are made"});
  if (users->size() == 0 && rules.needs_passwords())
    return checks.warn(kName, "rules ask for a password, and no user has one",
                       {"--serve-users FILE"});
  if (request.users && open_to_others(*request.users))
    return checks.warn(kName, fmt::format("everybody on this machine can read {}", *request.users),
                       {"chmod 640 " + *request.users});
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
      return checks.warn(kName, "there is no TLS: WAL goes over the network as it is",
                         {"--serve-tls-cert FILE --serve-tls-key FILE, and hostssl in the rules"});
    return checks.ok(kName, "there is no TLS, and nobody from elsewhere can connect");
  }
  const auto tls = look(checks, kName, [&] { return read_tls(*request.tls); });
  if (!tls) return;
  const auto expires = (*tls)->expires();
  const auto left = expires - std::chrono::system_clock::now();
  const auto text =
      fmt::format("the certificate {} {} {}", request.tls->certificate,
                  left <= 0s ? "has expired on" : "is valid until", format_time(expires));
  const std::vector<std::string> todo = {
      "a new certificate and its key in the same files, then SIGHUP"};
  if (left <= 0s)
    checks.fail(kName, text, todo);
  else if (left < kExpiresSoon)
    checks.warn(kName, text, todo);
  else
    checks.ok(kName, text);
}

void check_address(doctor::Checks& checks, const ServeRequest& request) {
  constexpr const char* kName = "serve_address";
  if (!request.listen) return;
  try {
    const auto listener = bind_tcp(*request.listen);
    checks.ok(kName, listener.address().to_string() + " is free");
  } catch (const Error& error) {
    checks.warn(kName, error.message() + " " + error.context(),
                {"nothing, if that is this archive's relay at work", std::string(error.hint())});
  }
}

}  // namespace

std::vector<doctor::Check> check_serving(const ServeRequest& request) {
  doctor::Checks checks;
  const auto rules = look(checks, "serve_rules", [&] { return read_rules(request); });
  if (rules)
    checks.ok("serve_rules", request.hba ? fmt::format("{} can be read", *request.hba)
                                         : std::string("this machine alone, with a password"));
  check_users(checks, request, rules.value_or(relay::Rules()));
  check_tls(checks, request);
  check_address(checks, request);
  return checks.take();
}

}  // namespace weir::cli
