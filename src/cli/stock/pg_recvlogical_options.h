#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/stock/stock_options.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"
#include "wal/lsn.h"

namespace weir::cli {

/// A command line of pg_recvlogical, parsed by its rules (getopt_long, the checks in main() of
/// PostgreSQL's pg_recvlogical.c, versions 15 to 19).
struct PgRecvlogicalRequest {
  bool help = false;
  bool version = false;
  bool create = false;
  bool drop = false;
  bool start = false;
  std::string file;
  std::string slot;
  pq::LogicalSlotOptions slot_options;
  bool if_not_exists = false;
  pq::PluginOptions plugin_options;
  std::optional<wal::Lsn> startpos;
  std::optional<wal::Lsn> endpos;
  bool loop = true;
  int fsync_interval = 10;   ///< seconds; 0: only at the end
  int status_interval = 10;  ///< seconds; 0: none
  int verbose = 0;
  std::string conninfo;
  /// pq::Replication::physical: without a database, which is enough to drop a slot.
  pq::Replication replication = pq::Replication::logical;
  StockPassword password = StockPassword::if_asked;
};

/// `words[0]` is the program's name, for getopt's error messages on stderr. The array ends with a
/// null pointer, and is reordered. Throws StockRefusal.
[[nodiscard]] PgRecvlogicalRequest parse_pg_recvlogical(int count, char** words);

[[nodiscard]] std::string_view pg_recvlogical_help();
/// "pg_recvlogical (PostgreSQL) 19.0 (pgweir …)"
[[nodiscard]] std::string_view pg_recvlogical_version();

}  // namespace weir::cli
