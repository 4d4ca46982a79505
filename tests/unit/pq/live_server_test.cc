// The replication room against a real server; see TestServer. Few and long tests, because each runs
// in a process of its own and makes its own server.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "net/wait.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/parameters.h"
#include "pq/replication_stream.h"
#include "support/certificates.h"
#include "unit/pq/test_server.h"
#include "wal/timeline_history.h"
#include "wire/copy_messages.h"

namespace weir::pq::live_server_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::Not;

#define REQUIRE_SERVER() \
  if (!TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine"

class LiveServer : public ::testing::Test {
 protected:
  Connection connect(const std::string& conninfo) {
    ConnectOptions options;
    options.conninfo = conninfo;
    return Connection::open(options, interrupt_);
  }

  /// The next event that is something; fails the test after half a minute.
  StreamEvent wait_for_event(ReplicationStream& stream) {
    const auto deadline = steady_clock::now() + seconds(30);
    for (;;) {
      StreamEvent event = stream.next();
      if (!std::holds_alternative<NothingYet>(event)) return event;
      if (!net::wait_for_socket(stream.socket(), true, !stream.flush(), &interrupt_, deadline))
        throw std::runtime_error("nothing came from the server in time");
      stream.receive();
    }
  }

  /// The stream up to `end`; keepalives are passed over.
  std::string read_wal(ReplicationStream& stream, wal::Lsn start, wal::Lsn end) {
    std::string wal;
    while (start + wal.size() < end) {
      const StreamEvent event = wait_for_event(stream);
      if (std::holds_alternative<wire::Keepalive>(event)) continue;
      const auto* data = std::get_if<wire::XLogData>(&event);
      if (data == nullptr) throw std::runtime_error("the stream ended early");
      EXPECT_EQ(data->start, start + wal.size());
      wal.append(reinterpret_cast<const char*>(data->wal.data()), data->wal.size());
    }
    return wal;
  }

  EndOfStream read_to_the_end(ReplicationStream& stream) {
    for (;;) {
      const StreamEvent event = wait_for_event(stream);
      if (const auto* end = std::get_if<EndOfStream>(&event)) return *end;
      // A server that shuts down waits until all it sent is confirmed.
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        const wal::Lsn at = data->start + data->wal.size();
        stream.send({at, at, {}, false});
      }
    }
  }

  /// What the function throws.
  template <typename Function>
  static Error error_of(Function function) {
    try {
      static_cast<void>(function());
    } catch (const Error& error) {
      return error;
    }
    throw std::runtime_error("nothing was thrown where an error was expected");
  }
  /// The same; the server has reported it.
  template <typename Function>
  static Error server_error_of(Function function) {
    const auto error = error_of(function);
    EXPECT_NE(error.sqlstate(), "") << error.what();
    return error;
  }

  net::Wake interrupt_;
};

std::string file_contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

wal::Lsn lsn(const std::string& text) { return wal::Lsn::parse(text).value(); }

