#include "cli/stock/pg_recvlogical_options.h"

#include <fmt/format.h>
#include <getopt.h>

#include <string_view>

namespace weir::cli {

namespace {

enum LogicalLongOnly {
  kLogicalCreateSlot = 1,
  kLogicalStart,
  kLogicalDropSlot,
  kLogicalIfNotExists,
  kLogicalFailover
};

constexpr option kLogicalLongOptions[] = {
    {"file", required_argument, nullptr, 'f'},
    {"fsync-interval", required_argument, nullptr, 'F'},
    {"help", no_argument, nullptr, '?'},
    {"no-loop", no_argument, nullptr, 'n'},
    {"enable-failover", no_argument, nullptr, kLogicalFailover},  // 18
    {"enable-two-phase", no_argument, nullptr, 't'},              // 18's name of --two-phase
    {"two-phase", no_argument, nullptr, 't'},
    {"verbose", no_argument, nullptr, 'v'},
    {"version", no_argument, nullptr, 'V'},
    {"dbname", required_argument, nullptr, 'd'},
    {"host", required_argument, nullptr, 'h'},
    {"port", required_argument, nullptr, 'p'},
    {"username", required_argument, nullptr, 'U'},
    {"no-password", no_argument, nullptr, 'w'},
    {"password", no_argument, nullptr, 'W'},
    {"startpos", required_argument, nullptr, 'I'},
    {"endpos", required_argument, nullptr, 'E'},
    {"option", required_argument, nullptr, 'o'},
    {"plugin", required_argument, nullptr, 'P'},
    {"status-interval", required_argument, nullptr, 's'},
    {"slot", required_argument, nullptr, 'S'},
    {"create-slot", no_argument, nullptr, kLogicalCreateSlot},
    {"start", no_argument, nullptr, kLogicalStart},
    {"drop-slot", no_argument, nullptr, kLogicalDropSlot},
    {"if-not-exists", no_argument, nullptr, kLogicalIfNotExists},
    {nullptr, 0, nullptr, 0},
};

}  // namespace

PgRecvlogicalRequest parse_pg_recvlogical(int count, char** words) {
  PgRecvlogicalRequest request;
  if (count > 1) {
    const std::string_view first = words[1];
    request.help = first == "--help" || first == "-?";
    request.version = first == "--version" || first == "-V";
    if (request.help || request.version) return request;
  }

  std::optional<std::string> slot;
  std::optional<std::string> file;
  StockConnection connection;
  ::optind = 0;  // glibc: reset
  for (int c = 0; (c = ::getopt_long(count, words, "E:f:F:ntvd:h:p:U:wWI:o:P:s:S:",
                                     kLogicalLongOptions, nullptr)) != -1;) {
    if (connection.take(c, optarg)) continue;
    switch (c) {
      case 'f':
        file = optarg;
        break;
      case 'F':
        request.fsync_interval = parse_stock_seconds(optarg, "-F/--fsync-interval");
        break;
      case 'n':
        request.loop = false;
        break;
      case 't':
        request.slot_options.two_phase = true;
        break;
      case kLogicalFailover:
        request.slot_options.failover = true;
        break;
      case 'v':
        ++request.verbose;
        break;
      case 'I':
        request.startpos = parse_stock_position(optarg, "start");
        break;
      case 'E':
        request.endpos = parse_stock_position(optarg, "end");
        break;
      case 'o': {
        const std::string text = optarg;
        const auto equals = text.find('=');
        if (equals == std::string::npos)
          request.plugin_options.emplace_back(text, std::nullopt);
        else
          request.plugin_options.emplace_back(text.substr(0, equals), text.substr(equals + 1));
        break;
      }
      case 'P':
        request.slot_options.plugin = optarg;
        break;
      case 's':
        request.status_interval = parse_stock_seconds(optarg, "-s/--status-interval");
        break;
      case 'S':
        slot = optarg;
        break;
      case kLogicalCreateSlot:
        request.create = true;
        break;
      case kLogicalStart:
        request.start = true;
        break;
      case kLogicalDropSlot:
        request.drop = true;
        break;
      case kLogicalIfNotExists:
        request.if_not_exists = true;
        break;
      default:
        stock_refuse({});
    }
  }
  if (optind < count)
    stock_refuse(fmt::format("too many command-line arguments (first is \"{}\")", words[optind]));
  if (!slot) stock_refuse("no slot specified");
  if (request.start && !file) stock_refuse("no target file specified");
  // As 18: a slot can be dropped from any database.
  if (!request.drop && !connection.has_dbname()) stock_refuse("no database specified");
  if (!request.drop && !request.create && !request.start)
    stock_refuse("at least one action needs to be specified");
  if (request.drop && (request.create || request.start))
    stock_refuse("cannot use --create-slot or --start together with --drop-slot");
  if (request.startpos && request.startpos->valid() && (request.create || request.drop))
    stock_refuse("cannot use --create-slot or --drop-slot together with --startpos");
  if (request.endpos && request.endpos->valid() && !request.start)
    stock_refuse("--endpos may only be specified with --start");
  if (!request.create) {
    if (request.slot_options.two_phase)
      stock_refuse("--enable-two-phase may only be specified with --create-slot");
    if (request.slot_options.failover)
      stock_refuse("--enable-failover may only be specified with --create-slot");
  }
  request.slot_options.may_exist = request.if_not_exists;
  request.slot = *slot;
  request.file = file.value_or("");
  if (request.endpos && !request.endpos->valid()) request.endpos.reset();  // 0/0: none
  if (request.startpos && !request.startpos->valid()) request.startpos.reset();
  request.conninfo = connection.conninfo(StockConnection::Name::database);
  if (!connection.has_dbname()) request.replication = pq::Replication::physical;
  request.password = connection.password();
  return request;
}

std::string_view pg_recvlogical_version() {
  return "pg_recvlogical (PostgreSQL) 19.0 (pgweir " PGWEIR_VERSION ")\n";
}

std::string_view pg_recvlogical_help() {
  return R"(pg_recvlogical streams a database's changes to a file (this is pgweir's).

Usage:
  pg_recvlogical [OPTION]...

Actions, at least one:
      --create-slot      create the logical replication slot
      --drop-slot        drop the slot
      --start            stream changes from the slot

Options:
  -E, --endpos=LSN       exit once LSN is received
      --enable-failover  with --create-slot: synchronize it to standbys (17+)
      --enable-two-phase, -t, --two-phase
                         with --create-slot: decode at PREPARE TRANSACTION
  -f, --file=FILE        output file, "-" for standard output
  -F, --fsync-interval=SECS
                         seconds between syncs of the file (default: 10)
      --if-not-exists    with --create-slot: use the slot if it exists
  -I, --startpos=LSN     position to start at, unless the slot is past it
  -n, --no-loop          exit when the connection is lost
  -o, --option=NAME[=VALUE]
                         option of the output plugin
  -P, --plugin=PLUGIN    output plugin of the new slot (default: test_decoding)
  -s, --status-interval=SECS
                         seconds between reports, 0: none (default: 10)
  -S, --slot=SLOTNAME    name of the slot
  -v, --verbose          print progress messages
  -V, --version          print the version, then exit
  -?, --help             print this help, then exit

Connection options:
  -d, --dbname=DBNAME    database, connection string or URI
  -h, --host=HOSTNAME    host name or socket directory
  -p, --port=PORT        server port
  -U, --username=NAME    user name
  -w, --no-password      never prompt for a password
  -W, --password         always prompt for a password

The options work as in PostgreSQL's program of this name.
)";
}

}  // namespace weir::cli
