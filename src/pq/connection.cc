// Lists of hosts are processed differently from libpq. libpq gives up at the first host that
// rejects the connection; a receiver should try the next one. `pq::Connection::open` therefore
// iterates over the hosts itself.

#include "pq/connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <exception>
#include <mutex>
#include <random>
#include <system_error>

#include "base/exit_status.h"
#include "base/left_behind.h"
#include "base/library.h"
#include "base/text.h"
#include "crypto/certificates.h"
#include "crypto/openssl.h"
#include "crypto/tls_reader.h"
#include "io/small_file.h"
#include "net/wait.h"
#include "net/wake.h"
#include "pq/client_secrets.h"
#include "pq/connect_advice.h"
#include "pq/conninfo.h"
#include "pq/message_bound.h"
#include "pq/slot_view.h"
#include "pq/sqlstate.h"
#include "wal/page.h"

namespace weir::pq {
namespace {

using Clock = std::chrono::steady_clock;
using Parameters = std::vector<std::pair<std::string, std::string>>;

constexpr auto kDefaultConnectTimeout = std::chrono::seconds(10);
constexpr std::string_view kCouldNotConnect = "could not connect to the server: ";

// Everything except the address.
Parameters common_parameters(const ConnectOptions& options, ConninfoValues values) {
  for (const char* keyword : {"host", "hostaddr", "port", "target_session_attrs",
                              "load_balance_hosts", "connect_timeout", "replication"})
    values.erase(keyword);
  values["fallback_application_name"] = options.fallback_application_name;
  if (!options.application_name.empty()) values["application_name"] = options.application_name;
  if (options.replication == Replication::logical) values["replication"] = "database";
  if (options.replication == Replication::physical) {
    values["replication"] = "true";
    // By default libpq uses the user's name, which no passfile entry for replication has.
    if (!conninfo_value(options.conninfo, "dbname")) values["dbname"] = "replication";
  }
  values.try_emplace("keepalives_idle", "30");
  values.try_emplace("keepalives_interval", "10");
  values.try_emplace("keepalives_count", "3");
  if (value_of(values, "keepalives") != "0") values.try_emplace("tcp_user_timeout", "60000");
  return Parameters(values.begin(), values.end());
}

// libpq's rules: in seconds, negative means no limit, 1 is taken as 2. 0 means no limit to libpq,
// but then a dead host would prevent trying the next one: the default applies.
std::optional<Clock::duration> connect_timeout(const ConninfoValues& values) {
  const std::string text = value_of(values, "connect_timeout");
  if (text.empty()) return kDefaultConnectTimeout;
  const auto seconds = parse_number<int>(text);
  if (!seconds)
    throw Error(ErrorKind::usage, "invalid connect_timeout in the connection string")
        .with("value", text);
  if (*seconds < 0) return std::nullopt;
  if (*seconds == 0) return kDefaultConnectTimeout;
  return std::chrono::seconds(std::clamp(*seconds, 2, 100'000));
}

// getaddrinfo cannot be interrupted and may take half a minute if a name server is down, so it runs
// in a separate thread, which is abandoned if we cannot wait for it.
class Resolver {
 public:
  /// Numeric addresses of `name`, in the system's order of preference.
  static std::vector<std::string> resolve(const std::string& name, const net::Wake& interrupt,
                                          Clock::time_point deadline) {
    auto task = std::make_shared<Task>();
    task->name = name;
    try {
      static_cast<void>(begin_left_behind([task] { task->run(); }));
    } catch (const std::system_error& error) {
      throw weir::unexpected(error);
    }
    if (!net::wait_for_socket(task->done.fd(), true, false, &interrupt, deadline))
      throw Error(ErrorKind::retry, "the lookup of the host name timed out")
          .with("host", name)
          .hint(
              "The name servers do not answer. With hostaddr= in the connection string, no "
              "lookup is needed.");
    const std::lock_guard lock(task->mutex);
    const char* reason = task->code != 0 ? gai_strerror(task->code) : "no address";
    if (task->code != 0 || task->addresses.empty())
      throw Error(ErrorKind::retry, std::string("could not look up the host name: ") + reason)
          .with_stock_text(
              fmt::format("could not translate host name \"{}\" to address: {}", name, reason))
          .with("host", name)
          .hint("Check the spelling, DNS and /etc/hosts.");
    return task->addresses;
  }

 private:
  struct Task {
    std::string name;
    std::mutex mutex;
    int code = 0;
    std::vector<std::string> addresses;
    net::Wake done;

    void run() {
      // Signals are handled by other threads.
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      const std::lock_guard lock(mutex);
      addrinfo hints{};
      hints.ai_family = AF_UNSPEC;
      hints.ai_socktype = SOCK_STREAM;
      addrinfo* list = nullptr;
      code = getaddrinfo(name.c_str(), nullptr, &hints, &list);
      for (const addrinfo* each = code == 0 ? list : nullptr; each != nullptr;
           each = each->ai_next) {
        char text[NI_MAXHOST];
        if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, nullptr, 0,
                        NI_NUMERICHOST) == 0)
          addresses.emplace_back(text);
      }
      if (list != nullptr) freeaddrinfo(list);
      done.raise();
    }
  };
};

// Collects the failures of all hosts until one is accepted. add() must be called while the
// exception is being handled.
class Failures {
 public:
  void add(const Host& host, const Error& error, Advice advice) {
    const auto name = host.to_string();
    if (!text_.empty()) text_ += "; ";
    std::string_view reason = error.message();
    if (reason.starts_with(kCouldNotConnect)) reason.remove_prefix(kCouldNotConnect.size());
    text_ += fmt::format("{}: {}", name, reason);
    if (!stock_text_.empty()) stock_text_ += '\n';
    stock_text_ += error.stock_text().empty() ? error.message() : error.stock_text();
    if (advice_.empty() || (kind_ != ErrorKind::retry && error.kind() == ErrorKind::retry))
      kind_ = error.kind();
    only_ = advice_.empty() ? std::current_exception() : nullptr;
    advice_.emplace_back(name, std::move(advice));
  }
  [[noreturn]] void raise(const ConnectOptions& options) const {
    if (options.advice)
      for (const auto& [host, advice] : advice_) options.advice(host, advice);
    if (only_) std::rethrow_exception(only_);  // keeps the SQLSTATE
    throw Error(kind_, "none of the servers can be used: " + text_)
        .with_stock_text(stock_text_)
        .hint(hint());
  }