TEST_F(LiveServer, AnswersTheReplicationCommands) {
  REQUIRE_SERVER();
  const TestServer server;
  Connection connection = connect(server.conninfo());
  EXPECT_GE(connection.server_major(), 13);
  EXPECT_THAT(connection.server_name(), HasSubstr(".s.PGSQL."));

  const SystemIdentity identity = identify_system(connection);
  EXPECT_EQ(std::to_string(identity.system_identifier),
            server.sql("SELECT system_identifier FROM pg_control_system()"));
  EXPECT_EQ(identity.timeline, 1u);
  EXPECT_GE(identity.flush_position, lsn("0/100000"));

  EXPECT_EQ(show(connection, "wal_level"), "replica");
  EXPECT_EQ(show_wal_segment_size(connection).bytes(), 1024u * 1024);
  EXPECT_EQ(show_file_mode(connection), 0600u);
  EXPECT_EQ(show_wal_sender_timeout(connection), std::chrono::minutes(2));
  EXPECT_EQ(server_error_of([&] { return show(connection, "no_such_parameter"); }).sqlstate(),
            "42704");
  EXPECT_EQ(error_of([&] { return show(connection, "a; b"); }).kind(), ErrorKind::usage);

  EXPECT_TRUE(create_physical_slot(connection, "one"));
  EXPECT_FALSE(create_physical_slot(connection, "one"));
  EXPECT_EQ(server.sql("SELECT slot_type FROM pg_replication_slots WHERE restart_lsn IS NOT NULL"),
            "physical");
  const std::optional<SlotState> state = read_replication_slot(connection, "one");
  EXPECT_EQ(state.has_value(), connection.server_major() >= 15);
  if (state) {
    EXPECT_TRUE(state->exists);
    EXPECT_EQ(state->type, "physical");
    EXPECT_EQ(state->restart_lsn, lsn(server.sql("SELECT restart_lsn FROM pg_replication_slots")));
    EXPECT_EQ(state->restart_timeline, 1u);
    EXPECT_FALSE(read_replication_slot(connection, "two")->exists);
  }
  drop_slot(connection, "one");
  const auto missing = server_error_of([&] { return drop_slot(connection, "one"), 0; });
  EXPECT_EQ(missing.sqlstate(), "42704");
  EXPECT_EQ(missing.kind(), ErrorKind::refused);
  EXPECT_THAT(missing.what(), HasSubstr("one"));
  const auto odd_name =
      server_error_of([&] { return create_physical_slot(connection, "A B'; x"); });
  EXPECT_EQ(odd_name.kind(), ErrorKind::refused);
  EXPECT_THAT(odd_name.what(), HasSubstr("A B'; x"));
  // The replication grammar has no way to write it.
  EXPECT_EQ(error_of([&] { return create_physical_slot(connection, "a\"b"); }).kind(),
            ErrorKind::usage);

  const auto no_history = server_error_of([&] { return timeline_history(connection, 7); });
  EXPECT_EQ(no_history.kind(), ErrorKind::conflict);

  EXPECT_EQ(server.sql("SELECT 'it''s'"), "it's");
  ConnectOptions plain;
  plain.conninfo = server.conninfo();
  plain.replication = Replication::none;
  std::vector<std::string> notices;
  plain.notice = [&notices](const std::string& text) { notices.push_back(text); };
  Connection ordinary = Connection::open(plain, interrupt_);
  EXPECT_EQ(ordinary.execute("SELECT " + ordinary.quote_literal("a'b\\c") + ", NULL"),
            (Rows{{"a'b\\c", std::nullopt}}));
  ordinary.execute("DO $$BEGIN RAISE NOTICE 'look here'; END$$");
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_THAT(notices[0], HasSubstr("look here"));
  EXPECT_EQ(
      error_of([&] { return ordinary.execute("SELECT pg_sleep(60)", milliseconds(50)); }).kind(),
      ErrorKind::retry);
}

