#include "wal/resource_manager.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace weir::wal {

namespace {

// The ids have the same meaning in 13 to 19.
constexpr std::array<std::string_view, 22> kNames{
    "XLOG",       "Transaction",   "Storage", "CLOG",     "Database",
    "Tablespace", "MultiXact",     "RelMap",  "Standby",  "Heap2",
    "Heap",       "Btree",         "Hash",    "Gin",      "Gist",
    "Sequence",   "SPGist",        "BRIN",    "CommitTs", "ReplicationOrigin",
    "Generic",    "LogicalMessage"};
constexpr std::uint8_t kFirstCustom = 128;

}  // namespace

std::string resource_manager_name(std::uint8_t id) {
  if (id < kNames.size()) return std::string(kNames[id]);
  if (id >= kFirstCustom) return fmt::format("custom{}", id);
  return fmt::format("UNKNOWN ({})", id);
}

}  // namespace weir::wal
