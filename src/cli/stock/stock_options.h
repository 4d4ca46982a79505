#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "pq/connection.h"
#include "wal/lsn.h"

namespace weir::cli {

/// Exit statuses of both programs.
constexpr int kStockDone = 0;
constexpr int kStockFailed = 1;

/// Thrown for errors that a stock program (pg_receivewal, pg_recvlogical) reports before it
/// connects: exit 1. An empty message: getopt has already printed it.
struct StockRefusal {
  std::string message;
  bool see_help = true;  ///< point to --help
};

/// Throw a StockRefusal without and with a reference to the help.
[[noreturn]] void stock_fatal(std::string message);
[[noreturn]] void stock_refuse(std::string message);

/// A WAL position as sscanf("%X/%X") reads it; `which` ("start", "end") is for the complaint.
[[nodiscard]] wal::Lsn parse_stock_position(const char* text, std::string_view which);

/// Seconds that are still milliseconds in an int, as option_parse_int() in fe_utils/option_utils.c
/// reads them; `option` ("-s/--status-interval") is for the complaint.
[[nodiscard]] int parse_stock_seconds(const char* text, std::string_view option);

enum class StockPassword { if_asked, never, always };

/// The connection options that both programs have: -d, -h, -p, -U, -w, -W.
class StockConnection {
 public:
  enum class Name { refused, database };  ///< values of -d that are not connection strings

  /// True if the option is one of them; `value` is getopt's optarg.
  bool take(int option, const char* value);
  [[nodiscard]] bool has_dbname() const { return dbname_.has_value(); }
  [[nodiscard]] StockPassword password() const { return password_; }

  /// All of them combined; -h, -p and -U have precedence without a message. Throws StockRefusal.
  [[nodiscard]] std::string conninfo(Name name) const;

 private:
  std::optional<std::string> dbname_;
  std::optional<std::string> host_;
  std::optional<std::string> port_;
  std::optional<std::string> user_;
  StockPassword password_ = StockPassword::if_asked;
};

/// Adds a password from the terminal to `conninfo`, if one is requested or the server requires it.
void ask_stock_password(std::string& conninfo, StockPassword password, pq::Replication replication);

/// Returns the exit status of `run`; an exception is reported on stderr as `program` would, with
/// status 1.
int run_stock_program(std::string_view program, const std::function<int()>& run);

}  // namespace weir::cli
