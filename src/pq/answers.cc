#include "pq/answers.h"

#include <utility>

namespace weir::pq {

std::optional<wal::Lsn> parse_lsn(const std::optional<std::string>& text) {
  return text ? wal::Lsn::parse(*text) : std::nullopt;
}

std::optional<wal::TimelineId> parse_timeline(const std::optional<std::string>& text) {
  const auto timeline = text ? parse_number<wal::TimelineId>(*text) : std::nullopt;
  return timeline == 0u ? std::nullopt : timeline;
}

Error unexpected(const Connection& connection, std::string_view command) {
  return Error(ErrorKind::protocol, "unexpected response to a replication command")
      .with("server", connection.server_name())
      .with("command", command)
      .hint("Check host and port: connection poolers and proxies do not support replication.");
}

Row one_row(Connection& connection, const std::string& command, std::size_t columns) {
  Rows rows = connection.execute(command);
  if (rows.size() != 1 || rows[0].size() < columns) throw unexpected(connection, command);
  return std::move(rows[0]);
}

}  // namespace weir::pq
