#pragma once

#include <chrono>
#include <string>

#include "pgweir/listener.h"

namespace weir::cli {

using WallTime = std::chrono::system_clock::time_point;

/// "channel<TAB>pid<TAB>payload\n". Control characters and backslashes, which would make two lines
/// or fields of one, are written \n, \t, \\, \x1b.
[[nodiscard]] std::string notification_text(const Notification& notification);

/// One JSON object and a newline; docs/notify.md has the format. Text that is not valid UTF-8 is
/// shown with replacement characters, and additionally in hex.
[[nodiscard]] std::string notification_json(const Notification& notification, WallTime received);
[[nodiscard]] std::string listening_json(const Listener::Listening& listening, WallTime since);

}  // namespace weir::cli
