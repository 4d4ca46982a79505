#include "cli/options/serve_options.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "cli/options/connection_options.h"
#include "net/ip.h"

namespace weir::cli {

ListenAddress listen_value(const std::string& text) {
  const auto colon = text.rfind(':');
  const bool only_port = colon == std::string::npos;
  ListenAddress address{only_port ? "" : text.substr(0, colon),
                        only_port ? text : text.substr(colon + 1)};
  const auto port = parse_number<unsigned>(address.port);
  if (!port || *port < 1 || *port > 65535)
    throw Error(ErrorKind::usage, "a port is a number from 1 to 65535");
  auto host = address.host == "localhost" ? "" : address.host;
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const auto ip = net::Ip::parse(brackets ? host.substr(1, host.size() - 2) : host);
  if (!host.empty() && host != "*" && (!ip || ip->v6 != brackets))
    throw Error(ErrorKind::usage, "invalid numeric address")
        .hint(
            "Use 5433 (this machine only), 192.0.2.7:5433, [2001:db8::7]:5433, or *:5433 (all "
            "addresses).");
  address.host = std::move(host);
  return address;
}

std::string slot_pattern_value(const std::string& text) {
  const bool fits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '*' || c == '?';
  });
  if (!fits)
    throw Error(ErrorKind::usage,
                "slot names contain only lower-case letters, digits and underscores; * and ? "
                "match any of them");
  return text;
}

namespace {

std::optional<TlsRequest> read_tls(const Arguments& arguments) {
  const auto certificate = arguments.get(kServeTlsCert);
  const auto key = arguments.get(kServeTlsKey);
  if (!certificate || !key) return std::nullopt;
  return TlsRequest{*certificate, *key, arguments.get(kServeTlsCa)};
}

}  // namespace

ServeRequest read_serve(const Arguments& arguments, std::optional<ListenAddress> listen) {
  ServeRequest request;
  request.listen = std::move(listen);
  request.socket = arguments.get(kServeSocket);
  request.hba = arguments.get(kServeHba);
  request.users = arguments.get(kServeUsers);
  request.tls = read_tls(arguments);
  if (const auto most = arguments.get(kServeMaxClients)) request.server.max_clients = *most;
  if (const auto time = arguments.get(kServeAuthTimeout))
    request.server.authentication_time = *time;
  request.waiting.hold = arguments.get(kServeSynchronizedStandbys);
  request.slots.keep = arguments.get(kServeMaxSlotWalKeepSize);
  request.slots.auto_create = arguments.get(kServeAutoSlot);
  if (const auto conninfo = arguments.get(kServeBaseBackup)) {
    request.server.backups.emplace();
    request.server.backups->conninfo = *conninfo;
    if (const auto most = arguments.get(kServeMaxBaseBackups)) request.server.backups->most = *most;
    request.password_on_command_line =
        arguments.on_command_line(kServeBaseBackup) && has_password(*conninfo);
  }
  return request;
}

}  // namespace weir::cli
