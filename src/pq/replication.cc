#include "pq/replication.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

#include "pq/sqlstate.h"
#include "pq/tcp_count.h"

namespace weir::pq {
namespace {

using Clock = std::chrono::steady_clock;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr auto kStartTimeout = std::chrono::seconds(60);
constexpr std::size_t kMaxHistory = 16 * 1024 * 1024;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number, base);
  if (code != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// "16MB" → 16, "MB"
std::optional<std::pair<std::uint64_t, std::string_view>> split_unit(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_number<std::uint64_t>(text.substr(0, digits));
  if (!number) return std::nullopt;
  return std::pair(*number, text.substr(digits));
}

Error unexpected(const Connection& connection, std::string_view command) {
  return Error(ErrorKind::protocol, "the server's answer to a replication command makes no sense")
      .with("server", connection.server_name())
      .with("command", command)
      .hint(
          "Is it PostgreSQL itself that answers there? Connection poolers and proxies do not "
          "carry replication.");
}

/// The one row of the answer, with at least `columns` columns.
Row one_row(Connection& connection, const std::string& command, std::size_t columns) {
  Rows rows = connection.execute(command);
  if (rows.size() != 1 || rows[0].size() < columns) throw unexpected(connection, command);
  return std::move(rows[0]);
}

std::optional<wal::Lsn> parse_lsn(const std::optional<std::string>& text) {
  return text ? wal::Lsn::parse(*text) : std::nullopt;
}

std::optional<wal::TimelineId> parse_timeline(const std::optional<std::string>& text) {
  const auto timeline = text ? parse_number<wal::TimelineId>(*text) : std::nullopt;
  return timeline == 0u ? std::nullopt : timeline;
}

/// Big-endian numbers, as everywhere in the protocol.
std::uint64_t read_u64(std::span<const std::byte> bytes) {
  std::uint64_t number = 0;
  for (const std::byte byte : bytes.first(8))
    number = number << 8 | std::to_integer<unsigned>(byte);
  return number;
}

void append_u64(std::string& bytes, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<char>(number >> shift & 0xff));
}

/// The server's answer to START_REPLICATION, with its envelope (StartReplication() in walsender.c).
constexpr std::size_t kCopyBothResponse = 1 + 4 + 1 + 2;

std::int64_t now_since_2000() {
  constexpr auto k2000 = std::chrono::seconds(946'684'800);  // from 1970
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_1970 - k2000).count();
}

}  // namespace

// --- The stream ---------------------------------------------------------------------------------

ReplicationStream ReplicationStream::start(Connection& connection,
                                           const std::optional<std::string>& slot, wal::Lsn start,
                                           wal::TimelineId timeline, const Interrupt& interrupt) {
  std::string command = "START_REPLICATION ";
  if (slot) command += "SLOT " + connection.quote_identifier(*slot) + " ";
  command += fmt::format("PHYSICAL {} TIMELINE {}", start, timeline);
  return begin(connection, command, Replication::physical, timeline, interrupt);
}

ReplicationStream ReplicationStream::start_logical(Connection& connection, const std::string& slot,
                                                   wal::Lsn start, const PluginOptions& options,
                                                   const Interrupt& interrupt) {
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
  return begin(connection, command, Replication::logical, 0, interrupt);
}

