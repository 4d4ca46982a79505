#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// The names that recovery asks a restore_command for (`%f`; access/transam/xlogarchive.c).
struct HistoryRequest {
  wal::TimelineId timeline;
};
/// "<segment>.<offset>.backup", which setups of old ask for.
struct BackupHistoryRequest {
  std::string name;
};
using Request = std::variant<wal::SegmentName, HistoryRequest, BackupHistoryRequest>;

/// Throws Error{usage} for any other name, paths among them: nothing else is ever read or handed
/// out.
[[nodiscard]] Request parse_request(std::string_view name);

}  // namespace weir::restore
