#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "doctor/facts.h"

namespace weir::doctor {

/// Queries the server over a replication connection and over an ordinary one; omits facts that are
/// not visible to it. Changes nothing. Measures the WAL rate for `measure`. Throws Error{usage} for
/// an invalid connection string.
[[nodiscard]] ServerFacts inspect_server(const std::string& conninfo,
                                         const std::string& ordinary_conninfo,
                                         const std::optional<std::string>& slot,
                                         std::chrono::milliseconds measure);

/// Queries its position again, if the same server still answers.
void renew_position(ServerFacts& facts, const std::string& conninfo);

/// Looks at the directory and what is in it, and times syncs of a hidden file, which is removed
/// again. `segment_size`: the server's, if it is known.
[[nodiscard]] ArchiveFacts inspect_archive(const std::string& path,
                                           std::optional<wal::SegmentSize> segment_size);

}  // namespace weir::doctor