ReplicationStream ReplicationStream::begin(Connection& connection, const std::string& command,
                                           Replication kind, wal::TimelineId timeline,
                                           const Interrupt& interrupt) {
  ReplicationStream stream(connection.handle(), connection.server_name(), kind, timeline);
  const Clock::time_point deadline = Clock::now() + kStartTimeout;
  connection.send(command, deadline, interrupt);
  // All that was read so far is understood; the answer is not read before await_result().
  if (kind == Replication::physical && PQsslInUse(stream.connection_) == 0 &&
      PQgssEncInUse(stream.connection_) == 0)
    stream.consumed_ = bytes_read(connection.socket());
  connection.await_result(deadline, interrupt);
  const Result result(PQgetResult(stream.connection_), &PQclear);
  if (PQresultStatus(result.get()) == PGRES_COPY_BOTH) {
    stream.phase_ = Phase::copying;
    if (stream.consumed_) *stream.consumed_ += kCopyBothResponse;
    return stream;
  }
  // An error, or the timeline ends just here and the server says so without a COPY.
  stream.take_result(result.get());
  return stream;
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
  if (direct_ && lost_) throw lost();
  if (direct_)
    if (const auto event = next_directly(place)) return *event;
  char* raw = nullptr;
  const int size = PQgetCopyData(connection_, &raw, 1);
  buffer_.reset(raw);
  if (size == 0 && libpq_holds_nothing()) {
    direct_.emplace(socket(), kMaxXLogData);
    direct_->gather(gathered_);
    looks_ = 0;
    return next_in_copy(place);
  }
  if (size == 0) {
    if (lost_) throw lost();
    require_bounded_message();
    if (!write_failed_) return NothingYet{};
    // The server's last words may still be in the socket; read them before giving up.
    receive();
    lost_ = true;
    return next_in_copy();
  }
  message_.complete();
  if (size < 0) {  // -1: the copy has ended; -2: so has all else, the result has the reason
    phase_ = Phase::ending;
    return NothingYet{};
  }
  if (consumed_) *consumed_ += DirectCopy::kEnvelope + static_cast<std::size_t>(size);
  return understood(
      decode(std::as_bytes(std::span<const char>(raw, static_cast<std::size_t>(size))), kind_));
}

StreamEvent ReplicationStream::understood(const Decoded& message) const {
  if (const auto* wal = std::get_if<XLogData>(&message)) return *wal;
  if (const auto* keepalive = std::get_if<Keepalive>(&message)) return *keepalive;
  Error error = std::get<Error>(message);
  throw error.with("server", server_name_);
}

/// nullopt: what comes next is for libpq.
std::optional<StreamEvent> ReplicationStream::next_directly(std::span<std::byte> place) {
  const bool wanted = gathered_ > 1 && !write_failed_;
  if (wanted || direct_->within_message()) switch (direct_->next(place)) {
      case DirectCopy::Found::message:
        message_.complete();
        *consumed_ += direct_->size();
        return understood(decode(direct_->head(), direct_->body(), kind_));
      case DirectCopy::Found::nothing:
        if (!write_failed_) return NothingYet{};
        lost_ = true;  // nobody will ask for the rest of the message
        throw lost();
      case DirectCopy::Found::lost:
        lost_ = true;
        throw lost();
      case DirectCopy::Found::other:
        consumed_.reset();  // from here on libpq reads
        break;
    }
  stop_reading_directly();
  return std::nullopt;
}

/// True if every byte that was read off the socket belongs to a message that was taken. (Messages
/// that libpq has kept for itself would make it less, so it is never true by mistake.)
bool ReplicationStream::libpq_holds_nothing() {
  constexpr int kMostLooks = 1000;
  if (gathered_ == 1 || !consumed_ || lost_ || write_failed_ || looks_ >= kMostLooks) return false;
  ++looks_;
  return bytes_read_at_most(socket()) == consumed_;
}

// After the copy come, at the end of a timeline, a row with the next one, and one or two
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
      // The server has ended its direction and waits for us to end ours. libpq gives this result
      // until it has taken the CopyDone.
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
  if (timeline_ == 0) return;  // logical: a row may be as large as libpq takes
  try {
    message_.incomplete(PQsocket(connection_));
  } catch (Error& error) {
    throw error.with("server", server_name_);
  }
}

void ReplicationStream::take_result(const PGresult* result) {
  switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
      command_complete_ = true;
      return;
    case PGRES_TUPLES_OK: {
      // next_tli, next_tli_startpos; nothing ends a logical stream so
      const bool row =
          kind_ == Replication::physical && PQntuples(result) == 1 && PQnfields(result) >= 2;
      const auto timeline = row ? parse_timeline(PQgetvalue(result, 0, 0)) : std::nullopt;
      const auto switchpoint = row ? wal::Lsn::parse(PQgetvalue(result, 0, 1)) : std::nullopt;
      if (!timeline || !switchpoint || *timeline <= timeline_)
        throw Error(ErrorKind::protocol, "the server named no valid timeline to follow the old one")
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
        // libpq made it up: the connection broke. After the server's last word that is no error.
        if (command_complete_) return;
        throw Error(ErrorKind::retry,
                    "the replication connection failed: " + trimmed(PQresultErrorMessage(result)))
            .with("server", server_name_);
      }
      // The connection stays usable: Connection::send() reads the rest away.
      throw server_error(result, server_name_);
    }
    default:
      throw Error(ErrorKind::protocol, "the server answered START_REPLICATION with something else")
          .with("server", server_name_)
          .with("answer", PQresStatus(PQresultStatus(result)));
  }
}

