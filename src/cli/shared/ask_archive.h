#pragma once

#include <optional>
#include <string>

#include "archive/durable_end.h"
#include "status/report.h"

namespace weir::cli {

// Whoever is at work on an archive, asked by the sockets in its directory. That somebody does not
// answer is told in the report.

void ask_receiver(status::StatusReport& report, const std::string& directory);
/// Who serves the archive, and whose slots are kept beside it.
void ask_relays(status::StatusReport& report, const std::string& directory);
/// Takes over what was asked for another report.
void take_answers(status::StatusReport& report, status::StatusReport&& asked);
/// Of these, what the receiver has answered.
void take_receiver(status::StatusReport& report, const status::StatusReport& asked);

/// How far the receiver that streams into the archive has made it durable, if there is one. nullopt
/// also if it cannot be asked: nobody waits for it.
[[nodiscard]] std::optional<archive::DurableEnd> durable_end_of(const std::string& directory);

}  // namespace weir::cli