TEST_F(LiveServer, StreamsTheBytesOfTheServersOwnFiles) {
  REQUIRE_SERVER();
  const TestServer server;
  const wal::SegmentSize size = *wal::SegmentSize::of(1024 * 1024);
  Connection connection = connect(server.conninfo());
  create_physical_slot(connection, "weir");
  const wal::Lsn start = size.start_of(identify_system(connection).flush_position);
  server.sql("CREATE TABLE t AS SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i");
  server.sql("SELECT pg_switch_wal()");
  const wal::Lsn end = size.start_of(lsn(server.sql("SELECT pg_current_wal_lsn()")));
  ASSERT_GT(end, start);

  ReplicationStream stream = ReplicationStream::start(connection, "weir", start, 1, interrupt_);
  const std::string wal = read_wal(stream, start, end);
  for (wal::Lsn at = start; at < end; at = at + size.bytes()) {
    const std::string name = wal::SegmentName(1, size.segno(at), size).to_string();
    EXPECT_TRUE(file_contents(server.data() / "pg_wal" / name) ==
                wal.substr(at - start, size.bytes()))
        << name << " differs";
  }

  stream.send({end, start + 8, start + 4, true});
  for (bool answered = false; !answered;)
    answered = std::holds_alternative<wire::Keepalive>(wait_for_event(stream));
  EXPECT_EQ(server.sql("SELECT concat_ws(' ', write_lsn, flush_lsn, replay_lsn, application_name) "
                       "FROM pg_stat_replication"),
            fmt::format("{} {} {} pgweir", end, start + 8, start + 4));

  // A second receiver on the same slot.
  Connection second = connect(server.conninfo());
  const auto in_use = server_error_of(
      [&] { return ReplicationStream::start(second, "weir", start, 1, interrupt_); });
  EXPECT_EQ(in_use.sqlstate(), "55006");
  EXPECT_EQ(in_use.kind(), ErrorKind::retry);
  EXPECT_EQ(server_error_of([&] { return drop_slot(second, "weir"), 0; }).sqlstate(), "55006");
  EXPECT_EQ(server_error_of([&] {
              return ReplicationStream::start(second, "none", start, 1, interrupt_);
            }).sqlstate(),
            "42704");

  // A clean stop leaves the connection fit for commands, and a signal does not cut it short.
  interrupt_.raise();
  stream.finish(seconds(30));
  interrupt_.clear();
  EXPECT_EQ(identify_system(connection).timeline, 1u);

  stream = ReplicationStream::start(connection, "weir", end, 1, interrupt_);
  server.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
  const auto terminated = server_error_of([&] { return read_to_the_end(stream); });
  EXPECT_EQ(terminated.sqlstate(), "57P01");
  EXPECT_EQ(terminated.kind(), ErrorKind::retry);
  EXPECT_EQ(error_of([&] { return identify_system(connection); }).kind(), ErrorKind::retry);

  drop_slot(second, "weir");
  for (int i = 0; i < 6; ++i)
    server.sql("CREATE TABLE x AS SELECT 1; DROP TABLE x; SELECT pg_switch_wal()");
  server.sql("CHECKPOINT");
  const auto removed = server_error_of([&] {
    ReplicationStream late = ReplicationStream::start(second, std::nullopt, start, 1, interrupt_);
    return read_wal(late, start, end);
  });
  EXPECT_EQ(removed.sqlstate(), "58P01");
  EXPECT_EQ(removed.kind(), ErrorKind::gap);
  EXPECT_EQ(identify_system(second).timeline, 1u);

  // An idle stream waits, and a signal ends the wait.
  ReplicationStream idle = ReplicationStream::start(
      second, std::nullopt, size.start_of(identify_system(second).flush_position), 1, interrupt_);
  std::thread signal([this] { interrupt_.raise(); });
  EXPECT_THROW(for (;;) static_cast<void>(wait_for_event(idle)), net::Interrupted);
  signal.join();
}

/// With TLS from its next start on.
void encrypt(TestServer& server, test::Certificates& certificates) {
  certificates.make("localhost");
  for (const auto* name : {"server.crt", "server.key"}) {
    const auto path = server.data() / name;
    const auto made = certificates.file("localhost" + path.extension().string());
    std::ofstream(path) << made.content;
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    struct stat owner {};
    ASSERT_EQ(::stat(server.data().c_str(), &owner), 0);
    ASSERT_EQ(::chown(path.c_str(), owner.st_uid, owner.st_gid), 0);
  }
  server.sql("ALTER SYSTEM SET ssl = on");
}

/// With what gather() is for: by TCP, to a place of ours, as a receiver that is far behind.
class DirectStream : public LiveServer, public ::testing::WithParamInterface<const char*> {};

