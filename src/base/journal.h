#pragma once

#include <string>
#include <string_view>

#include "base/log.h"

namespace weir {

/// True if `fd` leads to systemd's journal: $JOURNAL_STREAM names its device and inode
/// (systemd.exec(5)).
[[nodiscard]] bool is_journal(int fd);

/// Adds the priority to the start of each line, as the journal parses it in a service's output:
/// "<4>text" (sd-daemon(3)). `lines` ends with a newline.
[[nodiscard]] std::string with_priority(LogLevel level, std::string_view lines);

}  // namespace weir
