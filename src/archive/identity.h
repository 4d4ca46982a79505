#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/listing.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// The cluster of an archive's WAL, read from a long page header (P4).
struct Identity {
  std::uint64_t system_identifier = 0;
  wal::SegmentSize segment_size;
  std::string file;  ///< the file it was read from, for messages
};

/// Reads it from the newest segment, in any format, whose first page can be read. Returns nullopt
/// if there is no such file (an empty archive, or only an empty .partial). Throws Error{io}; and
/// Error{damage} if there are files that should have a header and none of the newest 16 has a valid
/// one.
[[nodiscard]] std::optional<Identity> read_identity(io::Shelf& directory, const Listing& listing);

/// Throws Error{conflict}, with both values, if `found` (from read_identity) differs from the
/// server's cluster or segment size.
void require_same_cluster(const Identity& found, std::uint64_t server_system_identifier,
                          wal::SegmentSize server_segment_size, const std::string& path);

/// Throws Error{conflict} if the directory must not be an archive: a server's data directory (it
/// has PG_VERSION) or its live pg_wal (it has archive_status), with a hint.
void require_not_a_server_directory(io::Shelf& directory);

/// Throws Error{conflict} if the directory holds no WAL at all: it is the wrong directory, or a
/// file system is not mounted. `nearby` describes the files that are present.
void require_some_wal(const Listing& listing, const std::string& path, const std::string& nearby);

}  // namespace weir::archive
