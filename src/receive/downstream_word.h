#pragma once

#include <optional>

#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// What those to whom the archive is served have to say to the server upstream. A value.
struct DownstreamWord {
  /// Up to here this timeline is applied downstream (ApplyPosition::downstream); 0/0: nowhere.
  wal::TimelineId timeline = 0;
  wal::Lsn applied;
  /// The oldest transactions that are still needed; nullopt: not known yet, so nothing is said.
  std::optional<wire::HotStandbyFeedback> needs;
  bool operator==(const DownstreamWord&) const = default;
};

}  // namespace weir::receive
