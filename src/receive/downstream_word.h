#pragma once

#include <optional>

#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// What downstream clients report to the upstream server. A value.
struct DownstreamWord {
  /// Replay position of this timeline downstream (ApplyPosition::downstream); 0/0: none.
  wal::TimelineId timeline = 0;
  wal::Lsn applied;
  /// The oldest transactions still needed; nullopt: not known yet, so nothing is sent.
  std::optional<wire::HotStandbyFeedback> needs;
  bool operator==(const DownstreamWord&) const = default;
};

}  // namespace weir::receive
