#include "cli/options/web_options.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "io/small_file.h"
#include "web/gate.h"

namespace weir::cli {

namespace {

constexpr std::uint64_t kLargestToken = 4096;

bool is_this_machine(const ListenAddress& address) {
  return address.host.empty() || address.host.starts_with("127.") || address.host == "[::1]";
}

}  // namespace

WebRequest read_web(const Arguments& arguments) {
  WebRequest request;
  request.listen = arguments.get(kWebListen);
  request.token_file = arguments.get(kWebTokenFile);
  request.names = arguments.texts(kWebHost);
  request.ready_max_lag = arguments.get(kReadyMaxLag);
  request.backups = arguments.texts(kWebBackups);
  request.limits = read_limits(arguments);
  if (request.listen && !is_this_machine(*request.listen) && !request.token_file)
    throw Error(ErrorKind::usage,
                fmt::format("{} is an address that other machines can reach, and needs "
                            "--web-token-file",
                            arguments.source(kWebListen)))
        .hint(
            "Listen on this machine only, behind a proxy that authenticates, or create a token: "
            "(umask 077; openssl rand -hex 20 > FILE).");
  return request;
}

std::string host_and_port(const ListenAddress& address) {
  const auto& host = address.host;
  return fmt::format("{}:{}",
                     host.empty()  ? "127.0.0.1"
                     : host == "*" ? "0.0.0.0"
                                   : host,
                     address.port);
}

std::optional<std::string> read_token(const WebRequest& request) {
  if (!request.token_file) return std::nullopt;
  const auto& path = *request.token_file;
  const auto wrong = [&](std::string what) {
    return Error(ErrorKind::usage, std::move(what)).with("path", path);
  };
  const auto file = io::look_at_access(path);
  if (!file || !file->readable) throw wrong("the token file cannot be read");
  if (!file->is_secret()) throw wrong("others have access to the token file").hint("chmod 600 it.");
  const auto content = io::read_small_file(path, kLargestToken);
  const auto token = trimmed(content);
  if (token.size() < web::kLeastToken || token.find_first_of("\r\n") != std::string_view::npos)
    throw wrong(
        fmt::format("the token file has no single line of {} characters or more", web::kLeastToken))
        .hint("Create one with (umask 077; openssl rand -hex 20 > FILE).");
  return std::string(token);
}

}  // namespace weir::cli