TEST_P(DirectStream, PutsWalWhereItIsWantedAndLeavesTheRestToLibpq) {
  REQUIRE_SERVER();
  const std::string encryption = GetParam();
  const bool tls = encryption != "sslmode=disable";
  TestServer server;
  test::Certificates certificates;
  if (tls) {
    if (!test::Certificates::can()) GTEST_SKIP() << "no openssl program";
    ASSERT_NO_FATAL_FAILURE(encrypt(server, certificates));
    server.stop(SIGINT);
    server.start();
  }
  const wal::SegmentSize size = *wal::SegmentSize::of(1024 * 1024);
  server.sql("CREATE ROLE archiver LOGIN REPLICATION PASSWORD 'hunter2'");
  Connection connection =
      connect(fmt::format("host=localhost hostaddr=127.0.0.1 port={} user=archiver "
                          "password=hunter2 sslrootcert={} {}",
                          server.port(), certificates.file("localhost.crt").path, encryption));
  create_physical_slot(connection, "weir");
  const wal::Lsn start = size.start_of(identify_system(connection).flush_position);
  const auto fill = [&] {
    server.sql("DROP TABLE IF EXISTS t");
    server.sql("CREATE TABLE t AS SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i");
    return lsn(server.sql("SELECT pg_current_wal_flush_lsn()"));
  };
  std::vector<std::byte> place(std::size_t{32} << 20);
  std::size_t in_place = 0;
  wal::Lsn at = start;
  const auto read_up_to = [&](ReplicationStream& stream, wal::Lsn end) {
    const auto deadline = steady_clock::now() + seconds(30);
    while (at < end) {
      const auto room = std::span(place).subspan(at - start);
      const StreamEvent event = stream.next(room);
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        ASSERT_EQ(data->start, at);
        if (data->wal.data() == room.data())
          ++in_place;
        else
          std::copy(data->wal.begin(), data->wal.end(), room.begin());
        at = at + data->wal.size();
      } else if (std::holds_alternative<NothingYet>(event)) {
        ASSERT_LT(steady_clock::now(), deadline);
        net::wait_for_socket(stream.socket(), true, !stream.flush(), &interrupt_,
                             steady_clock::now() + std::chrono::milliseconds(20));
        stream.receive();
      }
    }
  };

  ReplicationStream stream = ReplicationStream::start(connection, "weir", start, 1, interrupt_);
  stream.gather(64 * 1024);
  read_up_to(stream, fill());
  in_place = 0;  // by now libpq held nothing at some moment
  read_up_to(stream, fill());
  EXPECT_GT(in_place, 0u);
  // And back: libpq goes on where the other has stopped. (With TLS the other one goes on.)
  stream.gather(1);
  in_place = 0;
  read_up_to(stream, fill());
  EXPECT_EQ(in_place > 0, tls);
  stream.gather(64 * 1024);
  const wal::Lsn end = fill();
  read_up_to(stream, end);
  EXPECT_GT(in_place, 0u);
  for (wal::Lsn segment = start; segment + size.bytes() <= end; segment = segment + size.bytes()) {
    const std::string name = wal::SegmentName(1, size.segno(segment), size).to_string();
    const std::string held(reinterpret_cast<const char*>(place.data()) + (segment - start),
                           size.bytes());
    EXPECT_TRUE(file_contents(server.data() / "pg_wal" / name) == held) << name << " differs";
  }

  stream.gather(1);
  stream.send({end, start, {}, true});
  StreamEvent event;
  while (!std::holds_alternative<wire::Keepalive>(event)) event = wait_for_event(stream);
  stream.finish(seconds(30));
  EXPECT_EQ(identify_system(connection).timeline, 1u);

  stream = ReplicationStream::start(connection, "weir", start, 1, interrupt_);
  stream.gather(64 * 1024);
  at = start;
  read_up_to(stream, end);
  server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
  EXPECT_EQ(server_error_of([&] { return read_to_the_end(stream); }).sqlstate(), "57P01");
}

INSTANTIATE_TEST_SUITE_P(Encryption, DirectStream,
                         ::testing::Values("sslmode=disable",
                                           "sslmode=verify-full ssl_min_protocol_version=TLSv1.3",
                                           "sslmode=verify-full ssl_max_protocol_version=TLSv1.2"));

