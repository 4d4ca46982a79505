#include <cstdio>
#include <string>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"

namespace weir::cli {

namespace {

/// Reads standard input up to its end, without the final newline; no more than needed to see that
/// it is too long.
std::string read_payload() {
  constexpr std::size_t kEnough = 64 * 1024;
  std::string payload(kEnough, '\0');
  payload.resize(std::fread(payload.data(), 1, payload.size(), stdin));
  if (std::ferror(stdin) != 0)
    throw Error(ErrorKind::io, "could not read the payload from standard input");
  if (payload.ends_with('\n')) payload.pop_back();
  return payload;
}

constexpr Option kNotifyOptions[] = {
    kDbname.says("connection string, URI, or database name (default: database postgres); must be "
                 "the database in which the listeners are"),
    kHost.says("host name or socket directory of a primary"),
    kPort,
    kUsername.says("any role that can log in"),
    kNoPassword,
    kConfig,
    kHelp,
};

int notify_command(const Arguments& arguments) {
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
  // The shell's text is in the encoding of its locale, which is usually UTF-8.
  if (!pq::expand_conninfo(conninfo).contains("client_encoding") &&
      connection.parameter("server_encoding") != "SQL_ASCII")
    connection.execute("SET client_encoding = 'UTF8'");
  pq::notify(connection, channel, payload);
  return kDone;
}

constexpr OptionGroup kNotifyGroups[] = {{"Options:", kNotifyOptions}};

}  // namespace

constinit const Command kNotifyCommand = {
    .name = "notify",
    .summary = "send a notification (NOTIFY)",
    .about = R"(pgweir notify sends a notification to the listeners of a channel.

Usage:
  pgweir notify [OPTION]... CHANNEL [PAYLOAD]

The PAYLOAD is text of less than 8000 bytes. If it is -, it is read from the
standard input, without a trailing newline. Channel names are case-sensitive:
Orders is not orders.
)",
    .groups = kNotifyGroups,
    .notes = R"(Example:
  pgweir notify -d "host=db1 dbname=shop" orders 4711

Exit status: 0 sent (even if there are no listeners); 2 invalid options, or a
channel or payload that cannot be sent; 3 temporary failure (no connection);
4 manual intervention required (no such database, a standby).
)",
    .most_words = 2,
    .run = notify_command,
};

}  // namespace weir::cli
