#include "doctor/preferred.h"

#include <fmt/format.h>

#include <algorithm>

namespace weir::doctor {

namespace {

/// "db2:5432, db3:5432"
std::string listed(const std::vector<const HostRole*>& hosts) {
  std::string text;
  for (const auto* host : hosts) text += (text.empty() ? "" : ", ") + host->host;
  return text;
}

}  // namespace

Check judge_preferred(const Plan& plan, const std::string& session_attrs,
                      const std::vector<HostRole>& hosts) {
  const bool standby = plan.prefer == PreferredRole::standby;
  const std::string role = standby ? "standby" : "primary";
  const auto say = [](Level level, std::string found, std::vector<std::string> todo = {}) {
    return Check{.name = "preferred_role",
                 .level = level,
                 .found = std::move(found),
                 .todo = std::move(todo)};
  };
  if (!session_attrs.empty() && session_attrs != "any")
    return say(Level::failure,
               fmt::format("--prefer {} and target_session_attrs={} exclude each other: receive "
                           "does not start",
                           role, session_attrs),
               {"leave target_session_attrs out of the connection string"});
  if (hosts.size() < 2)
    return say(Level::warning,
               fmt::format("--prefer {} has no effect: the connection string has one host", role),
               {"name all servers of the cluster, as in host=db1,db2,db3"});
  std::vector<const HostRole*> preferred, without_slot, other, unknown, silent;
  for (const auto& host : hosts) {
    if (host.trouble)
      silent.push_back(&host);
    else if (!host.standby)
      unknown.push_back(&host);
    else if (*host.standby != standby)
      other.push_back(&host);
    else if (host.has_slot == false)
      without_slot.push_back(&host);
    else
      preferred.push_back(&host);
  }
  std::string rest;
  if (!other.empty()) rest += fmt::format("; of the other role: {}", listed(other));
  if (!unknown.empty()) rest += fmt::format("; role unknown: {}", listed(unknown));
  if (!silent.empty()) rest += fmt::format("; does not answer: {}", listed(silent));
  if (!without_slot.empty()) {
    const auto only = preferred.empty()
                          ? std::string("so the stream is not moved to a host of that role")
                          : fmt::format("so the stream is moved only to {}", listed(preferred));
    return say(
        Level::warning,
        fmt::format("a {} is preferred, and {} has no slot \"{}\", {}{}", role,
                    listed(without_slot), plan.slot.value_or(""), only, rest),
        {fmt::format("pgweir slot create --slot {} --all-hosts ..., or receive --create-slot "
                     "--if-not-exists",
                     plan.slot.value_or("NAME"))});
  }
  if (!preferred.empty())
    return say(Level::ok, fmt::format("a {} is preferred: {}{}", role, listed(preferred), rest));
  std::vector<std::string> todo;
  for (const auto* host : silent)
    for (const auto& each : host->trouble->todo)
      if (std::find(todo.begin(), todo.end(), each) == todo.end()) todo.push_back(each);
  return say(Level::warning,
             fmt::format("a {} is preferred, but no host that answers is one: WAL is received from "
                         "another host until one is available{}",
                         role, rest),
             std::move(todo));
}

}  // namespace weir::doctor