TEST_F(LiveServer, FollowsAPromotionAndAShutdown) {
  REQUIRE_SERVER();
  TestServer primary;
  primary.stop(SIGINT);
  TestServer standby(primary);
  primary.start();
  standby.start();
  const wal::SegmentSize size = *wal::SegmentSize::of(1024 * 1024);

  Connection connection = connect(standby.conninfo());
  const wal::Lsn start = size.start_of(identify_system(connection).flush_position);
  ReplicationStream stream =
      ReplicationStream::start(connection, std::nullopt, start, 1, interrupt_);
  standby.sql("SELECT pg_promote()");
  const EndOfStream end = read_to_the_end(stream);
  ASSERT_TRUE(end.next.has_value());
  EXPECT_EQ(end.next->timeline, 2u);
  const wal::Lsn switchpoint = end.next->switchpoint;
  EXPECT_GE(switchpoint, start);
  // Said again if asked again.
  EXPECT_TRUE(std::get<EndOfStream>(stream.next()).next.has_value());

  const auto history = wal::TimelineHistory::parse(2, timeline_history(connection, 2));
  ASSERT_TRUE(history.has_value());
  EXPECT_EQ(history->end_of(1), switchpoint);

  // Exactly at the end there is no COPY.
  stream = ReplicationStream::start(connection, std::nullopt, switchpoint, 1, interrupt_);
  EXPECT_EQ(std::get<EndOfStream>(wait_for_event(stream)).next->switchpoint, switchpoint);

  // What the server does not have yet it refuses, but only after the COPY has begun.
  stream =
      ReplicationStream::start(connection, std::nullopt, switchpoint + 0x10000000, 2, interrupt_);
  EXPECT_EQ(server_error_of([&] { return wait_for_event(stream); }).kind(), ErrorKind::retry);
  // And at once what is not in its history.
  EXPECT_EQ(server_error_of([&] {
              return ReplicationStream::start(connection, std::nullopt, switchpoint + 8, 1,
                                              interrupt_);
            }).kind(),
            ErrorKind::retry);

  stream =
      ReplicationStream::start(connection, std::nullopt, size.start_of(switchpoint), 2, interrupt_);
  EXPECT_TRUE(std::holds_alternative<wire::XLogData>(wait_for_event(stream)));
  standby.signal(SIGINT);
  EXPECT_FALSE(read_to_the_end(stream).next.has_value());
  EXPECT_EQ(error_of([&] { return connect(standby.conninfo()); }).kind(), ErrorKind::retry);
}

