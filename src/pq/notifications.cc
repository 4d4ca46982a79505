#include "pq/notifications.h"

#include <libpq-fe.h>

#include <memory>
#include <utility>

#include "base/text.h"

namespace weir::pq {

namespace {

constexpr std::size_t kMaxChannel = 63;    // NAMEDATALEN - 1
constexpr std::size_t kMaxPayload = 7999;  // NOTIFY_PAYLOAD_MAX_LENGTH - 1
constexpr std::string_view kReadOnly = "25006";

/// A standby reports "cannot execute LISTEN during recovery", which does not say what to do.
template <typename Function>
void told_of_standby(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    if (error.sqlstate() != kReadOnly) throw;
    throw Error(ErrorKind::refused, error.message())
        .with_sqlstate(error.sqlstate())
        .with("SQLSTATE", error.sqlstate())
        .hint(
            "A standby has no notifications. Connect to the primary; with several hosts, "
            "target_session_attrs=read-write in the connection string selects it.");
  }
}

}  // namespace

void require_channel(const std::string& channel) {
  if (channel.empty())
    throw Error(ErrorKind::usage, "a channel needs a name of 1 to 63 bytes, not an empty one");
  if (channel.find('\0') != std::string::npos)
    throw Error(ErrorKind::usage, "the name of a channel has a zero byte in it");
  if (channel.size() > kMaxChannel)
    throw Error(ErrorKind::usage, "the name of the channel is too long")
        .with("channel", channel)
        .with("bytes", channel.size())
        .hint(
            "Names have at most 63 bytes in PostgreSQL: LISTEN would truncate it, and no "
            "notification could be sent to it. Choose a shorter name.");
}

void require_payload(const std::string& channel, const std::string& payload) {
  if (payload.find('\0') != std::string::npos)
    throw Error(ErrorKind::usage, "the payload has a zero byte in it")
        .with("channel", channel)
        .hint("A payload is text. Send bytes in base64 or hex.");
  if (payload.size() > kMaxPayload)
    throw Error(ErrorKind::usage, "the payload is too long")
        .with("channel", channel)
        .with("bytes", payload.size())
        .hint(
            "PostgreSQL accepts less than 8000 bytes. Store the data in a table or file, and "
            "send its key.");
}

void notify(Connection& connection, const std::string& channel, const std::string& payload,
            std::chrono::milliseconds timeout) {
  require_channel(channel);
  require_payload(channel, payload);
  told_of_standby([&] {
    connection.execute("SELECT pg_catalog.pg_notify(" + connection.quote_literal(channel) + ", " +
                           connection.quote_literal(payload) + ")",
                       timeout);
  });
}

void Notifications::listen(const std::string& channel) {
  require_channel(channel);
  told_of_standby(
      [&] { connection_->execute("LISTEN " + connection_->quote_identifier(channel)); });
}

void Notifications::ask() {
  if (asking_) return;
  asking_ = true;
  if (PQsendQuery(connection_->handle(), "") != 1) lost_ = true;
  flush();
}

void Notifications::flush() {
  const int left = PQflush(connection_->handle());
  unsent_ = left > 0;
  if (left < 0) {
    // The server's final message may still be in the socket.
    static_cast<void>(PQconsumeInput(connection_->handle()));
    lost_ = true;
  }
}

bool Notifications::receive() {
  // libpq keeps what was read before a failure, so next() decides when to report it.
  if (PQconsumeInput(connection_->handle()) == 1) return true;
  lost_ = true;
  return false;
}

std::optional<ReceivedNotification> Notifications::next() {
  const std::unique_ptr<PGnotify, decltype(&PQfreemem)> raw(PQnotifies(connection_->handle()),
                                                            &PQfreemem);
  if (raw) return ReceivedNotification{raw->relname, raw->extra, raw->be_pid};
  read_answer();
  if (lost_ || PQstatus(connection_->handle()) == CONNECTION_BAD) {
    std::string reason(trimmed(PQerrorMessage(connection_->handle())));
    if (reason.empty()) reason = "the server closed it";
    throw Error(ErrorKind::retry, "the connection was lost: " + reason)
        .with("server", connection_->server_name());
  }
  return std::nullopt;
}

/// The empty query's result, or the server's message when an administrator ends the connection.
void Notifications::read_answer() {
  while (asking_ && PQisBusy(connection_->handle()) == 0) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection_->handle()),
                                                               &PQclear);
    if (!result) asking_ = false;
  }
}

}  // namespace weir::pq
