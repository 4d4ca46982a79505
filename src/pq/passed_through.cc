// libpq parses the response, and this class serializes it again. This is necessary for TLS and
// other features of libpq; nothing is lost, since libpq has a function for each part of a message
// (PostgreSQL documentation, chapter "Frontend/Backend Protocol", "Message Formats").

#include "pq/passed_through.h"

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "wire/backend_messages.h"

namespace weir::pq {

namespace {

using Clock = std::chrono::steady_clock;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr auto kSendTime = std::chrono::seconds(30);

/// In the order of send_message_to_frontend() in elog.c.
constexpr int kReportFields[] = {PG_DIAG_SEVERITY,
                                 PG_DIAG_SEVERITY_NONLOCALIZED,
                                 PG_DIAG_SQLSTATE,
                                 PG_DIAG_MESSAGE_PRIMARY,
                                 PG_DIAG_MESSAGE_DETAIL,
                                 PG_DIAG_MESSAGE_HINT,
                                 PG_DIAG_CONTEXT,
                                 PG_DIAG_SCHEMA_NAME,
                                 PG_DIAG_TABLE_NAME,
                                 PG_DIAG_COLUMN_NAME,
                                 PG_DIAG_DATATYPE_NAME,
                                 PG_DIAG_CONSTRAINT_NAME,
                                 PG_DIAG_STATEMENT_POSITION,
                                 PG_DIAG_INTERNAL_POSITION,
                                 PG_DIAG_INTERNAL_QUERY,
                                 PG_DIAG_SOURCE_FILE,
                                 PG_DIAG_SOURCE_LINE,
                                 PG_DIAG_SOURCE_FUNCTION};

std::vector<wire::ReportField> fields_of(const PGresult* result) {
  std::vector<wire::ReportField> fields;
  for (const int field : kReportFields)
    if (const char* text = PQresultErrorField(result, field); text != nullptr)
      fields.push_back({static_cast<char>(field), text});
  return fields;
}

void append_rows(std::string& out, const PGresult* result) {
  std::vector<wire::Column> columns;
  for (int i = 0; i < PQnfields(result); ++i)
    columns.push_back({.name = PQfname(result, i),
                       .type = PQftype(result, i),
                       .size = static_cast<std::int16_t>(PQfsize(result, i)),
                       .table = PQftable(result, i),
                       .attribute = static_cast<std::uint16_t>(PQftablecol(result, i)),
                       .modifier = static_cast<std::uint32_t>(PQfmod(result, i)),
                       .format = static_cast<std::uint16_t>(PQfformat(result, i))});
  wire::append_row_description(out, columns);
  for (int row = 0; row < PQntuples(result); ++row) {
    std::vector<std::optional<std::string>> values;
    for (int i = 0; i < PQnfields(result); ++i) {
      auto& value = values.emplace_back();
      if (PQgetisnull(result, row, i) == 0)
        value.emplace(PQgetvalue(result, row, i),
                      static_cast<std::size_t>(PQgetlength(result, row, i)));
    }
    wire::append_data_row(out, values);
  }
}

void append_copy_out(std::string& out, const PGresult* result) {
  std::vector<std::uint16_t> formats;
  for (int i = 0; i < PQnfields(result); ++i)
    formats.push_back(static_cast<std::uint16_t>(PQfformat(result, i)));
  wire::append_copy_out(out, static_cast<char>(PQbinaryTuples(result)), formats);
}

}  // namespace

PassedThrough::PassedThrough(Connection connection, const std::string& command)
    : connection_(std::move(connection)) {
  PQsetNoticeReceiver(connection_.handle(), &PassedThrough::on_notice, this);
  connection_.send(command, Clock::now() + kSendTime, connection_.interrupt());
}

bool PassedThrough::polls_again() const {
  return PQsslInUse(connection_.handle()) != 0 || PQgssEncInUse(connection_.handle()) != 0;
}

PassedThrough::Progress PassedThrough::take(std::string& out, std::size_t most) {
  auto* const connection = connection_.handle();
  const auto before = out.size();
  while (end_ == Progress::nothing && out.size() < most) {
    if (next(out)) {
      bound_.complete();
      continue;
    }
    // Available messages are passed on before more is read: so libpq buffers only one message.
    static_cast<void>(PQflush(connection));
    const bool lives = PQconsumeInput(connection) == 1;
    if (next(out)) {
      bound_.complete();
      continue;
    }
    if (!lives || PQstatus(connection) == CONNECTION_BAD) throw lost(PQerrorMessage(connection));
    bound_.incomplete(connection_.socket());
    break;
  }
  if (end_ != Progress::nothing) return end_;
  return out.size() > before ? Progress::some : Progress::nothing;
}

/// Returns whether there was a message, or an end.
bool PassedThrough::next(std::string& out) {
  if (end_ != Progress::nothing) return false;
  auto* const connection = connection_.handle();
  if (copying_) {
    char* raw = nullptr;
    const int size = PQgetCopyData(connection, &raw, 1);
    const std::unique_ptr<char, decltype(&PQfreemem)> data(raw, &PQfreemem);
    if (size > 0) wire::append_copy_data(out, {raw, static_cast<std::size_t>(size)});
    copying_ = size >= 0;
    copy_ended_ = !copying_;
    if (size != 0) return true;
  } else if (PQisBusy(connection) == 0) {
    const Result result(PQgetResult(connection), &PQclear);
    out += std::exchange(notices_, {});
    pass(result.get(), out);
    return true;
  }
  // Notices are passed on at once, not with the result that follows them.
  const bool noticed = !notices_.empty();
  out += std::exchange(notices_, {});
  return noticed;
}

/// nullptr: the answer is complete.
void PassedThrough::pass(const PGresult* result, std::string& out) {
  const auto status = PQresultStatus(result);
  const bool failed = result != nullptr && status == PGRES_FATAL_ERROR;
  // libpq ends a copy at any message that is not data. If that is an error there may have been no
  // CopyDone, and a client that gets the error does not need one.
  if (std::exchange(copy_ended_, false) && !failed) wire::append_copy_done(out);
  if (result == nullptr) {
    end_ = Progress::done;
    return;
  }
  switch (status) {
    case PGRES_TUPLES_OK:
      append_rows(out, result);
      return wire::append_command_complete(out, PQcmdStatus(const_cast<PGresult*>(result)));
    case PGRES_COMMAND_OK:
      return wire::append_command_complete(out, PQcmdStatus(const_cast<PGresult*>(result)));
    case PGRES_COPY_OUT:
      append_copy_out(out, result);
      copying_ = true;
      return;
    case PGRES_FATAL_ERROR:
    case PGRES_NONFATAL_ERROR: {
      if (PQresultErrorField(result, PG_DIAG_SQLSTATE) == nullptr)  // libpq generated it
        throw lost(PQresultErrorMessage(result));
      wire::append_report(out, 'E', fields_of(result));
      const char* const severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
      const bool last_word = severity != nullptr && std::string_view(severity) != "ERROR";
      end_ = last_word ? Progress::fatal : Progress::failed;
      return;
    }
    default:
      throw Error(ErrorKind::protocol, "unexpected response from the server for base backups")
          .with("server", connection_.server_name())
          .with("answer", PQresStatus(PQresultStatus(result)));
  }
}

/// Called by C code, so nothing may be thrown.
void PassedThrough::on_notice(void* self, const PGresult* notice) {
  try {
    // Maximum size of notices while the client does not read: further ones are discarded.
    constexpr std::size_t kMost = std::size_t{64} << 10;
    auto& notices = static_cast<PassedThrough*>(self)->notices_;
    if (notices.size() < kMost) wire::append_report(notices, 'N', fields_of(notice));
  } catch (...) {
  }
}

Error PassedThrough::lost(const char* reason) const {
  return Error(ErrorKind::retry,
               "the connection to the server failed: " + std::string(trimmed(reason)))
      .with("server", connection_.server_name());
}

}  // namespace weir::pq
