#pragma once

#include <optional>

#include "pq/connection.h"
#include "wal/transaction_end.h"

namespace weir::recovery {

/// Whether the transaction is committed in the connected database. nullopt: cannot be determined.
/// Throws Error{retry, refused}.
[[nodiscard]] std::optional<bool> has_commit(pq::Connection& connection, const wal::Commit& commit);

}  // namespace weir::recovery
