#include "cli/stock/stock_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

#include "base/error.h"
#include "cli/options/connection_options.h"
#include "cli/print_stderr.h"
#include "net/wake.h"
#include "pq/conninfo.h"
#include "pq/hang_up.h"

namespace weir::cli {

void stock_fatal(std::string message) { throw StockRefusal{std::move(message), false}; }
void stock_refuse(std::string message) { throw StockRefusal{std::move(message), true}; }

wal::Lsn parse_stock_position(const char* text, std::string_view which) {
  unsigned high = 0;
  unsigned low = 0;
  if (std::sscanf(text, "%X/%X", &high, &low) != 2)
    stock_fatal(fmt::format("could not parse {} position \"{}\"", which, text));
  return wal::Lsn((static_cast<std::uint64_t>(high) << 32) | low);
}

int parse_stock_seconds(const char* text, std::string_view option) {
  constexpr int kMost = INT_MAX / 1000;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  const bool overflow = errno == ERANGE;
  while (*end == ' ' || (*end >= '\t' && *end <= '\r')) ++end;
  if (*end != '\0')  // an empty text is 0
    stock_fatal(fmt::format("invalid value \"{}\" for option {}", text, option));
  if (overflow || value < 0 || value > kMost)
    stock_fatal(fmt::format("{} must be in range {}..{}", option, 0, kMost));
  return static_cast<int>(value);
}

bool StockConnection::take(int option, const char* value) {
  switch (option) {
    case 'd':
      dbname_ = value;
      return true;
    case 'h':
      host_ = value;
      return true;
    case 'p':
      port_ = value;
      return true;
    case 'U':
      user_ = value;
      return true;
    case 'w':
      password_ = StockPassword::never;
      return true;
    case 'W':
      password_ = StockPassword::always;
      return true;
    default:
      return false;
  }
}

std::string StockConnection::conninfo(Name name) const {
  try {
    auto conninfo = dbname_.value_or("");
    const bool plain = !conninfo.empty() && conninfo.find('=') == std::string::npos &&
                       !conninfo.starts_with("postgresql://") &&
                       !conninfo.starts_with("postgres://");
    if (plain && name == Name::database) conninfo = with_value("", "dbname", conninfo);
    static_cast<void>(pq::parse_conninfo(conninfo));
    if (host_) conninfo = with_value(conninfo, "host", *host_);
    if (port_) conninfo = with_value(conninfo, "port", *port_);
    if (user_) conninfo = with_value(conninfo, "user", *user_);
    return conninfo;
  } catch (const Error& error) {
    stock_fatal(error.stock_text().empty() ? error.what() : error.stock_text());
  }
}

void ask_stock_password(std::string& conninfo, StockPassword password,
                        pq::Replication replication) {
  const auto ask = [&] {
    const char* typed = ::getpass("Password: ");
    if (typed != nullptr) conninfo = with_value(conninfo, "password", typed);
  };
  if (password == StockPassword::always) ask();
  // There is no user to prompt.
  if (password != StockPassword::if_asked || ::isatty(STDIN_FILENO) != 1) return;
  try {
    const net::Wake never;
    pq::hang_up(pq::Connection::open({.conninfo = conninfo, .replication = replication}, never),
                std::chrono::seconds(2));
  } catch (const Error& error) {
    // libpq's message, which is never translated here; any other failure is reported by the real
    // attempt.
    if (std::string_view(error.what()).find("no password supplied") != std::string_view::npos)
      ask();
  }
}

int run_stock_program(std::string_view program, const std::function<int()>& run) {
  constexpr int kFailed = 1;
  try {
    return run();
  } catch (const StockRefusal& refusal) {
    if (!refusal.message.empty()) print_stderr("{}: error: {}\n", program, refusal.message);
    if (refusal.see_help)
      print_stderr("{0}: hint: Try \"{0} --help\" for more information.\n", program);
  } catch (const std::exception& error) {
    print_stderr("{}: error: {}\n", program, error.what());
  }
  return kFailed;
}

}  // namespace weir::cli