 private:
  // A common one, or each host's own.
  [[nodiscard]] std::string hint() const {
    auto first = advice_.front().second.hint();
    if (std::all_of(advice_.begin(), advice_.end(),
                    [&](const auto& each) { return each.second.hint() == first; }))
      return first;
    std::string text;
    for (const auto& [host, advice] : advice_) {
      const auto hint = advice.hint();
      if (!hint.empty()) text += fmt::format("{}{}: {}", text.empty() ? "" : " ", host, hint);
    }
    return text;
  }

  std::vector<std::pair<std::string, Advice>> advice_;  // of each host
  std::exception_ptr only_;
  ErrorKind kind_ = ErrorKind::retry;
  std::string text_;
  std::string stock_text_;  // libpq's has all of them, too
};

PassfileState state_of_passfile(const std::string& path) {
  const auto file = io::look_at_access(path);
  if (!file) return PassfileState::missing;
  constexpr unsigned kOthers = 077;
  if ((file->mode & kOthers) != 0) return PassfileState::open;
  return file->readable ? PassfileState::fine : PassfileState::unreadable;
}

ConnectPhase phase_of(ConnStatusType status) {
  switch (status) {
    case CONNECTION_STARTED:
    case CONNECTION_MADE:
    case CONNECTION_NEEDED:
      return ConnectPhase::connecting;
    case CONNECTION_SSL_STARTUP:
    case CONNECTION_GSS_STARTUP:
      return ConnectPhase::encrypting;
    case CONNECTION_CHECK_WRITABLE:
    case CONNECTION_CHECK_TARGET:
    case CONNECTION_CHECK_STANDBY:
    case CONNECTION_CONSUME:
      return ConnectPhase::checking;
    default:  // newer versions of libpq have more steps of authentication
      return ConnectPhase::asking;
  }
}

// Adds libpq's information about an attempt that has just failed.
void complete(ConnectAttempt& attempt, const Host& host, PGconn* connection) {
  const auto values = values_of(connection);
  attempt.local = host.local();
  attempt.port = host.port.empty() ? "5432" : host.port;
  attempt.user = value_of(values, "user");
  attempt.database = value_of(values, "dbname");
  attempt.sslmode = value_of(values, "sslmode");
  attempt.target = value_of(values, "target_session_attrs");
  attempt.needs_password = PQconnectionNeedsPassword(connection) != 0;
  attempt.password_given = !value_of(values, "password").empty();
  if (!attempt.needs_password && attempt.sqlstate != "28P01") return;
  attempt.host = passfile_host(host.host, host.hostaddr, default_socket_directory());
  attempt.passfile = value_of(values, "passfile");
  attempt.passfile_state = state_of_passfile(attempt.passfile);
  if (attempt.passfile.empty()) attempt.passfile = "~/.pgpass";
}

/// If our own files are being replaced, or are missing, the failure is temporary: it is retried,
/// and reported. Failures before the files were needed have other reasons.
void wait_for_secrets(const ConnectAttempt& attempt, PGconn* connection, Advice& advice) {
  const auto about = [&](std::string_view word) {
    return attempt.text.find(word) != std::string::npos;
  };
  if (attempt.timed_out || advice.kind != ErrorKind::refused ||
      !(about("certificate") || about("private key") || about("SSL") || about("alert")))
    return;
  const auto trouble = trouble_with_secrets(look_at_secrets(secret_files(values_of(connection))));
  if (trouble.empty()) return;
  advice.kind = ErrorKind::retry;
  advice.text =
      fmt::format("This side's own files may be the reason: {}. {}", trouble, advice.text);
}

std::vector<std::size_t> order_of(std::size_t count, std::size_t first, bool shuffled) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = (first + i) % count;
  if (shuffled) std::shuffle(order.begin(), order.end(), std::random_device());
  return order;
}

/// libpq is given the address, and reports that alone; in PostgreSQL's programs the host, too.
std::string with_host(std::string text, const Host& host, const std::string& address) {
  if (!host.hostaddr.empty() || host.local() || host.host == address) return text;
  const auto alone = fmt::format("\"{}\", port ", address);
  const auto both = fmt::format("\"{}\" ({}), port ", host.host, address);
  for (auto at = text.find(alone); at != std::string::npos; at = text.find(alone, at + both.size()))
    text.replace(at, alone.size(), both);
  return text;
}

Error lost_connection(const char* reason, const std::string& server) {
  return Error(ErrorKind::retry,
               "the connection to the server failed: " + std::string(trimmed(reason)))
      .with("server", server);
}

/// Compares one function's address in libpq and in weir::crypto's library: sessions of a different
/// library have a different memory layout.
bool same_openssl() {
  try {
    const Library libpq("libpq.so.5", "");  // already loaded
    return libpq.find("SSL_read") == crypto::find_in_libssl("SSL_read");
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

ssl_st* tls_session(pg_conn* connection) {
  if (PQsslInUse(connection) == 0) return nullptr;
  static const bool same = same_openssl();
  return same ? static_cast<ssl_st*>(PQsslStruct(connection, "OpenSSL")) : nullptr;
}

struct Connection::Notices {
  /// A server may send notices occasionally; an endless series would fill the log.
  static constexpr int kMost = 50;
  static constexpr std::size_t kLongest = 1000;

  std::function<void(const std::string&)> callback;

  int count = 0;

  static void receive(void* self, const PGresult* result) {
    auto* notices = static_cast<Notices*>(self);
    if (!notices->callback || notices->count > kMost) return;
    try {
      std::string text(trimmed(PQresultErrorMessage(result)));
      if (text.size() > kLongest) text = text.substr(0, kLongest) + " ...";
      if (++notices->count > kMost) text = "(more messages on this connection are not shown)";
      notices->callback(text);
    } catch (...) {  // must not pass through libpq's C code; a notice changes nothing
    }
  }
};

Connection Connection::open(const ConnectOptions& options, const net::Wake& interrupt) {
  const Clock::time_point deadline = Clock::now() + options.timeout;
  const ConninfoValues values = expand_conninfo(options.conninfo);
  const std::vector<Host> hosts = hosts_of(values);
  const std::optional<Clock::duration> per_address = connect_timeout(values);
  const Parameters common = common_parameters(options, values);
  const bool random = value_of(values, "load_balance_hosts") == "random";

  // prefer-standby is implemented by libpq as two rounds over all hosts.
  std::vector<std::string> rounds = {value_of(values, "target_session_attrs")};
  if (rounds.front() == "prefer-standby")
    rounds = options.only_first_host ? std::vector<std::string>{"any"}
                                     : std::vector<std::string>{"standby", "any"};
  if (options.any_role) rounds = {"any"};

  Failures failures;
  for (const std::string& attributes : rounds) {
    failures = Failures();
    auto order = order_of(hosts.size(), options.first_host, random && !options.only_first_host);
    if (options.only_first_host) order.resize(1);
    for (const std::size_t index : order) {
      const Host& host = hosts[index];
      std::optional<Advice> advice;
      try {
        std::vector<std::string> addresses = {host.hostaddr};
        if (host.hostaddr.empty() && !host.local()) {
          const auto limit = per_address ? Clock::now() + *per_address : deadline;
          addresses = Resolver::resolve(host.host, interrupt, std::min(deadline, limit));
          if (random) std::shuffle(addresses.begin(), addresses.end(), std::random_device());
        }
        std::string stock_text;  // of all addresses, as libpq's message
        for (std::size_t i = 0; i < addresses.size(); ++i) {
          Parameters parameters = common;
          if (!attributes.empty()) parameters.emplace_back("target_session_attrs", attributes);
          if (!host.host.empty()) parameters.emplace_back("host", host.host);
          if (!addresses[i].empty()) parameters.emplace_back("hostaddr", addresses[i]);
          if (!host.port.empty()) parameters.emplace_back("port", host.port);
          Connection connection;
          connection.interrupt_ = &interrupt;
          connection.notices_ = std::make_unique<Notices>(Notices{.callback = options.notice});
          connection.replication_ = options.replication != Replication::none;
          connection.server_name_ = host.to_string();
          connection.host_index_ = index;
          connection.host_count_ = hosts.size();
          // A silent address, such as one of IPv6 where that does not work, leaves time for the
          // others.
          const auto now = Clock::now();
          auto limit = now + (deadline - now) / static_cast<int>(addresses.size() - i);
          if (per_address) limit = std::min(limit, now + *per_address);
          try {
            connection.connect(parameters, limit, host, options.replication, advice);
            return connection;
          } catch (Error& error) {
            if (!error.stock_text().empty()) {
              stock_text += with_host(error.stock_text(), host, addresses[i]);
              error.with_stock_text(stock_text);
              stock_text += '\n';
            }
            // Another address of the same server would reject us as well.
            if (error.kind() != ErrorKind::retry || i + 1 == addresses.size()) throw;
          }
        }
      } catch (const Error& error) {
        failures.add(host, error, advice ? *advice : Advice{error.kind(), error.hint()});
      }
    }
  }
  failures.raise(options);
}

void Connection::connect(const Parameters& parameters, Clock::time_point deadline, const Host& host,
                         Replication replication, std::optional<Advice>& advice) {
  const ConninfoArrays given(parameters);
  if (interrupt_->raised()) throw net::Interrupted{};
  connection_ = PQconnectStartParams(given.keywords.data(), given.values.data(), 0);
  if (connection_ == nullptr) throw Error(ErrorKind::retry, "out of memory");
  PQsetErrorVerbosity(connection_, PQERRORS_VERBOSE);  // includes the SQLSTATE
  PQsetNoticeReceiver(connection_, &Notices::receive, notices_.get());

  ConnectAttempt attempt{.replication = replication};
  PostgresPollingStatusType status =
      PQstatus(connection_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (!attempt.timed_out &&
         (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING)) {
    attempt.phase = phase_of(PQstatus(connection_));
    // The socket changes when libpq reconnects, e.g. without TLS.
    if (net::wait_for_socket(PQsocket(connection_), status == PGRES_POLLING_READING,
                             status == PGRES_POLLING_WRITING, interrupt_, deadline))
      status = PQconnectPoll(connection_);
    else
      attempt.timed_out = true;
  }
  if (status != PGRES_POLLING_OK) {
    const std::string_view reason = PQerrorMessage(connection_);
    const ConnectFailure failure =
        attempt.timed_out ? ConnectFailure{.text = "no answer in time",
                                           .stock = fmt::format("{}timeout expired", reason)}
                          : parse_connect_failure(reason);
    attempt.text = failure.text;
    attempt.sqlstate = failure.sqlstate.value_or("");
    attempt.routine = failure.routine;
    complete(attempt, host, connection_);
    advice = advise(attempt);
    wait_for_secrets(attempt, connection_, *advice);
    const std::string message = std::string(kCouldNotConnect) + failure.text;
    if (failure.sqlstate) {
      throw Error(advice->kind, message)
          .with_sqlstate(*failure.sqlstate)
          .with_stock_text(failure.stock)
          .with("server", server_name_)
          .with("SQLSTATE", *failure.sqlstate)
          .hint(advice->hint());
    }
    throw Error(advice->kind, message)
        .with_stock_text(failure.stock)
        .with("server", server_name_)
        .hint(advice->hint());
  }
  PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
  if (PQsetnonblocking(connection_, 1) != 0)
    throw Error(ErrorKind::retry, "could not make the connection non-blocking")
        .with("server", server_name_);
  if (server_major() < wal::kOldestKnownMajor) {
    const char* version = PQparameterStatus(connection_, "server_version");
    throw Error(ErrorKind::refused, "the server is too old")
        .with("server", server_name_)
        .with("version", version == nullptr ? "unknown" : version)
        .hint(
            fmt::format("PostgreSQL {} is the oldest supported version.", wal::kOldestKnownMajor));
  }
}

Rows Connection::execute(const std::string& command, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  send(command, deadline, *interrupt_);
  const auto lost = [this](const char* text) { return lost_connection(text, server_name_); };

  Rows rows;
  std::optional<Error> failure;
  for (;;) {
    try {
      await_result(deadline, *interrupt_);
    } catch (const Error&) {
      // After a FATAL error the server disconnects: report the server's reason.
      if (failure) throw Error(*failure);
      throw;
    }
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection_), &PQclear);
    if (!result) break;
    switch (PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
        rows.clear();
        for (int row = 0; row < PQntuples(result.get()); ++row) {
          Row& values = rows.emplace_back();
          for (int column = 0; column < PQnfields(result.get()); ++column) {
            if (PQgetisnull(result.get(), row, column) != 0) {
              values.emplace_back(std::nullopt);
            } else {
              const int length = PQgetlength(result.get(), row, column);
              values.emplace_back(std::string(PQgetvalue(result.get(), row, column),
                                              static_cast<std::size_t>(length)));
            }
          }
        }
        break;
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        break;
      case PGRES_FATAL_ERROR: {
        const char* sqlstate = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
        if (sqlstate == nullptr && !failure) throw lost(PQresultErrorMessage(result.get()));
        if (!failure) {
          failure = server_error(result.get(), server_name_);
          failure->with_stock_text(rejected_command(command, failure->stock_text()));
        }
        break;
      }
      default:  // a COPY: libpq would return the same result forever
        throw Error(ErrorKind::protocol, "unexpected response to a command")
            .with("server", server_name_)
            .with("command", command)
            .with("answer", PQresStatus(PQresultStatus(result.get())));
    }
  }
  if (failure) throw Error(*failure);
  return rows;
}

void Connection::send(const std::string& command, Clock::time_point deadline,
                      const net::Wake& interrupt) {
  // A failed or abandoned command may have left results: at least its ReadyForQuery may be pending.
  for (;;) {
    await_result(deadline, interrupt);
    const std::unique_ptr<PGresult, decltype(&PQclear)> left(PQgetResult(connection_), &PQclear);
    if (!left) break;
    const ExecStatusType status = PQresultStatus(left.get());
    if (status == PGRES_COPY_BOTH || status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
      throw Error(ErrorKind::retry, "the connection is in use by a stream")
          .with("server", server_name_)
          .with("command", command);
  }
  if (PQsendQuery(connection_, command.c_str()) != 1)
    throw lost_connection(PQerrorMessage(connection_), server_name_);
}

void Connection::await_result(Clock::time_point deadline, const net::Wake& interrupt) {
  MessageBound answer;
  for (;;) {
    const int unsent = PQflush(connection_);
    if (PQisBusy(connection_) == 0) return;
    answer.incomplete(PQsocket(connection_));
    // Only now, since data that arrived before the failure has been read.
    if (unsent < 0 || PQstatus(connection_) == CONNECTION_BAD)
      throw lost_connection(PQerrorMessage(connection_), server_name_);
    if (!net::wait_for_socket(socket(), true, unsent > 0, &interrupt, deadline))
      throw Error(ErrorKind::retry, "the server did not answer a command in time")
          .with("server", server_name_);
    static_cast<void>(PQconsumeInput(connection_));  // see the status
  }
}

std::optional<std::chrono::sys_seconds> Connection::server_certificate_expires() const {
  ssl_st* const session = connection_ == nullptr ? nullptr : tls_session(connection_);
  if (session == nullptr) return std::nullopt;
  try {
    return crypto::expiry_of_other_side(session);
  } catch (const Error&) {
    return std::nullopt;  // unparsable time
  }
}

std::shared_ptr<crypto::TlsReader> Connection::tls_reader() {
  if (tls_reader_) return tls_reader_;
  ssl_st* const session = tls_session(connection_);
  if (session == nullptr) return nullptr;
  try {
    tls_reader_ = crypto::TlsReader::put_into(session);
  } catch (const Error&) {  // then libpq reads
  }
  return tls_reader_;
}

std::string rejected_command(std::string_view command, std::string_view reason) {
  // pg_receivewal prints only the names of these commands (receivelog.c, streamutil.c).
  for (const std::string_view name : {"READ_REPLICATION_SLOT", "TIMELINE_HISTORY"})
    if (command.starts_with(name)) command = name;
  return fmt::format("could not send replication command \"{}\": {}", command, reason);
}

Error server_error(const pg_result* result, const std::string& server_name) {
  const auto field = [result](int code) {
    const char* text = PQresultErrorField(result, code);
    return std::string(text == nullptr ? "" : text);
  };
  const std::string sqlstate = field(PG_DIAG_SQLSTATE);
  if (sqlstate.empty()) return lost_connection(PQresultErrorMessage(result), server_name);
  std::string message = field(PG_DIAG_MESSAGE_PRIMARY);
  if (const std::string detail = field(PG_DIAG_MESSAGE_DETAIL); !detail.empty())
    message += ": " + detail;
  Error error(classify(sqlstate), message);
  error.with_sqlstate(sqlstate).with("server", server_name).with("SQLSTATE", sqlstate);
  error.with_stock_text(std::string(trimmed(PQresultErrorMessage(result))));
  const std::string hint = field(PG_DIAG_MESSAGE_HINT);
  // There are many kinds of missing privileges; if the server gives a hint, it knows which.
  const bool server_knows = !hint.empty() && sqlstate == "42501";
  const auto reason = sqlstate == "55000" ? invalidation_reason_in(message) : std::nullopt;
  if (reason)
    error.hint("The slot no longer retains WAL. Drop and recreate it. " +
               why_invalidated(reason, 18));
  else if (!server_knows)
    error.hint(hint_for(sqlstate));
  if (!hint.empty()) error.hint("The server's hint: " + hint);
  return error;
}

Connection::Connection(Connection&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)),
      interrupt_(other.interrupt_),
      notices_(std::move(other.notices_)),
      replication_(other.replication_),
      server_name_(std::move(other.server_name_)),
      host_index_(other.host_index_),
      host_count_(other.host_count_) {}

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this != &other) {
    PQfinish(connection_);
    connection_ = std::exchange(other.connection_, nullptr);
    interrupt_ = other.interrupt_;
    notices_ = std::move(other.notices_);
    replication_ = other.replication_;
    server_name_ = std::move(other.server_name_);
    host_index_ = other.host_index_;
    host_count_ = other.host_count_;
  }
  return *this;
}

