#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/identity.h"
#include "wal/segment.h"

namespace weir::store {

// A partial segment is published under the name of a whole one only if no server continues it: that
// server's next WAL would be a different segment with this name.

/// A host of the cluster, and what it answered.
struct AskedHost {
  /// The server that accepted a replication connection.
  struct Server {
    std::uint64_t system_identifier = 0;
    std::uint32_t timeline = 0;
    bool has_slot = false;  ///< the one with which the archive would continue
  };
  std::string host{};
  std::optional<Server> server{};  ///< unset: it could not be queried
  std::string why{};               ///< it could not be queried
  bool answers = false;            ///< it could not be queried, but answers, maybe with a rejection
};

/// Throws Error{refused} if a server of the archive's cluster may continue `segment`: it is on its
/// timeline, it has the slot, or it answers but could not be queried.
void require_gone(const AskedHost& asked, const archive::Identity& cluster,
                  wal::SegmentName segment, const std::optional<std::string>& slot);

/// Throws Error{refused} if the archive's receiver is streaming.
void require_no_stream(bool streaming, const std::string& directory);

}  // namespace weir::store
