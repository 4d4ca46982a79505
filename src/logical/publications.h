#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pq/connection.h"
#include "pq/replication_stream.h"

namespace weir::logical {

/// Parses the names in pgoutput's option publication_names as the server does
/// (SplitIdentifierString() in varlena.c): separated by commas, folded to lower case unless quoted,
/// truncated to 63 bytes. nullopt: it is not a valid list, which the server reports. Pure.
[[nodiscard]] std::optional<std::vector<std::string>> split_publication_names(
    std::string_view text);

/// The value of pgoutput's option publication_names; nullopt if unset. Throws Error{usage} if it is
/// given more than once, which the server rejects. Pure.
[[nodiscard]] std::optional<std::string> publication_names_of(const pq::PluginOptions& options);

/// Throws Error{refused} if publication_names, among pgoutput's options, names one that the
/// connection's database does not have. As publication_names_of().
void require_publications(pq::Connection& connection, const pq::PluginOptions& options);

/// Explains a publication that existed at the start and is missing (42704) at a change: each change
/// is decoded with the catalog as of its time.
[[nodiscard]] Error younger_publication(const Error& error);

}  // namespace weir::logical
