#include "pq/replication_stream.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <string_view>
#include <utility>

#include "base/text.h"
#include "net/wait.h"
#include "net/wake.h"
#include "pq/answers.h"
#include "pq/connection.h"
#include "pq/tcp_count.h"
#include "wal/pg_time.h"
#include "wal/segment.h"

namespace weir::pq {

namespace {

using Clock = std::chrono::steady_clock;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr auto kStartTimeout = std::chrono::seconds(60);

std::int64_t now_since_2000() {
  return wal::PgTime::of(std::chrono::system_clock::now()).microseconds;
}

bool names_segment(std::string_view message) {
  constexpr std::size_t kDigits = 24;
  for (std::size_t at = 0; at + kDigits <= message.size(); ++at)
    if (wal::SegmentName::parse(message.substr(at, kDigits))) return true;
  return false;
}

}  // namespace

ReplicationStream ReplicationStream::start(Connection& connection,
                                           const std::optional<std::string>& slot, wal::Lsn start,
                                           wal::TimelineId timeline, const net::Wake& interrupt) {
  std::string command = "START_REPLICATION ";
  if (slot) command += "SLOT " + connection.quote_identifier(*slot) + " ";
  command += fmt::format("PHYSICAL {} TIMELINE {}", start, timeline);
  return begin(connection, command, wire::StreamKind::physical, timeline, interrupt);
}

ReplicationStream ReplicationStream::start_logical(Connection& connection, const std::string& slot,
                                                   wal::Lsn start, const PluginOptions& options,
                                                   const net::Wake& interrupt) {
  std::string command =
      fmt::format("START_REPLICATION SLOT {} LOGICAL {}", connection.quote_identifier(slot), start);
  std::string_view separator = " (";
  for (const auto& [name, value] : options) {
    command += separator;
    command += connection.quote_identifier(name);
    if (value) command += " " + connection.quote_literal(*value);
    separator = ", ";
  }
  if (!options.empty()) command += ")";
  return begin(connection, command, wire::StreamKind::logical, 0, interrupt);
}

ReplicationStream ReplicationStream::begin(Connection& connection, const std::string& command,
                                           wire::StreamKind kind, wal::TimelineId timeline,
                                           const net::Wake& interrupt) {
  ReplicationStream stream(connection.handle(), connection.server_name(), kind, timeline);
  const Clock::time_point deadline = Clock::now() + kStartTimeout;
  connection.send(command, deadline, interrupt);
  // Everything read so far was processed; the answer is not read before await_result().
  if (kind == wire::StreamKind::physical) stream.read_directly_from_here(connection);
  connection.await_result(deadline, interrupt);
  const Result result(PQgetResult(stream.connection_), &PQclear);
  if (PQresultStatus(result.get()) == PGRES_COPY_BOTH) {
    stream.phase_ = Phase::copying;
    stream.direct_.on_copy_began();
    return stream;
  }
  // An error, or the timeline ends exactly here and the server reports that without a COPY.
  stream.take_result(result.get(),
                     kind == wire::StreamKind::physical ? "START_REPLICATION" : command);
  return stream;
}

void ReplicationStream::read_directly_from_here(Connection& connection) {
  if (PQgssEncInUse(connection_) != 0) return;
  if (PQsslInUse(connection_) == 0) {
    direct_.on_command_sent(bytes_read(connection.socket()));
    return;
  }
  auto reader = connection.tls_reader();
  if (!reader || !reader->begin_count(tls_session(connection_))) return;
  direct_.on_command_sent([handle = connection_] { return tls_session(handle); },
                          std::move(reader));
}

StreamEvent ReplicationStream::next(std::span<std::byte> place) {
  buffer_.reset();
  if (phase_ == Phase::copying) {
    StreamEvent event = next_in_copy(place);
    if (phase_ == Phase::copying) return event;
  }
  return next_result();
}

StreamEvent ReplicationStream::next_in_copy(std::span<std::byte> place) {
  if (direct_.reading() && lost_) throw lost();
  if (direct_.reading())
    if (const auto event = next_directly(place)) return *event;
  char* raw = nullptr;
  const int size = PQgetCopyData(connection_, &raw, 1);
  buffer_.reset(raw);
  if (size == 0 && !lost_ && !write_failed_ && direct_.take_over(socket(), wire::kMaxXLogData))
    return next_in_copy(place);
  if (size == 0) {
    if (lost_) throw lost();
    require_bounded_message();
    if (!write_failed_) return NothingYet{};
    // The server's final message may still be in the socket; read it before giving up.
    receive();
    lost_ = true;
    return next_in_copy();
  }
  message_.complete();
  if (size < 0) {  // -1: the copy has ended; -2: so has the connection, the result has the reason
    phase_ = Phase::ending;
    return NothingYet{};
  }
  direct_.on_libpq_message(static_cast<std::size_t>(size));
  return understood(wire::decode_from_server(
      std::as_bytes(std::span<const char>(raw, static_cast<std::size_t>(size))), kind_));
}

StreamEvent ReplicationStream::understood(const wire::FromServer& message) const {
  if (const auto* wal = std::get_if<wire::XLogData>(&message)) return *wal;
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&message)) return *keepalive;
  Error error = std::get<Error>(message);
  throw error.with("server", server_name_);
}

