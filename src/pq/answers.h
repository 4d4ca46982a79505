#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"
#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

// Parsing of command results.

/// Returns nullopt for NULL, and for anything that is not an LSN.
[[nodiscard]] std::optional<wal::Lsn> parse_lsn(const std::optional<std::string>& text);
[[nodiscard]] std::optional<wal::TimelineId> parse_timeline(const std::optional<std::string>& text);

/// An Error{protocol}: PostgreSQL never answers like this.
[[nodiscard]] Error unexpected(const Connection& connection, std::string_view command);

/// The only row of the result, with at least `columns` columns. Throws what execute() throws, and
/// unexpected().
[[nodiscard]] Row one_row(Connection& connection, const std::string& command, std::size_t columns);

}  // namespace weir::pq
