#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/stock/stock_options.h"
#include "codec/codec.h"
#include "wal/lsn.h"

namespace weir::cli {

/// A command line of pg_receivewal, parsed by its rules (getopt_long, the checks in main() of
/// PostgreSQL's pg_receivewal.c, versions 15 to 19).
struct PgReceivewalRequest {
  enum class Action { receive, create_slot, drop_slot, help, version };
  Action action = Action::receive;
  std::string directory;
  std::optional<wal::Lsn> endpos;
  std::optional<std::string> slot;
  bool if_not_exists = false;
  bool loop = true;
  bool sync = true;
  bool synchronous = false;
  int status_interval = 10;  ///< seconds; 0: none
  int verbose = 0;
  codec::Compression compression;
  std::string conninfo;  ///< of all connection options together
  StockPassword password = StockPassword::if_asked;
};

/// `words[0]` is the program's name, which getopt puts before its error messages on stderr. The
/// array ends with a null pointer, and is reordered. Throws StockRefusal.
[[nodiscard]] PgReceivewalRequest parse_pg_receivewal(int count, char** words);

/// The value of -Z: "gzip", "lz4:9", "gzip:level=5", "6", "0"; and "zstd", which PostgreSQL's own
/// program does not support yet. Throws StockRefusal.
[[nodiscard]] codec::Compression parse_stock_compression(const std::string& text);

[[nodiscard]] std::string_view pg_receivewal_help();
/// "pg_receivewal (PostgreSQL) 19.0 (pgweir …)"
[[nodiscard]] std::string_view pg_receivewal_version();

}  // namespace weir::cli
