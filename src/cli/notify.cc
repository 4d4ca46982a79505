#include <cstdio>
#include <string>

#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/program.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"

namespace weir::cli {

namespace {

/// Standard input up to its end, without the newline there; no more than shows that it is too long.
std::string read_payload() {
  constexpr std::size_t kEnough = 64 * 1024;
  std::string payload(kEnough, '\0');
  payload.resize(std::fread(payload.data(), 1, payload.size(), stdin));
  if (std::ferror(stdin) != 0)
    throw Error(ErrorKind::io, "could not read the payload from standard input");
  if (payload.ends_with('\n')) payload.pop_back();
  return payload;
}

}  // namespace

std::vector<Option> notify_option_list() {
  auto list = connection_options();
  list.push_back({"config", 'c', true, false});
  list.push_back({"help", '?', false, false});
  return list;
}

int notify_command(const Words& words) {
  auto arguments = Arguments::parse(notify_option_list(), words, 2);
  if (arguments.has("help")) {
    print(notify_help());
    return kDone;
  }
  add_config(arguments, "notify");
  if (arguments.words().empty())
    throw Error(ErrorKind::usage, "no channel given")
        .hint("As in \"pgweir notify CHANNEL PAYLOAD\"; see \"pgweir notify --help\".");
  const auto channel = arguments.words().front();
  auto payload = arguments.words().size() > 1 ? arguments.words()[1] : std::string();
  if (payload == "-") payload = read_payload();
  pq::require_channel(channel);
  pq::require_payload(channel, payload);

  const auto conninfo = ordinary_conninfo(conninfo_of(arguments));
  const net::Wake never;
  auto connection =
      pq::Connection::open({.conninfo = conninfo, .replication = pq::Replication::none}, never);
  // What the shell gave is in the encoding of its locale, which is UTF-8 nowadays.
  if (!pq::expand_conninfo(conninfo).contains("client_encoding") &&
      connection.parameter("server_encoding") != "SQL_ASCII")
    connection.execute("SET client_encoding = 'UTF8'");
  pq::notify(connection, channel, payload);
  return kDone;
}

}  // namespace weir::cli