/// Returns nullopt if libpq must read next.
std::optional<StreamEvent> ReplicationStream::next_directly(std::span<std::byte> place) {
  const bool wanted = direct_.wanted() && !write_failed_;
  if (wanted || direct_.within_message()) switch (direct_.next(place)) {
      case DirectCopy::Found::message:
        message_.complete();
        return understood(
            wire::decode_from_server(direct_.message().head(), direct_.message().body(), kind_));
      case DirectCopy::Found::nothing:
        if (!write_failed_) return NothingYet{};
        lost_ = true;  // the rest of the message will not be requested
        throw lost();
      case DirectCopy::Found::lost:
        lost_ = true;
        throw lost();
      case DirectCopy::Found::other:
        break;
    }
  direct_.stop();
  if (direct_.holds()) receive();
  return std::nullopt;
}

// After the copy at the end of a timeline come a row with the next timeline, and one or two
// CommandComplete. A server that shuts down sends one CommandComplete and closes the connection.
StreamEvent ReplicationStream::next_result() {
  while (phase_ == Phase::ending) {
    if (PQisBusy(connection_) != 0) {
      require_bounded_message();
      if (!lost_) return NothingYet{};
      if (!command_complete_) throw lost();
      phase_ = Phase::ended;
      break;
    }
    message_.complete();
    const Result result(PQgetResult(connection_), &PQclear);
    if (!result) {
      if (!command_complete_) throw lost();
      phase_ = Phase::ended;
      break;
    }
    if (PQresultStatus(result.get()) == PGRES_COPY_IN) {
      // The server has ended its direction and waits for us to end ours. libpq returns this result
      // until it has sent CopyDone.
      const int done = PQputCopyEnd(connection_, nullptr);
      if (done < 0 || PQflush(connection_) < 0) lost_ = true;
      if (lost_) throw lost();
      if (done == 0) return NothingYet{};
      continue;
    }
    take_result(result.get());
  }
  return end_;
}

void ReplicationStream::require_bounded_message() {
  if (timeline_ == 0) return;  // logical: rows can be as large as libpq accepts
  if (!std::exchange(has_read_, false)) return;
  try {
    message_.incomplete(PQsocket(connection_));
  } catch (Error& error) {
    throw error.with("server", server_name_);
  }
}

