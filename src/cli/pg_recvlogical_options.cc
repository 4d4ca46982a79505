#include "cli/pg_recvlogical_options.h"

#include <fmt/format.h>
#include <getopt.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/connection_options.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

enum LongOnly { kCreateSlot = 1, kStart, kDropSlot, kIfNotExists, kFailover };

constexpr option kLongOptions[] = {
    {"file", required_argument, nullptr, 'f'},
    {"fsync-interval", required_argument, nullptr, 'F'},
    {"help", no_argument, nullptr, '?'},
    {"no-loop", no_argument, nullptr, 'n'},
    {"enable-failover", no_argument, nullptr, kFailover},  // 18
    {"enable-two-phase", no_argument, nullptr, 't'},       // 18's name of --two-phase
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
    {"create-slot", no_argument, nullptr, kCreateSlot},
    {"start", no_argument, nullptr, kStart},
    {"drop-slot", no_argument, nullptr, kDropSlot},
    {"if-not-exists", no_argument, nullptr, kIfNotExists},
    {nullptr, 0, nullptr, 0},
};

[[noreturn]] void fatal(std::string message) {
  throw PgRecvlogicalRefusal{std::move(message), false};
}
[[noreturn]] void refuse(std::string message) {
  throw PgRecvlogicalRefusal{std::move(message), true};
}

wal::Lsn parse_position(const char* text, std::string_view which) {
  unsigned high = 0;
  unsigned low = 0;
  if (std::sscanf(text, "%X/%X", &high, &low) != 2)
    fatal(fmt::format("could not parse {} position \"{}\"", which, text));
  return wal::Lsn((static_cast<std::uint64_t>(high) << 32) | low);
}

int parse_seconds(const char* text, std::string_view option) {
  constexpr int kMost = INT_MAX / 1000;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  const bool overflow = errno == ERANGE;
  if (end != text)
    while (*end == ' ' || (*end >= '\t' && *end <= '\r')) ++end;
  if (end == text || *end != '\0')
    fatal(fmt::format("invalid value \"{}\" for option {}", text, option));
  if (overflow || value < 0 || value > kMost)
    fatal(fmt::format("{} must be in range {}..{}", option, 0, kMost));
  return static_cast<int>(value);
}

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
  std::optional<std::string> dbname;
  std::optional<std::string> host;
  std::optional<std::string> port;
  std::optional<std::string> user;
  ::optind = 0;  // glibc: begin anew
  for (int c = 0; (c = ::getopt_long(count, words, "E:f:F:ntvd:h:p:U:wWI:o:P:s:S:", kLongOptions,
                                     nullptr)) != -1;) {
    switch (c) {
      case 'f':
        file = optarg;
        break;
      case 'F':
        request.fsync_interval = parse_seconds(optarg, "-F/--fsync-interval");
        break;
      case 'n':
        request.loop = false;
        break;
      case 't':
        request.slot_options.two_phase = true;
        break;
      case kFailover:
        request.slot_options.failover = true;
        break;
      case 'v':
        ++request.verbose;
        break;
      case 'd':
        dbname = optarg;
        break;
      case 'h':
        host = optarg;
        break;
      case 'p':
        port = optarg;
        break;
      case 'U':
        user = optarg;
        break;
      case 'w':
        request.password = PgRecvlogicalRequest::Password::never;
        break;
      case 'W':
        request.password = PgRecvlogicalRequest::Password::always;
        break;
      case 'I':
        request.startpos = parse_position(optarg, "start");
        break;
      case 'E':
        request.endpos = parse_position(optarg, "end");
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
        request.status_interval = parse_seconds(optarg, "-s/--status-interval");
        break;
      case 'S':
        slot = optarg;
        break;
      case kCreateSlot:
        request.create = true;
        break;
      case kStart:
        request.start = true;
        break;
      case kDropSlot:
        request.drop = true;
        break;
      case kIfNotExists:
        request.if_not_exists = true;
        break;
      default:
        refuse({});
    }
  }
  if (optind < count)
    refuse(fmt::format("too many command-line arguments (first is \"{}\")", words[optind]));
  if (!slot) refuse("no slot specified");
  if (request.start && !file) refuse("no target file specified");
  // As 18: a slot can be dropped from any database.
  if (!request.drop && !dbname) refuse("no database specified");
  if (!request.drop && !request.create && !request.start)
    refuse("at least one action needs to be specified");
  if (request.drop && (request.create || request.start))
    refuse("cannot use --create-slot or --start together with --drop-slot");
  if (request.startpos && request.startpos->valid() && (request.create || request.drop))
    refuse("cannot use --create-slot or --drop-slot together with --startpos");
  if (request.endpos && request.endpos->valid() && !request.start)
    refuse("--endpos may only be specified with --start");
  if (!request.create) {
    if (request.slot_options.two_phase)
      refuse("--two-phase may only be specified with --create-slot");
    if (request.slot_options.failover)
      refuse("--enable-failover may only be specified with --create-slot");
  }
  request.slot = *slot;
  request.file = file.value_or("");
  if (request.endpos && !request.endpos->valid()) request.endpos.reset();  // 0/0: none
  if (request.startpos && !request.startpos->valid()) request.startpos.reset();
  try {
    std::string conninfo = dbname.value_or("");
    const bool plain = conninfo.find('=') == std::string::npos &&
                       !conninfo.starts_with("postgresql://") &&
                       !conninfo.starts_with("postgres://");
    if (!conninfo.empty() && plain) conninfo = with_value("", "dbname", conninfo);
    static_cast<void>(pq::parse_conninfo(conninfo));
    if (host) conninfo = with_value(conninfo, "host", *host);
    if (port) conninfo = with_value(conninfo, "port", *port);
    if (user) conninfo = with_value(conninfo, "user", *user);
    request.conninfo = conninfo;
  } catch (const Error& error) {
    fatal(error.what());
  }
  return request;
}

}  // namespace weir::cli
