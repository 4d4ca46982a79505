#include "recovery/has_commit.h"

#include <fmt/format.h>

#include <cstdint>

#include "base/error.h"
#include "base/text.h"

namespace weir::recovery {

std::optional<bool> has_commit(pq::Connection& connection, const wal::Commit& commit) {
  if (commit.transaction == 0) return std::nullopt;
  // The next transaction ID is known with its epoch.
  const auto rows = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())");
  const auto next = rows.empty() || rows[0].empty() || !rows[0][0]
                        ? std::nullopt
                        : parse_number<std::uint64_t>(*rows[0][0]);
  if (!next) return std::nullopt;
  constexpr std::uint64_t kEpoch = std::uint64_t{1} << 32;
  auto full = *next / kEpoch * kEpoch + commit.transaction;
  if (full >= *next && full >= kEpoch) full -= kEpoch;
  try {
    const auto answer = connection.execute(fmt::format("SELECT pg_xact_status('{}')", full));
    // The status of a transaction that is too old is NULL: then many transactions followed it.
    if (answer.empty() || answer[0].empty() || !answer[0][0]) return std::nullopt;
    return *answer[0][0] == "committed";
  } catch (const Error& error) {
    if (error.sqlstate().empty()) throw;
    return false;  // "transaction ID … is in the future"
  }
}

}  // namespace weir::recovery