/// `command`: it was the answer to START_REPLICATION, which pg_receivewal calls so.
void ReplicationStream::take_result(const PGresult* result, std::string_view command) {
  switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
      command_complete_ = true;
      return;
    case PGRES_TUPLES_OK: {
      // next_tli, next_tli_startpos; never at the end of a logical stream
      const bool row =
          kind_ == wire::StreamKind::physical && PQntuples(result) == 1 && PQnfields(result) >= 2;
      const auto timeline = row ? parse_timeline(PQgetvalue(result, 0, 0)) : std::nullopt;
      const auto switchpoint = row ? wal::Lsn::parse(PQgetvalue(result, 0, 1)) : std::nullopt;
      // Up to version 14, a standby that was promoted between IDENTIFY_SYSTEM and START_REPLICATION
      // searches the history of its former timeline for the next one (StartReplication() and
      // XLogSendPhysical() in replication/walsender.c), and names timeline 0. The next connection
      // meets no such server.
      if (row && std::string_view(PQgetvalue(result, 0, 0)) == "0")
        throw Error(ErrorKind::retry, "the server named no next timeline: it was promoted just now")
            .with("server", server_name_)
            .with("timeline", timeline_);
      if (!timeline || !switchpoint || *timeline <= timeline_)
        throw Error(ErrorKind::protocol, "the server named an invalid next timeline")
            .with("server", server_name_)
            .with("timeline", timeline_);
      end_.next = EndOfStream::Next{*timeline, *switchpoint};
      command_complete_ = true;
      return;
    }
    case PGRES_FATAL_ERROR:
    case PGRES_NONFATAL_ERROR: {
      phase_ = Phase::ended;
      if (PQresultErrorField(result, PG_DIAG_SQLSTATE) == nullptr) {
        // libpq generated it: the connection broke. After the server's CommandComplete this is not
        // an error.
        if (command_complete_) return;
        throw lost(trimmed(PQresultErrorMessage(result)));
      }
      // The connection stays usable: Connection::send() discards the rest.
      throw stream_error(result, command);
    }
    default:
      throw Error(ErrorKind::protocol, "unexpected response to START_REPLICATION")
          .with("server", server_name_)
          .with("answer", PQresStatus(PQresultStatus(result)));
  }
}

/// Only for WAL is a missing file a gap: "requested WAL segment ... has already been removed".
/// Otherwise it is a temporary failure. A logical stream needs other files too, for example the
/// plugin's library.
Error ReplicationStream::stream_error(const PGresult* result, std::string_view command) const {
  constexpr std::string_view kUndefinedFile = "58P01";
  auto error = server_error(result, server_name_);
  error.with_stock_text(command.empty()
                            ? "unexpected termination of replication stream: " + error.stock_text()
                            : rejected_command(command, error.stock_text()));
  if (error.sqlstate() != kUndefinedFile) return error;
  if (kind_ == wire::StreamKind::logical && !names_segment(error.message())) return error;
  return Error(ErrorKind::gap, error.message())
      .reported_as(error)
      .with("server", server_name_)
      .with("SQLSTATE", error.sqlstate())
      .hint("The server no longer has this WAL.");
}

void ReplicationStream::receive() {
  if (direct_.reading()) return;  // next() does it
  has_read_ = true;
  // libpq keeps what was read before a failure, so next() decides when to report it. Data read from
  // the socket before libpq's turn would not make poll() return.
  do {
    if (PQconsumeInput(connection_) != 1) lost_ = true;
  } while (!lost_ && direct_.holds());
  // Notifications are not used here; a server that sends them anyway must not fill the memory.
  while (PGnotify* notify = PQnotifies(connection_)) PQfreemem(notify);
}

void ReplicationStream::keep_last() {
  kept_buffer_ = std::move(buffer_);
  kept_body_ = direct_.release_body();
}

void ReplicationStream::send(const wire::StandbyStatus& status) {
  const bool asked = waiting_ && waiting_->reply_requested;
  waiting_ = status;
  waiting_->reply_requested |= asked;
  flush();
}

void ReplicationStream::send(const wire::HotStandbyFeedback& feedback) {
  waiting_feedback_ = feedback;
  flush();
}

bool ReplicationStream::flush() {
  // If libpq cannot send, it reads all available data and buffers it: so wait until the socket is
  // writable, or a server that sends and never reads could fill our memory.
  if (blocked_ || direct_.within_message()) {
    pollfd fd{PQsocket(connection_), POLLOUT, 0};
    if (fd.fd >= 0 && ::poll(&fd, 1, 0) == 0) return false;
    blocked_ = false;
  }
  if (waiting_feedback_ && push() == 0 && put(wire::encode(*waiting_feedback_, now_since_2000())))
    waiting_feedback_.reset();
  if (waiting_ && push() == 0 && put(wire::encode(*waiting_, now_since_2000()))) waiting_.reset();
  const int unsent = push();
  blocked_ = unsent > 0;
  if (unsent < 0) {
    write_failed_ = true;
    waiting_.reset();
    waiting_feedback_.reset();
  }
  return unsent <= 0 && !waiting_ && !waiting_feedback_;
}

