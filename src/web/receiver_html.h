#pragma once

#include <string>

#include "web/facts.h"

namespace weir::web {

// The receiver's report, and that of each process that serves; "" if there is none. Pure.

/// `with_ages`: what has passed since a time is written in, for a page without the script.
[[nodiscard]] std::string receiver_html(const Facts& facts, bool with_ages = false);
/// The archive's size, its oldest moment to recover to, and the free space.
[[nodiscard]] std::string archive_html(const Facts& facts);
[[nodiscard]] std::string candidates_html(const Facts& facts);
[[nodiscard]] std::string downstream_html(const Facts& facts);

/// "4 h 10 min": until the server gives the slot up, if WAL is written as fast as in the last hour;
/// "" if that is not known, or will not come. Pure.
[[nodiscard]] std::string time_to_invalidation(std::uint64_t safe_bytes, const History& history);

}  // namespace weir::web
