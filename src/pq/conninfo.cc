#include "pq/conninfo.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "pq/connection.h"

namespace weir::pq {
namespace {

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

ConninfoValues to_values(const PQconninfoOption* option) {
  ConninfoValues values;
  for (; option != nullptr && option->keyword != nullptr; ++option) {
    if (option->val != nullptr && *option->val != '\0') values[option->keyword] = option->val;
  }
  return values;
}

// libpq quotes the part of the string it could not parse, which may be (part of) a password: blanks
// in a password split it, and a URI is quoted as a whole.
bool may_hold_secret(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array kMarks = {"pass", "pwd", "secret", "scram", "key", "://"};
  return std::any_of(kMarks.begin(), kMarks.end(),
                     [&text](const char* mark) { return text.find(mark) != std::string::npos; });
}

struct Probe {
  ConninfoValues values;
  std::string message;
  bool valid = false;  // libpq found no error except the one that we made deliberately
};

// libpq reveals the merged values (string, service file, environment) only of a connection, and
// starting one resolves names and sends packets. So it is given one invalid value: it stops before
// it connects, but PQconninfo() has the rest.
Probe probe(const ConninfoValues& given, const char* spoiled_keyword) {
  constexpr const char* kWrong = "pgweir-probe";
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : given) {
    if (keyword == spoiled_keyword || keyword == "password") continue;
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  // With a password libpq ignores the passfile, about which it may print warnings to stderr.
  keywords.insert(keywords.end(), {spoiled_keyword, "password", nullptr});
  values.insert(values.end(), {kWrong, "-", nullptr});
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(
      PQconnectStartParams(keywords.data(), values.data(), 0), &PQfinish);
  if (!connection) throw Error(ErrorKind::retry, "out of memory");
  Probe result;
  result.values = values_of(connection.get());
  result.values.erase(spoiled_keyword);
  result.values.erase("password");
  result.message = trimmed(PQerrorMessage(connection.get()));
  result.valid = result.message.find(kWrong) != std::string::npos;
  return result;
}

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> items;
  for (;;) {
    const std::size_t comma = list.find(',');
    items.emplace_back(list.substr(0, comma));
    if (comma == std::string_view::npos) return items;
    list.remove_prefix(comma + 1);
  }
}

void check_port(const std::string& port) {
  if (port.empty()) return;
  const auto number = parse_number<int>(port);
  if (!number || *number < 1 || *number > 65535)
    throw Error(ErrorKind::usage, "invalid port number in the connection string")
        .with("port", port);
}

}  // namespace

std::string value_of(const ConninfoValues& values, std::string_view keyword) {
  const auto found = values.find(keyword);
  return found == values.end() ? std::string() : found->second;
}

std::vector<Host> hosts_of(const ConninfoValues& values) {
  return split_hosts(value_of(values, "host"), value_of(values, "hostaddr"),
                     value_of(values, "port"));
}

std::vector<Host> hosts_of(const std::string& conninfo) {
  return hosts_of(expand_conninfo(conninfo));
}

std::optional<std::size_t> find_host(const std::string& conninfo, std::string_view name) {
  const auto hosts = hosts_of(conninfo);
  const auto found = std::find_if(hosts.begin(), hosts.end(),
                                  [&](const Host& host) { return host.to_string() == name; });
  if (found == hosts.end()) return std::nullopt;
  return static_cast<std::size_t>(found - hosts.begin());
}

bool Host::local() const {
  return hostaddr.empty() && (host.empty() || host.front() == '/' || host.front() == '@');
}

std::string Host::to_string() const {
  const std::string number = port.empty() ? "5432" : port;
  if (local()) return (host.empty() ? "local socket" : host) + "/.s.PGSQL." + number;
  const std::string& name = host.empty() ? hostaddr : host;
  if (name.find(':') != std::string::npos) return "[" + name + "]:" + number;
  return name + ":" + number;
}

std::vector<Host> split_hosts(std::string_view host, std::string_view hostaddr,
                              std::string_view port) {
  const std::vector<std::string> names = split_list(host);
  const std::vector<std::string> addresses = split_list(hostaddr);
  const std::vector<std::string> ports = split_list(port);
  const std::size_t count = hostaddr.empty() ? names.size() : addresses.size();
  if (!hostaddr.empty() && !host.empty() && names.size() != count)
    throw Error(ErrorKind::usage,
                "the numbers of hosts and hostaddrs in the connection string differ")
        .with("hosts", names.size())
        .with("hostaddrs", count);
  if (ports.size() != 1 && ports.size() != count)
    throw Error(ErrorKind::usage, "the numbers of ports and hosts in the connection string differ")
        .with("ports", ports.size())
        .with("hosts", count)
        .hint("Specify one port for all hosts, or one for each.");
  std::vector<Host> hosts(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!host.empty()) hosts[i].host = names[i];
    if (!hostaddr.empty()) hosts[i].hostaddr = addresses[i];
    hosts[i].port = ports.size() == 1 ? ports[0] : ports[i];
    check_port(hosts[i].port);
  }
  return hosts;
}