/// Returns false if libpq has no room for it now.
bool ReplicationStream::put(const std::string& message) {
  const int put = phase_ == Phase::copying
                      ? PQputCopyData(connection_, message.data(), static_cast<int>(message.size()))
                      : 1;
  if (put < 0) write_failed_ = true;
  return put != 0;
}

/// PQflush(), which may read data that libpq must then return.
int ReplicationStream::push() {
  const auto read = direct_.mark();
  const int unsent = PQflush(connection_);
  if (direct_.reading() && (unsent > 0 || direct_.mark() != read)) {
    if (direct_.within_message()) {
      lost_ = true;  // there was room for it, so this is unlikely
    } else {
      direct_.stop();
      if (direct_.holds()) receive();
    }
  }
  return unsent;
}

void ReplicationStream::let_go() {
  const int socket = PQsocket(connection_);
  if (socket < 0) return;
  // A reset, since a thread that blocks in a send notices only that. (tcp(7); shutdown() would wake
  // readers only.)
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (::connect(socket, &nobody, sizeof nobody) != 0) ::shutdown(socket, SHUT_RDWR);
}

void ReplicationStream::gather(std::size_t bytes) { direct_.gather(bytes); }

void ReplicationStream::finish(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  direct_.retire();
  for (;;) {
    const bool flushed = flush();
    if (flushed && !direct_.reading()) break;
    read_on(!flushed, deadline);
    discard();
  }
  for (bool done = false; phase_ == Phase::copying && !done;) {
    const int put = PQputCopyEnd(connection_, nullptr);
    if (put < 0) break;  // the connection broke: next() reports the reason
    done = put == 1;
    if (!done) {
      read_on(true, deadline);
      discard();
    }
  }
  for (;;) {
    const StreamEvent event = next();
    if (std::holds_alternative<EndOfStream>(event)) return;
    if (!std::holds_alternative<NothingYet>(event)) {
      if (Clock::now() < deadline) continue;  // a server that never stops sending
    }
    read_on(PQflush(connection_) > 0, deadline);
  }
}

/// Unread messages would accumulate in memory: a server may send and not read.
void ReplicationStream::discard() {
  while (phase_ == Phase::copying && !std::holds_alternative<NothingYet>(next_in_copy())) {
  }
}

void ReplicationStream::read_on(bool unsent, Clock::time_point deadline) {
  if (Clock::now() >= deadline ||
      (!direct_.holds() && !net::wait_for_socket(socket(), true, unsent, nullptr, deadline)))
    throw Error(ErrorKind::retry, "the server did not end the stream in time")
        .with("server", server_name_);
  receive();
}

Error ReplicationStream::lost() const { return lost(trimmed(PQerrorMessage(connection_))); }

Error ReplicationStream::lost(std::string_view reason) const {
  if (reason.empty()) reason = "the server closed it";
  return Error(ErrorKind::retry, fmt::format("the replication connection failed: {}", reason))
      .with("server", server_name_)
      .with_stock_text(fmt::format("could not receive data from WAL stream: {}", reason));
}

int ReplicationStream::socket() const {
  const int socket = PQsocket(connection_);
  return socket >= 0 ? socket : always_ready_->fd();
}

bool ReplicationStream::by_unix_socket() const {
  int domain = 0;
  socklen_t size = sizeof domain;
  return ::getsockopt(PQsocket(connection_), SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
         domain == AF_UNIX;
}

ReplicationStream::ReplicationStream(pg_conn* connection, std::string server_name,
                                     wire::StreamKind kind, wal::TimelineId timeline)
    : connection_(connection),
      server_name_(std::move(server_name)),
      kind_(kind),
      timeline_(timeline),
      always_ready_(std::make_unique<net::Wake>()) {
  always_ready_->raise();
}

void ReplicationStream::FreeBuffer::operator()(char* buffer) const { PQfreemem(buffer); }

ReplicationStream::ReplicationStream(ReplicationStream&&) noexcept = default;
ReplicationStream& ReplicationStream::operator=(ReplicationStream&&) noexcept = default;
ReplicationStream::~ReplicationStream() = default;

}  // namespace weir::pq
