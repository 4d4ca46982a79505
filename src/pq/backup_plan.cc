#include "pq/backup_plan.h"

#include <libpq-fe.h>

#include <chrono>
#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "pq/answers.h"
#include "wal/server_version.h"

namespace weir::pq {

namespace {

constexpr auto kSendPlan = std::chrono::seconds(30);
/// A fast checkpoint of a busy server; it can be interrupted.
constexpr auto kCheckpoint = std::chrono::hours(24);

std::optional<std::string> field(const PGresult* result, int row, int column) {
  if (column >= PQnfields(result) || PQgetisnull(result, row, column) != 0) return std::nullopt;
  return std::string(PQgetvalue(result, row, column),
                     static_cast<std::size_t>(PQgetlength(result, row, column)));
}

}  // namespace

std::uint64_t BackupPlan::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& each : tablespaces) sum += each.bytes;
  return sum;
}

BackupPlan ask_backup_plan(Connection connection) {
  const auto* const command =
      wal::ServerVersion(connection.server_major()).has_backup_options_in_parentheses()
          ? "BASE_BACKUP (LABEL 'pgweir backup: sizes', PROGRESS, CHECKPOINT 'fast', MANIFEST "
            "'no', WAIT 0)"
          : "BASE_BACKUP LABEL 'pgweir backup: sizes' PROGRESS FAST NOWAIT";
  const auto now = std::chrono::steady_clock::now();
  connection.send(command, now + kSendPlan, connection.interrupt());
  const auto next = [&] {
    connection.await_result(now + kCheckpoint, connection.interrupt());
    std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection.handle()),
                                                         &PQclear);
    if (!result) throw unexpected(connection, "BASE_BACKUP");
    if (PQresultStatus(result.get()) == PGRES_FATAL_ERROR)
      throw server_error(result.get(), connection.server_name());
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK)
      throw unexpected(connection, "BASE_BACKUP");
    return result;
  };
  BackupPlan plan;
  const auto begin = next();
  const auto start =
      parse_lsn(PQntuples(begin.get()) == 1 ? field(begin.get(), 0, 0) : std::nullopt);
  const auto timeline = start ? parse_timeline(field(begin.get(), 0, 1)) : std::nullopt;
  if (!timeline) throw unexpected(connection, "BASE_BACKUP");
  plan.start = *start;
  plan.timeline = *timeline;
  const auto places = next();
  constexpr std::uint64_t kKilobyte = 1024;
  for (int row = 0; row < PQntuples(places.get()); ++row) {
    const auto size = parse_number<std::uint64_t>(field(places.get(), row, 2).value_or(""));
    if (!size) throw unexpected(connection, "BASE_BACKUP");
    plan.tablespaces.push_back({field(places.get(), row, 0).value_or(""),
                                field(places.get(), row, 1).value_or(""), *size * kKilobyte});
  }
  if (plan.tablespaces.empty()) throw unexpected(connection, "BASE_BACKUP");
  return plan;
}

}  // namespace weir::pq