ConninfoValues values_of(pg_conn* connection) {
  return to_values(Options(PQconninfo(connection)).get());
}

ConninfoValues parse_conninfo(const std::string& conninfo) {
  if (conninfo.find('\0') != std::string::npos)
    throw Error(ErrorKind::usage, "the connection string has a zero byte in it");
  char* message = nullptr;
  const Options options(PQconninfoParse(conninfo.c_str(), &message));
  const std::unique_ptr<char, decltype(&PQfreemem)> message_owner(message, &PQfreemem);
  if (!options) {
    std::string text = "could not read the connection string";
    std::string reason;
    if (message != nullptr && !may_hold_secret(conninfo)) reason = trimmed(message);
    if (!reason.empty()) text += ": " + reason;
    throw Error(ErrorKind::usage, text)
        .with_stock_text(reason)
        .hint(
            "It must be either \"host=... user=...\" (values with spaces in single quotes) or a "
            "URI, \"postgresql://user@host:port/\" (special characters percent-encoded).");
  }
  return to_values(options.get());
}

ConninfoValues expand_conninfo(const std::string& conninfo) {
  const ConninfoValues given = parse_conninfo(conninfo);
  // The last value libpq checks; if libpq rejects this one, all others are valid.
  Probe main = probe(given, "target_session_attrs");
  if (!main.valid) {
    Error error(ErrorKind::usage,
                "libpq does not accept the connection parameters: " + main.message);
    // pg_fe_getauthname() in libpq's fe-auth.c, if no user is given.
    if (main.message.find("local user with ID") != std::string::npos)
      error.hint(
          "The user that runs pgweir has no name, as in a container. Specify the server's user "
          "with user=... in the connection string, or PGUSER.");
    throw error;
  }
  const ConninfoValues other = probe(given, "channel_binding").values;
  if (const auto found = other.find("target_session_attrs"); found != other.end()) {
    constexpr std::array kKnown = {"any",     "read-write", "read-only",
                                   "primary", "standby",    "prefer-standby"};
    if (std::find(kKnown.begin(), kKnown.end(), found->second) == kKnown.end())
      throw Error(ErrorKind::usage, "invalid target_session_attrs").with("value", found->second);
    main.values.insert(*found);
  }
  // libpq does not return the service, which is still needed for a password in its file.
  for (const char* keyword : {"password", "service"}) {
    if (const auto found = given.find(keyword); found != given.end()) main.values.insert(*found);
  }
  return main.values;
}

std::string default_socket_directory() {
  // Two hosts, so that PGHOST is not used; and it stops before it connects.
  const char* const keywords[] = {"host", "hostaddr", "port", "password", "target_session_attrs",
                                  nullptr};
  const char* const values[] = {",", ",", ",", "-", "pgweir-probe", nullptr};
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(
      PQconnectStartParams(keywords, values, 0), &PQfinish);
  if (!connection) throw Error(ErrorKind::retry, "out of memory");
  const char* const host = PQhost(connection.get());
  return host == nullptr ? "" : host;
}

std::string describe(const std::string& conninfo) {
  std::optional<ConninfoValues> values;
  try {
    values = parse_conninfo(conninfo);
  } catch (const Error&) {
    return "(unreadable connection string)";
  }
  std::string text;
  for (const char* keyword : {"service", "host", "hostaddr", "port", "user", "dbname"}) {
    const auto found = values->find(keyword);
    if (found == values->end()) continue;
    // A connection string in place of a database name is not shown: it may contain a password.
    const bool nested = found->second.find_first_of("=/@") != std::string::npos &&
                        std::string_view(keyword) != "host";
    text += text.empty() ? "" : " ";
    text += std::string(keyword) + "=" + (nested ? "..." : found->second);
  }
  return text.empty() ? "(libpq's defaults)" : text;
}

std::optional<std::string> conninfo_value(const std::string& conninfo, const std::string& keyword) {
  const ConninfoValues values = parse_conninfo(conninfo);
  const auto found = values.find(keyword);
  if (found == values.end()) return std::nullopt;
  return found->second;
}

}  // namespace weir::pq