void ReplicationStream::receive() {
  if (direct_) return;  // next() does it
  // libpq keeps what was read before a failure, so next() decides when to speak of it.
  if (PQconsumeInput(connection_) != 1) lost_ = true;
  // Nobody listens here; a server that sends notifications all the same would fill the memory.
  while (PGnotify* notify = PQnotifies(connection_)) PQfreemem(notify);
}

void ReplicationStream::send(const StandbyStatus& status) {
  const bool asked = waiting_ && waiting_->reply_requested;
  waiting_ = status;
  waiting_->reply_requested |= asked;
  flush();
}

bool ReplicationStream::flush() {
  // Where libpq cannot send it reads, all there is, and keeps it: not tried until there is room, or
  // a server that sends and never reads could fill our memory.
  if (blocked_ || (direct_ && direct_->within_message())) {
    pollfd fd{PQsocket(connection_), POLLOUT, 0};
    if (fd.fd >= 0 && ::poll(&fd, 1, 0) == 0) return false;
    blocked_ = false;
  }
  if (waiting_ && push() == 0) {
    const std::string message = encode(*waiting_, now_since_2000());
    const int put = phase_ == Phase::copying ? PQputCopyData(connection_, message.data(),
                                                             static_cast<int>(message.size()))
                                             : 1;
    if (put < 0) write_failed_ = true;
    if (put != 0) waiting_.reset();
  }
  const int unsent = push();
  blocked_ = unsent > 0;
  if (unsent < 0) {
    write_failed_ = true;
    waiting_.reset();
  }
  return unsent <= 0 && !waiting_;
}

/// PQflush(), which may read what then is libpq's to give out.
int ReplicationStream::push() {
  const int unsent = PQflush(connection_);
  if (unsent > 0 && direct_) {
    if (direct_->within_message())
      lost_ = true;  // there was room for it, so it can hardly be
    else
      stop_reading_directly();
  }
  return unsent;
}

void ReplicationStream::let_go() {
  if (const int socket = PQsocket(connection_); socket >= 0) ::shutdown(socket, SHUT_RDWR);
}

void ReplicationStream::gather(std::size_t bytes) {
  if (std::exchange(gathered_, bytes) == bytes || !direct_) return;
  direct_->gather(bytes);
  if (bytes == 1 && !direct_->within_message()) direct_.reset();
}

void ReplicationStream::stop_reading_directly() {
  direct_->gather(1);
  direct_.reset();
}

