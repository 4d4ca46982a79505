#include "cli/stock/pg_receivewal_options.h"

#include <fmt/format.h>
#include <getopt.h>

#include <cstdlib>

namespace weir::cli {

namespace {

enum LongOnly { kCreateSlot = 1, kDropSlot, kIfNotExists, kSynchronous, kNoSync };

constexpr option kLongOptions[] = {
    {"help", no_argument, nullptr, '?'},
    {"version", no_argument, nullptr, 'V'},
    {"directory", required_argument, nullptr, 'D'},
    {"dbname", required_argument, nullptr, 'd'},
    {"endpos", required_argument, nullptr, 'E'},
    {"host", required_argument, nullptr, 'h'},
    {"port", required_argument, nullptr, 'p'},
    {"username", required_argument, nullptr, 'U'},
    {"no-loop", no_argument, nullptr, 'n'},
    {"no-password", no_argument, nullptr, 'w'},
    {"password", no_argument, nullptr, 'W'},
    {"status-interval", required_argument, nullptr, 's'},
    {"slot", required_argument, nullptr, 'S'},
    {"verbose", no_argument, nullptr, 'v'},
    {"compress", required_argument, nullptr, 'Z'},
    {"create-slot", no_argument, nullptr, kCreateSlot},
    {"drop-slot", no_argument, nullptr, kDropSlot},
    {"if-not-exists", no_argument, nullptr, kIfNotExists},
    {"synchronous", no_argument, nullptr, kSynchronous},
    {"no-sync", no_argument, nullptr, kNoSync},
    {nullptr, 0, nullptr, 0},
};

[[noreturn]] void wrong_compression(const std::string& why) {
  stock_fatal("invalid compression specification: " + why);
}

/// The whole text as a number.
std::optional<int> integer(const std::string& text) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (end == text.c_str() || *end != '\0') return std::nullopt;
  return static_cast<int>(value);
}

/// A level, or keywords with values, as in "level=5".
std::optional<int> level_of(const std::string& algorithm, const std::string& detail) {
  if (const auto level = integer(detail)) return level;
  std::optional<int> level;
  std::string_view rest = detail;
  for (bool more = true; more;) {
    const auto comma = rest.find(',');
    more = comma != std::string_view::npos;
    const auto item = rest.substr(0, comma);
    rest.remove_prefix(more ? comma + 1 : rest.size());
    const auto equals = item.find('=');
    const std::string keyword(item.substr(0, equals));
    if (keyword.empty())
      wrong_compression("found empty string where a compression option was expected");
    if (keyword == "workers")
      wrong_compression(
          fmt::format("compression algorithm \"{}\" does not accept a worker count", algorithm));
    if (keyword == "long")
      wrong_compression(fmt::format(
          "compression algorithm \"{}\" does not support long-distance mode", algorithm));
    if (keyword != "level")
      wrong_compression(fmt::format("unrecognized compression option: \"{}\"", keyword));
    if (equals == std::string_view::npos)
      wrong_compression(fmt::format("compression option \"{}\" requires a value", keyword));
    level = integer(std::string(item.substr(equals + 1)));
    if (!level)
      wrong_compression(
          fmt::format("value for compression option \"{}\" must be an integer", keyword));
  }
  return level;
}

}  // namespace

PgReceivewalRequest parse_pg_receivewal(int count, char** words) {
  using Action = PgReceivewalRequest::Action;
  PgReceivewalRequest request;
  if (count > 1) {
    const std::string_view first = words[1];
    if (first == "--help" || first == "-?") request.action = Action::help;
    if (first == "--version" || first == "-V") request.action = Action::version;
    if (request.action != Action::receive) return request;
  }

  bool create = false;
  bool drop = false;
  std::optional<std::string> directory;
  StockConnection connection;
  std::string compression = "none";
  ::optind = 0;  // glibc: reset
  for (int c = 0;
       (c = ::getopt_long(count, words, "d:D:E:h:np:s:S:U:vwWZ:", kLongOptions, nullptr)) != -1;) {
    if (connection.take(c, optarg)) continue;
    switch (c) {
      case 'D':
        directory = optarg;
        break;
      case 'E':
        request.endpos = parse_stock_position(optarg, "end");
        break;
      case 'n':
        request.loop = false;
        break;
      case 's':
        request.status_interval = parse_stock_seconds(optarg, "-s/--status-interval");
        break;
      case 'S':
        request.slot = optarg;
        break;
      case 'v':
        ++request.verbose;
        break;
      case 'Z':
        compression = optarg;
        break;
      case kCreateSlot:
        create = true;
        break;
      case kDropSlot:
        drop = true;
        break;
      case kIfNotExists:
        request.if_not_exists = true;
        break;
      case kSynchronous:
        request.synchronous = true;
        break;
      case kNoSync:
        request.sync = false;
        break;
      default:
        stock_refuse({});
    }
  }
  if (optind < count)
    stock_refuse(fmt::format("too many command-line arguments (first is \"{}\")", words[optind]));
  if (drop && create) stock_refuse("cannot use --create-slot together with --drop-slot");
  if (!request.slot && (drop || create))
    stock_refuse(fmt::format("{} needs a slot to be specified using --slot",
                             drop ? "--drop-slot" : "--create-slot"));
  if (request.synchronous && !request.sync)
    stock_refuse("cannot use --synchronous together with --no-sync");
  if (!directory && !drop && !create) stock_refuse("no target directory specified");
  request.compression = parse_stock_compression(compression);

  if (create || drop) request.action = create ? Action::create_slot : Action::drop_slot;
  request.directory = directory.value_or("");
  if (request.endpos && !request.endpos->valid()) request.endpos.reset();  // 0/0: none
  request.conninfo = connection.conninfo(StockConnection::Name::refused);
  request.password = connection.password();
  return request;
}