TEST_F(LiveServer, SaysWhyItCannotBeUsed) {
  REQUIRE_SERVER();
  const TestServer server;
  server.sql("CREATE ROLE archiver LOGIN REPLICATION PASSWORD 'open sesame'");
  server.sql("CREATE ROLE outsider LOGIN REPLICATION PASSWORD 'open sesame'");
  server.sql("CREATE ROLE plain LOGIN PASSWORD 'open sesame'");
  const auto tcp = [](int port, const std::string& rest) {
    return fmt::format("host=127.0.0.1 port={} {}", port, rest);
  };
  const std::string good = "user=archiver password='open sesame'";
  EXPECT_EQ(connect(tcp(server.port(), good)).server_name(),
            fmt::format("127.0.0.1:{}", server.port()));
  EXPECT_EQ(connect(tcp(server.port(), good + " dbname=postgres")).server_major(),
            connect(server.conninfo()).server_major());

  const FakeServer web({"HTTP/1.1 400 Bad Request\r\n\r\n"});
  const FakeServer silent({});
  struct Case {
    const char* name;
    std::string conninfo;
    ErrorKind kind;
    const char* sqlstate;  // "" if it is libpq that fails
  };
  const Case cases[] = {
      {"wrong password", tcp(server.port(), "user=archiver password=hunter2"), ErrorKind::refused,
       "28P01"},
      {"no password", tcp(server.port(), "user=archiver passfile=/nonexistent"), ErrorKind::refused,
       ""},
      {"no such role", tcp(server.port(), "user=nobody password=hunter2"), ErrorKind::refused,
       "28P01"},
      {"rejected by pg_hba.conf", tcp(server.port(), "user=outsider password=hunter2"),
       ErrorKind::refused, "28000"},
      {"not a replication role", tcp(server.port(), "user=plain password='open sesame'"),
       ErrorKind::refused, "42501"},
      {"TLS refused", tcp(server.port(), good + " sslmode=require"), ErrorKind::refused, ""},
      {"nobody listens", tcp(free_port(), good), ErrorKind::retry, ""},
      {"no socket", "host=/nonexistent user=postgres", ErrorKind::retry, ""},
      {"not PostgreSQL", tcp(web.port(), good + " sslmode=disable"), ErrorKind::refused, ""},
      {"not PostgreSQL, asked for TLS", tcp(web.port(), good + " sslmode=prefer"),
       ErrorKind::refused, ""},
      {"silence", tcp(silent.port(), good + " connect_timeout=1"), ErrorKind::retry, ""},
      {"no such host", "host=no-such-host.invalid " + good, ErrorKind::retry, ""},
      {"wrong, then dead",
       fmt::format("host=127.0.0.1,127.0.0.1 port={},{} user=archiver password=hunter2",
                   server.port(), free_port()),
       ErrorKind::retry, ""},
      {"only a standby will do", tcp(server.port(), good + " target_session_attrs=read-only"),
       ErrorKind::retry, ""},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    try {
      connect(each.conninfo);
      ADD_FAILURE() << "connected";
    } catch (const Error& error) {
      EXPECT_EQ(to_string(error.kind()), to_string(each.kind)) << error.what();
      EXPECT_EQ(error.sqlstate(), each.sqlstate) << error.what();
      EXPECT_NE(error.hint(), "") << error.what();
      EXPECT_THAT(error.what() + error.hint(), Not(HasSubstr("hunter2")));
      EXPECT_THAT(error.what() + error.hint(), Not(HasSubstr("sesame")));
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
      if (std::getenv("PGWEIR_TEST_SHOW") != nullptr)
        fmt::print("{}: {}\n  hint: {}\n", each.name, error.what(), error.hint());
    }
  }

  // The first host is silent or cannot be found, the second is good.
  for (const std::string& first : {std::string("127.0.0.1"), std::string("no-such-host.invalid")}) {
    SCOPED_TRACE(first);
    const std::string list = fmt::format("host={},localhost port={},{} connect_timeout=1 {}", first,
                                         silent.port(), server.port(), good);
    const Connection connection = connect(list);
    EXPECT_EQ(connection.host_index(), 1u);
    EXPECT_EQ(connection.host_count(), 2u);
    EXPECT_EQ(connection.server_name(), fmt::format("localhost:{}", server.port()));
  }
  ConnectOptions turned;
  turned.conninfo =
      fmt::format("host=127.0.0.1,localhost,127.0.0.1 port={} {}", server.port(), good);
  turned.first_host = 1;
  EXPECT_EQ(Connection::open(turned, interrupt_).host_index(), 1u);
  turned.first_host = 5;
  EXPECT_EQ(Connection::open(turned, interrupt_).host_index(), 2u);
  if (connect(server.conninfo()).server_major() >= 14) {
    turned.conninfo += " target_session_attrs=prefer-standby";
    EXPECT_EQ(Connection::open(turned, interrupt_).host_index(), 2u);
  }

  // A signal ends the wait for a server that does not answer.
  std::thread signal([this] { interrupt_.raise(); });
  EXPECT_THROW(connect(tcp(silent.port(), good)), net::Interrupted);
  signal.join();
}

}  // namespace
}  // namespace weir::pq::live_server_test