void ReplicationStream::finish(std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  gather(1);
  for (;;) {
    const bool flushed = flush();
    if (flushed && !direct_) break;
    read_on(!flushed, deadline);
    discard();
  }
  for (bool done = false; phase_ == Phase::copying && !done;) {
    const int put = PQputCopyEnd(connection_, nullptr);
    if (put < 0) break;  // the connection broke: next() has the reason
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

/// What is left unread would pile up in memory: a server may send and not read.
void ReplicationStream::discard() {
  while (phase_ == Phase::copying && !std::holds_alternative<NothingYet>(next_in_copy())) {
  }
}

void ReplicationStream::read_on(bool unsent, Clock::time_point deadline) {
  if (Clock::now() >= deadline || !wait_for_socket(socket(), true, unsent, nullptr, deadline))
    throw Error(ErrorKind::retry, "the server did not end the stream in time")
        .with("server", server_name_);
  receive();
}

Error ReplicationStream::lost() const {
  std::string reason = trimmed(PQerrorMessage(connection_));
  if (reason.empty()) reason = "the server closed it";
  return Error(ErrorKind::retry, "the replication connection failed: " + reason)
      .with("server", server_name_);
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

ReplicationStream::ReplicationStream(pg_conn* connection, std::string server_name, Replication kind,
                                     wal::TimelineId timeline)
    : connection_(connection),
      server_name_(std::move(server_name)),
      kind_(kind),
      timeline_(timeline),
      always_ready_(std::make_unique<Interrupt>()) {
  always_ready_->raise();
}

void ReplicationStream::FreeBuffer::operator()(char* buffer) const { PQfreemem(buffer); }

ReplicationStream::ReplicationStream(ReplicationStream&&) noexcept = default;
ReplicationStream& ReplicationStream::operator=(ReplicationStream&&) noexcept = default;
ReplicationStream::~ReplicationStream() = default;

// --- Messages -----------------------------------------------------------------------------------

Decoded decode(std::span<const std::byte> message, Replication kind) {
  const auto head = message.first(std::min(message.size(), DirectCopy::kHead));
  return decode(head, message.subspan(head.size()), kind);
}

Decoded decode(std::span<const std::byte> message, std::span<const std::byte> rest,
               Replication kind) {
  constexpr std::size_t kXLogDataHeader = DirectCopy::kHead;
  constexpr std::size_t kKeepalive = 1 + 8 + 8 + 1;
  const auto wrong = [&](std::string_view what) {
    Error error(ErrorKind::protocol, std::string(what));
    error.with("bytes", message.size() + rest.size());
    return error;
  };
  if (message.empty()) return wrong("the server sent an empty message in the stream");
  const auto field = [&message](std::size_t offset) { return read_u64(message.subspan(offset)); };
  const auto type = std::to_integer<unsigned>(message[0]);
  switch (type) {
    case 'w': {
      if (message.size() < kXLogDataHeader) return wrong("the server sent a WAL message too short");
      XLogData data;
      data.start = wal::Lsn(field(1));
      data.server_end = wal::Lsn(field(9));
      data.server_clock = static_cast<std::int64_t>(field(17));
      data.wal = rest;
      if (kind == Replication::logical) return data;  // `start` is no address of these bytes
      if (data.wal.size() > kMaxXLogData) return wrong("the server sent a WAL message too large");
      if (data.start.byte() > std::numeric_limits<std::uint64_t>::max() - data.wal.size())
        return wrong("the server sent WAL behind the end of all WAL").with("position", data.start);
      return data;
    }
    case 'k': {
      if (message.size() < kKeepalive) return wrong("the server sent a keepalive too short");
      Keepalive keepalive;
      keepalive.server_end = wal::Lsn(field(1));
      keepalive.server_clock = static_cast<std::int64_t>(field(9));
      keepalive.reply_requested = message[17] != std::byte{0};
      return keepalive;
    }
    default:
      return wrong("the server sent a message of unknown type in the stream")
          .with("type", fmt::format("0x{:02x}", type));
  }
}

std::string encode(const StandbyStatus& status, std::int64_t clock) {
  std::string message;
  message.reserve(1 + 4 * sizeof(std::uint64_t) + 1);
  message.push_back('r');
  append_u64(message, status.write.byte());
  append_u64(message, status.flush.byte());
  append_u64(message, status.apply.byte());
  append_u64(message, static_cast<std::uint64_t>(clock));
  message.push_back(status.reply_requested ? '\1' : '\0');
  return message;
}

// --- Commands -----------------------------------------------------------------------------------

SystemIdentity identify_system(Connection& connection) {
  // systemid, timeline, xlogpos, dbname
  const Row row = one_row(connection, "IDENTIFY_SYSTEM", 3);
  const auto identifier = row[0] ? parse_number<std::uint64_t>(*row[0]) : std::nullopt;
  const auto timeline = parse_timeline(row[1]);
  const auto position = parse_lsn(row[2]);
  if (!identifier || !timeline || !position) throw unexpected(connection, "IDENTIFY_SYSTEM");
  return {*identifier, *timeline, *position};
}

std::string show(Connection& connection, const std::string& parameter) {
  const bool name =
      !parameter.empty() && std::all_of(parameter.begin(), parameter.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
      });
  if (!name) throw Error(ErrorKind::usage, "not a server parameter's name").with("name", parameter);
  const std::string command = "SHOW " + parameter;
  const Row row = one_row(connection, command, 1);
  if (!row[0]) throw unexpected(connection, command);
  return *row[0];
}

wal::SegmentSize show_wal_segment_size(Connection& connection) {
  const std::string text = show(connection, "wal_segment_size");
  if (const auto size = parse_segment_size(text)) return *size;
  throw Error(ErrorKind::protocol, "the server's wal_segment_size makes no sense")
      .with("server", connection.server_name())
      .with("value", text);
}

std::optional<wal::SegmentSize> parse_segment_size(std::string_view text) {
  const auto parts = split_unit(text);
  if (!parts || parts->first > 1024ull * 1024 * 1024) return std::nullopt;
  constexpr std::array<std::pair<std::string_view, unsigned>, 5> kShifts = {
      {{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}}};
  for (const auto& [unit, shift] : kShifts) {
    if (unit == parts->second) return wal::SegmentSize::of(parts->first << shift);
  }
  return std::nullopt;
}

unsigned show_data_directory_mode(Connection& connection) {
  const std::string text = show(connection, "data_directory_mode");
  const auto mode = parse_number<unsigned>(text, 8);
  if (mode != 0700u && mode != 0750u)
    throw Error(ErrorKind::protocol, "the server's data_directory_mode makes no sense")
        .with("server", connection.server_name())
        .with("value", text);
  return *mode;
}

std::chrono::milliseconds show_wal_sender_timeout(Connection& connection) {
  const std::string text = show(connection, "wal_sender_timeout");
  if (const auto time = parse_guc_time(text, "ms")) return *time;
  throw Error(ErrorKind::protocol, "the server's wal_sender_timeout makes no sense")
      .with("server", connection.server_name())
      .with("value", text);
}

std::optional<std::chrono::milliseconds> parse_guc_time(const std::string& text,
                                                        const std::string& base_unit) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const std::string_view unit = parts->second.empty() ? base_unit : parts->second;
  const std::uint64_t number = parts->first;
  if (unit == "us")
    return std::chrono::milliseconds(
        static_cast<std::int64_t>(number / 1000 + (number % 1000 != 0)));
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 5> kUnits = {
      {{"ms", 1}, {"s", 1000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  for (const auto& [name, milliseconds] : kUnits) {
    if (name != unit) continue;
    if (number > std::numeric_limits<std::int64_t>::max() / milliseconds) return std::nullopt;
    return std::chrono::milliseconds(static_cast<std::int64_t>(number * milliseconds));
  }
  return std::nullopt;
}

std::optional<SlotState> read_replication_slot(Connection& connection, const std::string& slot) {
  if (connection.server_major() < 15) return std::nullopt;
  // slot_type, restart_lsn, restart_tli; all NULL if there is no such slot
  const std::string command = "READ_REPLICATION_SLOT " + connection.quote_identifier(slot);
  const Row row = one_row(connection, command, 3);
  SlotState state;
  if (!row[0]) return state;
  state.exists = true;
  state.type = *row[0];
  state.restart_lsn = parse_lsn(row[1]);
  state.restart_timeline = parse_timeline(row[2]);
  if (row[1] && !state.restart_lsn) throw unexpected(connection, command);
  return state;
}

bool create_physical_slot(Connection& connection, const std::string& slot, bool reserve_wal,
                          bool temporary) {
  const bool options_in_parentheses = connection.server_major() >= 15;
  try {
    connection.execute("CREATE_REPLICATION_SLOT " + connection.quote_identifier(slot) +
                       (temporary ? " TEMPORARY" : "") +
                       (!reserve_wal             ? " PHYSICAL"
                        : options_in_parentheses ? " PHYSICAL (RESERVE_WAL)"
                                                 : " PHYSICAL RESERVE_WAL"));
  } catch (const ServerError& error) {
    if (error.sqlstate() == "42710") return false;  // duplicate_object
    throw;
  }
  return true;
}

std::optional<LogicalSlot> create_logical_slot(Connection& connection, const std::string& slot,
                                               const LogicalSlotOptions& options) {
  const int major = connection.server_major();
  const auto needs = [&](bool asked, std::string_view option, int version) {
    if (asked && major < version)
      throw Error(ErrorKind::usage,
                  fmt::format("the server is too old for {} of a logical slot", option))
          .with("server", connection.server_name())
          .with("version", major)
          .hint(fmt::format("It is there from PostgreSQL {} on.{}", version,
                            major == 14 && version == 15
                                ? " Of 14 only SQL can ask for it: SELECT "
                                  "pg_create_logical_replication_slot(NAME, PLUGIN, false, true)."
                                : ""));
  };
  needs(options.two_phase, "TWO_PHASE", 15);
  needs(options.failover, "FAILOVER", 17);

  std::string command = "CREATE_REPLICATION_SLOT " + connection.quote_identifier(slot);
  if (options.temporary) command += " TEMPORARY";
  command += " LOGICAL " + connection.quote_identifier(options.plugin);
  if (major >= 15) {
    command += options.snapshot == Snapshot::export_ ? " (SNAPSHOT 'export'"
               : options.snapshot == Snapshot::use   ? " (SNAPSHOT 'use'"
                                                     : " (SNAPSHOT 'nothing'";
    if (options.two_phase) command += ", TWO_PHASE";
    if (options.failover) command += ", FAILOVER";
    command += ")";
  } else {
    command += options.snapshot == Snapshot::export_ ? " EXPORT_SNAPSHOT"
               : options.snapshot == Snapshot::use   ? " USE_SNAPSHOT"
                                                     : " NOEXPORT_SNAPSHOT";
  }
  Rows rows;
  try {
    rows = connection.execute(command, std::chrono::hours(24 * 365));
  } catch (const ServerError& error) {
    if (error.sqlstate() == "42710") return std::nullopt;  // duplicate_object
    // To classify() a file that is missing is WAL that is missing; here it is the plugin's.
    const bool no_plugin = error.sqlstate() == "58P01";
    const bool no_logical_wal = error.sqlstate() == "55000";
    if (!no_plugin && !no_logical_wal) throw;
    ServerError explained(ErrorKind::refused, error.message(), error.sqlstate());
    explained.with("server", connection.server_name()).with("plugin", options.plugin);
    explained.hint(no_plugin
                       ? "The output plugin is not installed on the server. pgoutput is always "
                         "there; wal2json comes in a package of its own."
                       : "Logical decoding needs wal_level = logical on the server (on a standby "
                         "also on its primary), which takes effect after a restart.");
    throw explained;
  }
  // slot_name, consistent_point, snapshot_name, output_plugin
  if (rows.size() != 1 || rows[0].size() < 3) throw unexpected(connection, command);
  const auto point = parse_lsn(rows[0][1]);
  if (!point) throw unexpected(connection, command);
  return LogicalSlot{*point, rows[0][2].value_or("")};
}

void enlarge_buffer(Connection& connection, std::size_t bytes) {
  try {
    // It doubles until the message has room.
    connection.execute(fmt::format("SELECT pg_catalog.repeat(' ', {})", bytes / 2 + 1));
  } catch (const ServerError&) {
    // Small reads cost more, and do the same.
  }
}

void drop_slot(Connection& connection, const std::string& slot) {
  connection.execute("DROP_REPLICATION_SLOT " + connection.quote_identifier(slot));
}

std::string timeline_history(Connection& connection, wal::TimelineId timeline) {
  const std::string command = fmt::format("TIMELINE_HISTORY {}", timeline);
  Row row;
  try {
    row = one_row(connection, command, 2);  // filename, content
  } catch (const ServerError& error) {
    if (error.sqlstate() != "58P01") throw;
    // To classify() a file that is missing is WAL that is missing; here it is the history file.
    ServerError missing(ErrorKind::conflict,
                        "the server has no history of the timeline: " + error.message(),
                        error.sqlstate());
    missing.with("server", connection.server_name()).with("timeline", timeline);
    missing.hint(
        "Either the server is not a descendant of that timeline, or its pg_wal has lost "
        "the file: restore it there from an archive.");
    throw missing;
  }
  if (!row[0] || !row[1] || row[1]->size() > kMaxHistory) throw unexpected(connection, command);
  if (*row[0] != wal::history_name(timeline))
    throw Error(ErrorKind::protocol, "the server sent another history file than was asked for")
        .with("server", connection.server_name())
        .with("expected", wal::history_name(timeline))
        .with("got", *row[0]);
  return *row[1];
}

}  // namespace weir::pq
