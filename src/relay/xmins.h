#pragma once

#include <cstdint>

#include "wire/copy_messages.h"

namespace weir::relay {

/// The oldest transactions whose rows a standby may still read (hot_standby_feedback), each as
/// FullTransactionId: epoch << 32 | xid, so that they can be compared across a wraparound; 0:
/// unset. Value type. Pure.
struct Xmins {
  std::uint64_t xmin = 0;
  std::uint64_t catalog_xmin = 0;
  bool operator==(const Xmins&) const = default;
};

/// The combination of both: the older one of each kind.
[[nodiscard]] Xmins least(Xmins a, Xmins b);

[[nodiscard]] Xmins xmins_of(const wire::HotStandbyFeedback& feedback);
[[nodiscard]] wire::HotStandbyFeedback feedback_of(Xmins xmins);

}  // namespace weir::relay
