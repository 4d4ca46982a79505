// The public class against a real server. Few and long tests, because each makes its own server.

#include "pgweir/replication_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <thread>

#include "net/wake.h"
#include "pq/connection.h"
#include "unit/pq/test_server.h"
#include "wire/backend_messages.h"
#include "wire/copy_messages.h"

namespace weir::replication_stream_test {
namespace {

using namespace std::chrono_literals;
using Stream = ReplicationStream;
using Clock = std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class LiveStream : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!pq::TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs";
    server_.emplace();
    server_->sql("ALTER SYSTEM SET wal_level = logical");
    server_->sql("ALTER SYSTEM SET max_prepared_transactions = 2");
    server_->stop(SIGINT);
    server_->start();
    server_->sql("CREATE TABLE t (id int)");
  }

  Stream connect(Stream::Kind kind = Stream::Kind::logical) {
    return Stream({.conninfo = server_->conninfo(), .kind = kind});
  }
  std::string sql(const std::string& command) { return server_->sql(command); }
  std::string slot(const std::string& column) {
    return sql("SELECT " + column + " FROM pg_replication_slots WHERE slot_name = 's'");
  }
  void eventually(const std::string& question, const std::string& answer) {
    const auto deadline = Clock::now() + 120s;
    while (sql(question) != answer) {
      ASSERT_LT(Clock::now(), deadline) << question;
      std::this_thread::sleep_for(10ms);
    }
  }
  /// What the plugin wrote, up to and with the message that has `last`; all of it confirmed.
  static std::vector<std::string> texts(Stream& stream, const std::string& last) {
    std::vector<std::string> result;
    while (const auto message = stream.read(30s)) {
      result.emplace_back(message->text());
      stream.confirm(message->end);
      if (result.back().find(last) != std::string::npos) return result;
    }
    throw std::runtime_error("it ended without " + last);
  }

  /// What the function throws.
  template <typename Function>
  static Error error_of(Function function) {
    try {
      function();
    } catch (const Error& error) {
      return error;
    }
    throw std::runtime_error("nothing was thrown");
  }

  std::optional<pq::TestServer> server_;
};

const Stream::SlotOptions kDecoding{.plugin = "test_decoding"};
const std::vector<std::pair<std::string, std::optional<std::string>>> kPlain = {
    {"include-xids", "0"}, {"skip-empty-xacts", std::nullopt}};

