#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pq/connection.h"
#include "pq/replication_stream.h"

namespace weir::logical {

/// The names in pgoutput's option publication_names as the server reads them
/// (SplitIdentifierString() in varlena.c): separated by commas, folded to lower case unless quoted,
/// cut to 63 bytes. Nullopt: it is no such list, which the server tells. Pure.
[[nodiscard]] std::optional<std::vector<std::string>> split_publication_names(
    std::string_view text);

/// What pgoutput's option publication_names says; nullopt: nothing. Throws Error{usage} if it is
/// given more than once, which the server refuses. Pure.
[[nodiscard]] std::optional<std::string> publication_names_of(const pq::PluginOptions& options);

/// Throws Error{refused} if publication_names, among pgoutput's options, names one that the
/// connection's database does not have. As publication_names_of().
void require_publications(pq::Connection& connection, const pq::PluginOptions& options);

/// What a publication means that was there at the start and is missing (42704) at a change: each is
/// decoded with the catalog of its time.
[[nodiscard]] Error younger_publication(const Error& error);

}  // namespace weir::logical
