#pragma once

#include <string>

#include "status/report.h"

namespace weir::cli {

// Whoever is at work on an archive, asked by the sockets in its directory. That somebody does not
// answer is told in the report.

void ask_receiver(status::StatusReport& report, const std::string& directory);
/// Who serves the archive, and whose slots are kept beside it.
void ask_relays(status::StatusReport& report, const std::string& directory);
/// Takes over what was asked for another report.
void take_answers(status::StatusReport& report, status::StatusReport&& asked);

}  // namespace weir::cli
