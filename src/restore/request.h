#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// The names that recovery passes to a restore_command (`%f`; access/transam/xlogarchive.c).
struct HistoryRequest {
  wal::TimelineId timeline;
};
/// "<segment>.<offset>.backup", which very old setups request.
struct BackupHistoryRequest {
  std::string name;
};
using Request = std::variant<wal::SegmentName, HistoryRequest, BackupHistoryRequest>;

/// Throws Error{usage} for any other name, including paths: no other file is ever read or
/// delivered.
[[nodiscard]] Request parse_request(std::string_view name);

}  // namespace weir::restore
