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
    archive::DurableEnd end{timeline.get<wal::TimelineId>(), *lsn};
    if (const auto& write = json.value("write_lsn", nlohmann::json()); write.is_string())
      end.write = wal::Lsn::parse(write.get<std::string>()).value_or(wal::Lsn());
    return end;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace weir::cli
