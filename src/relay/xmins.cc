#include "relay/xmins.h"

#include <algorithm>

namespace weir::relay {

namespace {

std::uint64_t older(std::uint64_t a, std::uint64_t b) {
  if (a == 0 || b == 0) return std::max(a, b);
  return std::min(a, b);
}

/// An epoch without a transaction is ignored.
std::uint64_t full(std::uint32_t epoch, std::uint32_t xid) {
  return xid == 0 ? 0 : std::uint64_t{epoch} << 32 | xid;
}

}  // namespace

Xmins least(Xmins a, Xmins b) {
  return {older(a.xmin, b.xmin), older(a.catalog_xmin, b.catalog_xmin)};
}

Xmins xmins_of(const wire::HotStandbyFeedback& feedback) {
  return {full(feedback.xmin_epoch, feedback.xmin),
          full(feedback.catalog_xmin_epoch, feedback.catalog_xmin)};
}

wire::HotStandbyFeedback feedback_of(Xmins xmins) {
  return {.xmin = static_cast<std::uint32_t>(xmins.xmin),
          .xmin_epoch = static_cast<std::uint32_t>(xmins.xmin >> 32),
          .catalog_xmin = static_cast<std::uint32_t>(xmins.catalog_xmin),
          .catalog_xmin_epoch = static_cast<std::uint32_t>(xmins.catalog_xmin >> 32)};
}

}  // namespace weir::relay
