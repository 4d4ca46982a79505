#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "pq/connection.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::pq {

// Reading the answers of commands.

template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number, base);
  if (code != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// nullopt for NULL, and for what is none.
[[nodiscard]] std::optional<wal::Lsn> parse_lsn(const std::optional<std::string>& text);
[[nodiscard]] std::optional<wal::TimelineId> parse_timeline(const std::optional<std::string>& text);

/// An Error{protocol}: no PostgreSQL answers so.
[[nodiscard]] Error unexpected(const Connection& connection, std::string_view command);

/// The one row of the answer, with at least `columns` columns. Throws what execute() throws, and
/// unexpected().
[[nodiscard]] Row one_row(Connection& connection, const std::string& command, std::size_t columns);

}  // namespace weir::pq
