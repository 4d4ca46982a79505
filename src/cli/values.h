#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/error.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::cli {

// Values of options. Each function parses a text or throws Error{usage}: its message is the reason,
// without the value and the option, which Arguments adds; it may be empty if the hint is
// sufficient.

[[nodiscard]] inline std::string any_text(const std::string& text) { return text; }

using Milliseconds = std::chrono::milliseconds::rep;
inline constexpr Milliseconds kSecond = 1000;
inline constexpr Milliseconds kDay = 24 * 3600 * kSecond;
/// A hundred years: with much more, a point in time that is computed with it, in nanoseconds, is
/// outside of what std::chrono can represent.
inline constexpr Milliseconds kAnyTime = 36'500 * kDay;

/// "500ms", "10s", "5min", from `least` to `most`.
[[nodiscard]] std::chrono::milliseconds parse_time(const std::string& text, Milliseconds least,
                                                   Milliseconds most);
template <Milliseconds Least = 0, Milliseconds Most = kAnyTime>
[[nodiscard]] std::chrono::milliseconds time_value(const std::string& text) {
  return parse_time(text, Least, Most);
}

/// A whole number from `least` to `most`.
[[nodiscard]] std::uint64_t parse_count(const std::string& text, std::uint64_t least,
                                        std::uint64_t most);
template <std::uint64_t Least, std::uint64_t Most = std::numeric_limits<std::uint64_t>::max()>
[[nodiscard]] std::uint64_t count_value(const std::string& text) {
  return parse_count(text, Least, Most);
}

/// "64MB"
[[nodiscard]] std::uint64_t size_value(const std::string& text);
/// The same, and not 0.
[[nodiscard]] std::uint64_t some_size_value(const std::string& text);

/// "16/B374D848"
[[nodiscard]] wal::Lsn lsn_value(const std::string& text);
/// The same, and not 0/0, which PostgreSQL uses for "none".
[[nodiscard]] wal::Lsn valid_lsn_value(const std::string& text);
/// An LSN, or the name of a segment file in any format.
[[nodiscard]] std::variant<wal::Lsn, wal::SegmentName> position_value(const std::string& text);
/// A timeline as people write it: decimal, from 1 on.
[[nodiscard]] wal::TimelineId timeline_value(const std::string& text);

/// A number of threads.
[[nodiscard]] unsigned jobs_value(const std::string& text);

/// A name that a server can give a slot (ReplicationSlotValidateName in replication/slot.c).
[[nodiscard]] std::string slot_value(const std::string& text);
/// A connection string that libpq can read.
[[nodiscard]] std::string conninfo_value(const std::string& text);
/// The same, or a database's name.
[[nodiscard]] std::string database_value(const std::string& text);
/// A file of metrics as node_exporter reads them.
[[nodiscard]] std::string metrics_file_value(const std::string& text);

/// A word and its meaning.
template <typename Meaning>
struct Choice {
  std::string_view word;
  Meaning meaning;
  bool former = false;  ///< a word that was renamed before 1.0: accepted until 2.0, not suggested
};
[[noreturn]] void throw_no_choice(std::string_view words);

/// One of the words in a table, which is an array of Choice.
template <const auto& Table>
[[nodiscard]] auto choice_value(const std::string& text) {
  std::string words;
  for (const auto& choice : Table) {
    if (text == choice.word) return choice.meaning;
    if (choice.former) continue;
    words += words.empty() ? "" : ", ";
    words += choice.word;
  }
  throw_no_choice(words);
}

/// Reads a value with the parser of a lower layer; keeps the hint of its error, which lists the
/// valid values.
template <auto Parse>
[[nodiscard]] auto hinted_value(const std::string& text) {
  try {
    return Parse(text);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, "").hint(error.hint());
  }
}

}  // namespace weir::cli
