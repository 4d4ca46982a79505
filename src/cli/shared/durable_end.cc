#include "cli/shared/durable_end.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "receive/status_socket.h"

namespace weir::cli {

std::optional<archive::DurableEnd> durable_end_of(const std::string& directory) {
  try {
    const auto answer = receive::StatusSocket::ask(directory);
    if (!answer) return std::nullopt;
    const auto json = nlohmann::json::parse(*answer, nullptr, false);
    if (!json.is_object() || !json.contains("flush_lsn") || !json.contains("timeline"))
      return std::nullopt;
    const auto& flush = json["flush_lsn"];
    const auto& timeline = json["timeline"];
    if (!flush.is_string() || !timeline.is_number_unsigned()) return std::nullopt;
    const auto lsn = wal::Lsn::parse(flush.get<std::string>());
    if (!lsn) return std::nullopt;
    return archive::DurableEnd{timeline.get<wal::TimelineId>(), *lsn};
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace weir::cli
