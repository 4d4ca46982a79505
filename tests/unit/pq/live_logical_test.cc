// The logical half of the replication room against a real server; see TestServer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "net/wait.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"
#include "unit/pq/test_server.h"
#include "wire/copy_messages.h"

namespace weir::pq::live_logical_test {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::StartsWith;

Connection connect(const TestServer& server, const net::Wake& never,
                   Replication kind = Replication::logical) {
  ConnectOptions options;
  options.conninfo = server.conninfo();
  options.replication = kind;
  return Connection::open(options, never);
}

struct Message {
  wal::Lsn start;
  std::string text;
};

/// What comes up to the first COMMIT.
std::vector<Message> one_transaction(ReplicationStream& stream) {
  std::vector<Message> messages;
  const auto deadline = steady_clock::now() + seconds(30);
  for (;;) {
    const StreamEvent event = stream.next();
    if (const auto* data = std::get_if<wire::XLogData>(&event)) {
      messages.push_back(
          {data->start, {reinterpret_cast<const char*>(data->wal.data()), data->wal.size()}});
      if (messages.back().text.starts_with("COMMIT")) return messages;
    } else if (std::holds_alternative<EndOfStream>(event)) {
      throw std::runtime_error("the stream ended early");
    } else if (std::holds_alternative<NothingYet>(event)) {
      if (!net::wait_for_socket(stream.socket(), true, !stream.flush(), nullptr, deadline))
        throw std::runtime_error("nothing came from the server in time");
      stream.receive();
    }
  }
}

TEST(LiveLogical, CreatesASlotAndStreamsFromIt) {
  if (!TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  TestServer server;
  server.sql("ALTER SYSTEM SET wal_level = logical");
  server.stop(SIGINT);
  server.start();
  server.sql("CREATE TABLE t (a int)");
  server.sql("INSERT INTO t VALUES (1)");
  const net::Wake never;
  Connection connection = connect(server, never);
  EXPECT_EQ(connection.execute("SELECT 1 + 1").at(0).at(0), "2");

  LogicalSlotOptions options;
  options.snapshot = Snapshot::export_;
  options.two_phase = connection.server_major() >= 15;
  const auto slot = create_logical_slot(connection, "one", options);
  ASSERT_TRUE(slot);
  EXPECT_GT(slot->consistent_point, wal::Lsn(0));
  server.sql("INSERT INTO t VALUES (2)");
  Connection reader = connect(server, never, Replication::none);
  reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
  reader.execute("SET TRANSACTION SNAPSHOT " + reader.quote_literal(slot->snapshot));
  EXPECT_EQ(reader.execute("SELECT count(*) FROM t").at(0).at(0), "1");
  reader.execute("COMMIT");
  EXPECT_FALSE(create_logical_slot(connection, "one", {}));
  LogicalSlotOptions temporary;
  temporary.temporary = true;
  EXPECT_TRUE(create_logical_slot(connection, "passing", temporary)->snapshot.empty());
  LogicalSlotOptions failover;
  failover.failover = true;
  if (connection.server_major() < 17) {
    EXPECT_THROW(create_logical_slot(connection, "other", failover), Error);
  }

  auto stream = ReplicationStream::start_logical(
      connection, "one", wal::Lsn(), {{"include-xids", "0"}, {"skip-empty-xacts", std::nullopt}},
      never);
  auto messages = one_transaction(stream);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].text, "BEGIN");
  EXPECT_EQ(messages[1].text, "table public.t: INSERT: a[integer]:2");
  EXPECT_LT(messages[1].start, messages[2].start);
  const wal::Lsn committed = messages[2].start;

  // Longer than any physical message may be.
  server.sql("CREATE TABLE wide (a text)");
  server.sql("INSERT INTO wide SELECT repeat('x', 20000000)");
  messages = one_transaction(stream);
  while (messages.size() < 3) messages = one_transaction(stream);
  EXPECT_EQ(messages[1].text.size(),
            20000000u + sizeof "table public.wide: INSERT: a[text]:''" - 1);
  const wal::Lsn wide = messages[2].start;
  EXPECT_GT(wide, committed);
  stream.finish(seconds(10));

  connection = connect(server, never);
  // A start behind a commit leaves it out, though nothing was confirmed.
  stream = ReplicationStream::start_logical(
      connection, "one", committed, {{"include-xids", "0"}, {"skip-empty-xacts", "1"}}, never);
  messages = one_transaction(stream);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_THAT(messages[1].text, StartsWith("table public.wide"));
  stream.finish(seconds(10));

  connection = connect(server, never);
  EXPECT_THROW(static_cast<void>(ReplicationStream::start_logical(
                   connection, "one", wal::Lsn(), {{"no-such-option", "it's"}}, never)),
               Error);
}

TEST(LiveLogical, TellsOfAServerThatWritesNoLogicalWal) {
  if (!TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  const TestServer server;
  const net::Wake never;
  Connection connection = connect(server, never);
  try {
    create_logical_slot(connection, "one", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.sqlstate(), "55000");
    EXPECT_EQ(error.kind(), ErrorKind::refused);
  }
}

TEST(Decode, TakesLogicalMessagesOfAnySizeAndPosition) {
  std::string message(1 + 3 * 8 + wire::kMaxXLogData + 1, '\xff');
  message[0] = 'w';
  const auto bytes = std::as_bytes(std::span(message.data(), message.size()));
  EXPECT_TRUE(std::holds_alternative<Error>(wire::decode_from_server(bytes)));
  const auto data =
      std::get<wire::XLogData>(wire::decode_from_server(bytes, wire::StreamKind::logical));
  EXPECT_EQ(data.start, wal::Lsn(~std::uint64_t{0}));
  EXPECT_EQ(data.wal.size(), wire::kMaxXLogData + 1);
}

}  // namespace
}  // namespace weir::pq::live_logical_test
