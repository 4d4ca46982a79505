#pragma once

#include <chrono>

#include "http/message.h"
#include "receive/receiver_view.h"
#include "status/check.h"

namespace weir::web {

/// For orchestrators and load balancers, who need no token: no answer names a host or a slot. Pure.

/// Does the process turn? 200 or 503. `since_progress`: since the stream's guardian last said that
/// it is there, which it does every few seconds while WAL streams. Why it does not archive follows
/// in the body; a restart would not help.
[[nodiscard]] http::Answer health(const receive::ReceiverView& view,
                                  std::chrono::milliseconds since_progress);
/// Does it archive, within `limits` and with space on the disk of `archive` (unset: not known yet)?
/// Not if the check of its directory hangs. 200 or 503, with the reason.
[[nodiscard]] http::Answer readiness(const receive::ReceiverView& view,
                                     const status::Limits& limits,
                                     const status::StatusReport* archive = nullptr,
                                     bool directory_hangs = false);
inline constexpr const char* kDirectoryHangs =
    "the check of the archive's directory has not returned";

}  // namespace weir::web
