#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "doctor/facts.h"

namespace weir::doctor {

/// Asks the server over a replication connection and over an ordinary one; what it may not see it
/// leaves out. Changes nothing. The rate of WAL is measured for `measure`. Throws Error{usage} for
/// a connection string that cannot be read.
[[nodiscard]] ServerFacts inspect_server(const std::string& conninfo,
                                         const std::string& ordinary_conninfo,
                                         const std::optional<std::string>& slot,
                                         std::chrono::milliseconds measure);

/// Looks at the directory and what is in it, and times syncs of a hidden file, which is removed
/// again. `segment_size`: the server's, if it is known.
[[nodiscard]] ArchiveFacts inspect_archive(const std::string& path,
                                           std::optional<wal::SegmentSize> segment_size);

}  // namespace weir::doctor