codec::Compression parse_stock_compression(const std::string& text) {
  if (text.empty()) return {};  // strtol() parses it as 0
  std::string algorithm = text;
  std::optional<std::string> detail;
  if (const auto level = integer(text)) {
    algorithm = *level == 0 ? "none" : "gzip";
    if (*level != 0) detail = text;
  } else if (const auto colon = text.find(':'); colon != std::string::npos) {
    algorithm = text.substr(0, colon);
    detail = text.substr(colon + 1);
  }

  struct Known {
    std::string_view name;
    codec::Method method;
    int least;
    int most;
    int otherwise;  ///< as in the messages
    int level;      ///< what that is
  };
  constexpr Known kKnown[] = {
      {"none", codec::Method::none, 0, 0, 0, 0},
      {"gzip", codec::Method::gzip, 1, 9, -1, 6},
      {"lz4", codec::Method::lz4, 1, 12, 0, 0},
      {"zstd", codec::Method::zstd, 1, 22, 3, 3},
  };
  for (const auto& known : kKnown) {
    if (algorithm != known.name) continue;
    const auto level = detail ? level_of(algorithm, *detail) : std::nullopt;
    if (!level || *level == known.otherwise) return {known.method, known.level};
    if (known.method == codec::Method::none)
      wrong_compression(fmt::format(
          "compression algorithm \"{}\" does not accept a compression level", algorithm));
    if (*level < known.least || *level > known.most)
      wrong_compression(fmt::format(
          "compression algorithm \"{}\" expects a compression level between {} and {} (default at "
          "{})",
          algorithm, known.least, known.most, known.otherwise));
    return {known.method, *level};
  }
  stock_fatal(fmt::format("unrecognized compression algorithm: \"{}\"", algorithm));
}

std::string_view pg_receivewal_version() {
  // Programs that call it read a version of PostgreSQL here: the newest it can stream from.
  return "pg_receivewal (PostgreSQL) 19.0 (pgweir " PGWEIR_VERSION ")\n";
}

std::string_view pg_receivewal_help() {
  return R"(pg_receivewal archives PostgreSQL's WAL as it is written (this is pgweir's).

Usage:
  pg_receivewal [OPTION]...

Options:
  -D, --directory=DIR    directory of the WAL segments
  -E, --endpos=LSN       exit once all WAL before LSN is received
      --if-not-exists    with --create-slot, use the slot if it exists
  -n, --no-loop          exit when the connection is lost
      --no-sync          do not flush WAL to disk (unsafe)
  -s, --status-interval=SECS
                         seconds between reports, 0: none (default: 10)
  -S, --slot=SLOTNAME    replication slot to stream from
      --synchronous      flush and report WAL immediately
  -v, --verbose          print progress messages; if given twice, more of them
  -V, --version          print the version, then exit
  -Z, --compress=METHOD[:DETAIL]
                         none, gzip, lz4 or zstd, optionally with a level
  -?, --help             print this help, then exit

Connection options:
  -d, --dbname=CONNSTR   connection string or URI
  -h, --host=HOSTNAME    host name or socket directory
  -p, --port=PORT        server port
  -U, --username=NAME    user name
  -w, --no-password      never prompt for a password
  -W, --password         always prompt for a password

Optional actions:
      --create-slot      create the slot named by --slot, then exit
      --drop-slot        drop that slot, then exit

The options work as in PostgreSQL's program of this name.
)";
}

}  // namespace weir::cli