Connection::~Connection() { PQfinish(connection_); }

int Connection::server_version() const { return PQserverVersion(connection_); }

std::string Connection::server_name() const { return server_name_; }

int Connection::socket() const { return PQsocket(connection_); }

std::optional<std::string> Connection::parameter(const std::string& name) const {
  const char* value = PQparameterStatus(connection_, name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::string Connection::quote_identifier(const std::string& name) const {
  const std::unique_ptr<char, decltype(&PQfreemem)> quoted(
      PQescapeIdentifier(connection_, name.data(), name.size()), &PQfreemem);
  // The replication grammar (repl_scanner.l) cannot write a double quote inside a name.
  const bool bad_quote = replication_ && name.find('"') != std::string::npos;
  if (!quoted || bad_quote || name.find('\0') != std::string::npos)
    throw Error(ErrorKind::usage, "a name cannot be sent to the server").with("name", name);
  return quoted.get();
}

std::string Connection::quote_literal(const std::string& text) const {
  if (text.find('\0') != std::string::npos)
    throw Error(ErrorKind::usage, "a text with a zero byte cannot be sent to the server");
  if (replication_) {
    // The replication grammar (repl_scanner.l) has no escapes except the doubled quote.
    std::string quoted = "'";
    for (const char c : text) {
      quoted += c;
      if (c == '\'') quoted += c;
    }
    return quoted + "'";
  }
  const std::unique_ptr<char, decltype(&PQfreemem)> quoted(
      PQescapeLiteral(connection_, text.data(), text.size()), &PQfreemem);
  if (!quoted) throw Error(ErrorKind::usage, "a text cannot be sent to the server");
  return quoted.get();
}

}  // namespace weir::pq