TEST_F(LiveStream, StreamsChangesAndConfirmsWhatWasConfirmedAndNoMore) {
  Stream stream(
      {.conninfo = server_->conninfo(), .kind = Stream::Kind::logical, .advance_when_idle = false});
  EXPECT_THAT(error_of([&] { static_cast<void>(stream.read()); }).what(), HasSubstr("not started"));
  const auto made = stream.create_slot("s", kDecoding);
  EXPECT_EQ(made.consistent_point.to_string(), slot("confirmed_flush_lsn"));
  EXPECT_FALSE(made.snapshot_name);
  EXPECT_EQ(error_of([&] { stream.create_slot("s", kDecoding); }).sqlstate(), "42710");

  stream.start({.slot = "s", .plugin_options = kPlain});
  EXPECT_FALSE(stream.read()) << "nothing has happened";
  EXPECT_EQ(error_of([&] { stream.query("SELECT 1"); }).kind(), ErrorKind::usage);
  sql("INSERT INTO t VALUES (1), (2)");
  pollfd fd{stream.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&fd, 1, 30'000), 1);
  std::vector<std::string> got;
  Lsn commit;
  while (got.empty() || !got.back().starts_with("COMMIT")) {
    const auto message = stream.read(30s);
    ASSERT_TRUE(message);
    got.emplace_back(message->text());
    EXPECT_EQ(message->end, message->data_start);
    EXPECT_LE(message->end, stream.wal_end());
    commit = message->end;
  }
  EXPECT_THAT(got, ::testing::ElementsAre("BEGIN", HasSubstr("id[integer]:1"),
                                          HasSubstr("id[integer]:2"), "COMMIT"));
  EXPECT_EQ(stream.confirmed().flush, Lsn()) << "nobody has confirmed anything";
  stream.send_feedback({.write = commit, .request_reply = true});
  eventually("SELECT write_lsn FROM pg_stat_replication", commit.to_string());
  EXPECT_EQ(slot("confirmed_flush_lsn"), made.consistent_point.to_string());
  stream.send_feedback({.flush = commit});
  eventually("SELECT confirmed_flush_lsn FROM pg_replication_slots", commit.to_string());

  // What nobody can have.
  EXPECT_EQ(error_of([&] { stream.confirm(commit + (1 << 30)); }).kind(), ErrorKind::usage);
  EXPECT_EQ(error_of([&] { stream.send_feedback({.flush = commit + (1 << 30)}); }).kind(),
            ErrorKind::usage);
  // Positions do not go back.
  stream.confirm(made.consistent_point);
  EXPECT_EQ(stream.confirmed().flush, commit);

  // In good order, and again on the same connection, where it was confirmed.
  stream.stop();
  EXPECT_FALSE(stream.streaming());
  EXPECT_EQ(stream.read(), std::nullopt);
  sql("INSERT INTO t VALUES (3)");
  stream.start({.slot = "s", .plugin_options = kPlain});
  EXPECT_THAT(texts(stream, "COMMIT"),
              ::testing::ElementsAre("BEGIN", HasSubstr("id[integer]:3"), "COMMIT"));
  stream.stop();  // tells the last confirmation, too
  eventually("SELECT active FROM pg_replication_slots", "f");
  EXPECT_EQ(slot("confirmed_flush_lsn"), stream.confirmed().flush.to_string());
  stream.drop_slot("s");
  EXPECT_EQ(error_of([&] { stream.drop_slot("s"); }).sqlstate(), "42704");
}

TEST_F(LiveStream, HandsOutAnyBytesAsTheyAre) {
  auto stream = connect();
  stream.create_slot("s", kDecoding);
  stream.start({.slot = "s", .plugin_options = kPlain});
  // 8 MB of bytes that are no text, in one message.
  sql("SELECT pg_logical_emit_message(false, 'p', decode(repeat('00ff0a09', 2000000), 'hex'))");
  const auto message = stream.read(30s);
  ASSERT_TRUE(message);
  std::string expected;
  for (int i = 0; i < 2'000'000; ++i) expected += std::string("\0\xff\n\t", 4);
  EXPECT_TRUE(message->text().find(expected) != std::string_view::npos) << message->data.size();
}

TEST_F(LiveStream, MakesEveryKindOfSlot) {
  auto stream = connect();
  const auto exported = stream.create_slot(
      "exported",
      {.temporary = true, .plugin = "test_decoding", .snapshot = Stream::Snapshot::exported});
  ASSERT_TRUE(exported.snapshot_name);
  {
    const net::Wake never;
    auto other = pq::Connection::open(
        {.conninfo = server_->conninfo(), .replication = pq::Replication::none}, never);
    sql("INSERT INTO t VALUES (1)");  // behind the snapshot
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    other.execute("SET TRANSACTION SNAPSHOT '" + *exported.snapshot_name + "'");
    EXPECT_EQ(other.execute("SELECT count(*) FROM t")[0][0], "0");
  }
  stream.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  stream.create_slot("used",
                     {.temporary = true, .plugin = "pgoutput", .snapshot = Stream::Snapshot::use});
  sql("INSERT INTO t VALUES (2)");
  EXPECT_EQ(stream.query("SELECT count(*) FROM t")[0][0], "1");
  stream.query("COMMIT");
  EXPECT_EQ(stream.query("SELECT NULL")[0][0], std::nullopt);
  stream.create_slot("s", {.plugin = "test_decoding", .two_phase = true});
  EXPECT_EQ(slot("two_phase"), "t");
  if (stream.identify().version < 170000) {
    EXPECT_EQ(
        error_of([&] { stream.create_slot("f", {.plugin = "pgoutput", .failover = true}); }).kind(),
        ErrorKind::usage);
  }
  EXPECT_EQ(error_of([&] { stream.create_slot("n"); }).kind(), ErrorKind::usage) << "no plugin";
  const auto missing = error_of([&] { stream.create_slot("m", {.plugin = "no_such_plugin"}); });
  EXPECT_EQ(missing.kind(), ErrorKind::refused) << missing.what();
  EXPECT_THAT(missing.what(), HasSubstr("no_such_plugin"));

  auto physical = connect(Stream::Kind::physical);
  EXPECT_EQ(error_of([&] { physical.create_slot("p", kDecoding); }).kind(), ErrorKind::usage);
  physical.create_slot("p", {.reserve_wal = false});
  physical.create_slot("temporary", {.temporary = true});
  EXPECT_EQ(sql("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots "
                "WHERE slot_type = 'physical' AND (restart_lsn IS NOT NULL) = temporary"),
            "p temporary");
}

TEST_F(LiveStream, SaysWhatIsWrongWithASlot) {
  sql("SELECT pg_create_physical_replication_slot('p')");
  sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')");
  sql("CREATE DATABASE other");
  auto logical = connect();
  const auto physical_slot = error_of([&] { logical.start({.slot = "p"}); });
  EXPECT_EQ(physical_slot.kind(), ErrorKind::refused);
  EXPECT_THAT(physical_slot.what(), HasSubstr("physical"));
  const auto missing = error_of([&] { logical.start({.slot = "nobody"}); });
  EXPECT_EQ(missing.kind(), ErrorKind::refused);
  EXPECT_EQ(missing.sqlstate(), "42704");
  EXPECT_EQ(error_of([&] { logical.start({}); }).kind(), ErrorKind::usage);
  EXPECT_EQ(error_of([&] { logical.start({.slot = "s", .timeline = 1}); }).kind(),
            ErrorKind::usage);

  const auto option = error_of([&] {
    logical.start({.slot = "s", .plugin_options = {{"no-such-option", "1"}}});
    while (logical.read(30s)) continue;
  });
  EXPECT_THAT(option.what(), HasSubstr("no-such-option"));
  EXPECT_EQ(option.kind(), ErrorKind::refused) << option.sqlstate();

  // A walsender that has reported an error releases its slot a moment later.
  const auto released = [&] {
    eventually("SELECT count(*) FROM pg_replication_slots WHERE active", "0");
  };
  released();
  Stream other({.conninfo = server_->conninfo() + " dbname=other", .kind = Stream::Kind::logical});
  EXPECT_EQ(error_of([&] { other.start({.slot = "s"}); }).kind(), ErrorKind::refused);

  released();
  auto physical = connect(Stream::Kind::physical);
  EXPECT_EQ(error_of([&] { physical.start({.slot = "s"}); }).kind(), ErrorKind::refused);
  EXPECT_EQ(error_of([&] {
              physical.start({.plugin_options = {{"a", "b"}}});
            }).kind(),
            ErrorKind::usage);
  const auto nowhere = error_of([&] {
    Stream({.conninfo = server_->conninfo() + " dbname=nowhere", .kind = Stream::Kind::logical});
  });
  EXPECT_EQ(nowhere.kind(), ErrorKind::refused);
  EXPECT_EQ(nowhere.sqlstate(), "3D000");

  // The slot of one stream is in use for another, which may try again.
  released();
  auto holder = connect();
  holder.start({.slot = "s"});
  auto second = connect();
  EXPECT_EQ(error_of([&] { second.start({.slot = "s"}); }).kind(), ErrorKind::retry);
}

TEST_F(LiveStream, KeepsTheConnectionWhileItsUserIsBusyIfAskedTo) {
  sql("ALTER SYSTEM SET wal_sender_timeout = '4s'");
  sql("SELECT pg_reload_conf()");
  sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')");
  sql("SELECT pg_create_logical_replication_slot('deaf', 'test_decoding')");
  auto stream = connect();
  stream.start({.slot = "s", .plugin_options = kPlain});
  Stream deaf({.conninfo = server_->conninfo(),
               .kind = Stream::Kind::logical,
               .background_replies = false});
  deaf.start({.slot = "deaf", .plugin_options = kPlain});
  // Nobody reads from either. The server gives up the one and keeps the other.
  eventually("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'deaf' AND active", "0");
  EXPECT_EQ(error_of([&] {
              while (deaf.read(30s)) continue;
            }).kind(),
            ErrorKind::retry);
  eventually("SELECT count(*) FROM pg_stat_replication WHERE now() - backend_start > '9 s'", "1");
  sql("INSERT INTO t VALUES (1)");
  EXPECT_THAT(texts(stream, "COMMIT"), ::testing::SizeIs(3));
}

TEST_F(LiveStream, LetsGoOfWalThatIsOfNoInterestAndOnlyWhenAllIsConfirmed) {
  auto stream = connect();
  stream.create_slot("s", kDecoding);
  stream.start({.slot = "s", .plugin_options = kPlain});
  sql("INSERT INTO t VALUES (1)");
  std::optional<Stream::Message> last;
  while (!last || !last->text().starts_with("COMMIT")) {
    last = stream.read(30s);
    ASSERT_TRUE(last);
  }
  const auto commit = last->end;
  // WAL that has nothing for it. While the change is not confirmed, nothing moves.
  sql("SELECT pg_switch_wal()");
  const Lsn far = *Lsn::parse(sql("SELECT pg_current_wal_lsn()"));
  const auto deadline = Clock::now() + 120s;
  const auto ask = [&] {
    stream.send_feedback({.request_reply = true});  // is answered by how far the server is
    EXPECT_FALSE(stream.read(50ms));
  };
  while (stream.wal_end() < far && Clock::now() < deadline) ask();
  EXPECT_GE(stream.wal_end(), far);
  EXPECT_LT(stream.confirmed().flush, commit);
  EXPECT_LT(*Lsn::parse(slot("confirmed_flush_lsn")), commit);
  stream.confirm(commit);
  while (stream.confirmed().flush < far && Clock::now() < deadline) ask();
  EXPECT_GE(stream.confirmed().flush, far);
  EXPECT_LT(commit, far);
}

TEST_F(LiveStream, GivesWalAsItIsAndEndsWithTheServer) {
  auto stream = connect(Stream::Kind::physical);
  const auto server = stream.identify();
  EXPECT_EQ(server.timeline, 1u);
  EXPECT_EQ(std::to_string(server.system_identifier),
            sql("SELECT system_identifier FROM pg_control_system()"));
  stream.start({});
  sql("INSERT INTO t SELECT generate_series(1, 20000)");
  const Lsn end = *Lsn::parse(sql("SELECT pg_current_wal_flush_lsn()"));
  Lsn next = server.flush_lsn;
  const auto ended = stream.consume([&](const Stream::Message& message) {
    EXPECT_EQ(message.data_start, next);
    next = message.data_start + message.data.size();
    EXPECT_EQ(message.end, next);
    EXPECT_LT(std::chrono::abs(message.send_time - std::chrono::system_clock::now()), 1h);
    return next < end;
  });
  EXPECT_EQ(ended, Stream::Ended::by_handler);
  EXPECT_TRUE(stream.streaming());
  stream.confirm(next);

  // From another thread; a stream that moved is the same stream.
  auto moved = std::move(stream);
  std::thread interrupter([&] { moved.interrupt(); });
  while (moved.read(1h)) moved.confirm(moved.wal_end());
  interrupter.join();
  EXPECT_TRUE(moved.streaming());

  server_->signal(SIGINT);  // waits until all is confirmed
  const auto error = error_of([&] {
    while (const auto message = moved.read(30s)) moved.send_feedback({.flush = message->end});
  });
  EXPECT_EQ(error.kind(), ErrorKind::retry) << error.what();
  EXPECT_FALSE(moved.streaming());
}

/// The answers of a server whose logical stream consists of these messages, and then breaks off.
std::vector<std::string> answers(const std::vector<std::string>& stream) {
  const auto row = [](std::vector<std::optional<std::string>> values) {
    std::string out;
    wire::append_row_description(out,
                                 std::vector<wire::Column>(values.size(), wire::text_column("c")));
    wire::append_data_row(out, values);
    wire::append_command_complete(out, "SELECT 1");
    wire::append_ready(out);
    return out;
  };
  std::string greeting;
  wire::append_authentication_ok(greeting);
  wire::append_parameter_status(greeting, "server_version", "15.3");
  wire::append_ready(greeting);
  std::string copy;
  wire::append_copy_both(copy);
  for (const auto& each : stream) wire::append_copy_data(copy, each);
  return {greeting, row({"7", "1", "0/10", "d"}), row({"0"}), copy};
}
std::string change(std::uint64_t position) {
  return wire::encode_head({.start = Lsn(position), .server_end = Lsn(position), .wal = {}}) + "x";
}
std::string keepalive(std::uint64_t position) {
  return wire::encode(wire::Keepalive{.server_end = Lsn(position)});
}

TEST(Stream, ConfirmsByItselfOnlyWhatFollowsAConfirmedEnd) {
  const struct {
    const char* name;
    std::vector<std::string> stream;       ///< from 0/10 on
    std::vector<std::uint64_t> confirmed;  ///< after each message
    std::uint64_t in_the_end;
  } cases[] = {
      {"all is confirmed", {change(0x200), keepalive(0x250)}, {0x200}, 0x250},
      {"nothing is", {change(0x200), keepalive(0x250)}, {0}, 0},
      {"a change of a transaction that began before the commit, and not the commit",
       {change(0x200), change(0x100), keepalive(0x250)},
       {0, 0x100},
       0x100},
      {"the commit, after it", {change(0x200), change(0x100), keepalive(0x250)}, {0, 0x200}, 0x250},
      {"a message where the keepalive was, and only what is before it",
       {keepalive(0x200), change(0x200), keepalive(0x250)},
       {0x100},
       0x200},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const pq::FakeServer server(answers(each.stream));
    Stream stream({.conninfo = "host=127.0.0.1 port=" + std::to_string(server.port()) +
                               " user=u sslmode=disable gssencmode=disable",
                   .kind = Stream::Kind::logical});
    stream.start({.slot = "s"});
    for (const auto position : each.confirmed) {
      ASSERT_TRUE(stream.read(30s));
      stream.confirm(Lsn(position));
    }
    EXPECT_THROW(static_cast<void>(stream.read(30s)), Error) << "it has ended";
    EXPECT_EQ(stream.confirmed().flush, Lsn(each.in_the_end));
  }
}

TEST(Stream, SaysWhyItCannotConnect) {
  const auto kind = [](const std::string& conninfo) {
    try {
      Stream stream({.conninfo = conninfo, .connect_timeout = 5s});
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::io;
  };
  EXPECT_EQ(kind("host=127.0.0.1 port=" + std::to_string(pq::free_port())), ErrorKind::retry);
  EXPECT_EQ(kind("nonsense=1"), ErrorKind::usage);
}

}  // namespace
}  // namespace weir::replication_stream_test
