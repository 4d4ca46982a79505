// Servers that lie, break off or are not servers: what they say is written down here byte for byte
// (PostgreSQL documentation, "Message Formats").

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "net/wait.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/parameters.h"
#include "pq/replication_stream.h"
#include "unit/pq/test_server.h"
#include "wire/copy_messages.h"

namespace weir::pq::hostile_server_test {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

std::string int16(unsigned number) {
  return {static_cast<char>(number >> 8), static_cast<char>(number)};
}
std::string int32(std::uint32_t number) { return int16(number >> 16) + int16(number & 0xffff); }
std::string int64(std::uint64_t number) {
  return int32(static_cast<std::uint32_t>(number >> 32)) +
         int32(static_cast<std::uint32_t>(number));
}
std::string text(const std::string& value) { return value + '\0'; }

std::string message(char type, const std::string& body) {
  return type + int32(static_cast<std::uint32_t>(body.size() + 4)) + body;
}
std::string ready() { return message('Z', "I"); }
std::string greeting(const std::string& version) {
  return message('R', int32(0)) + message('S', text("server_version") + text(version)) + ready();
}
std::string error(const std::string& severity, const std::string& sqlstate,
                  const std::string& what = "it failed") {
  return message('E', "S" + text(severity) + "V" + text(severity) + "C" + text(sqlstate) + "M" +
                          text(what) + '\0');
}
std::string complete(const std::string& tag) { return message('C', text(tag)); }
std::string row_description(unsigned columns) {
  std::string body = int16(columns);
  for (unsigned i = 0; i < columns; ++i)
    body +=
        text("c") + int32(0) + int16(0) + int32(25) + int16(0xffff) + int32(0xffffffff) + int16(0);
  return message('T', body);
}
std::string row(const std::vector<std::optional<std::string>>& values) {
  std::string body = int16(static_cast<unsigned>(values.size()));
  for (const auto& value : values)
    body += value ? int32(static_cast<std::uint32_t>(value->size())) + *value : int32(0xffffffff);
  return row_description(static_cast<unsigned>(values.size())) + message('D', body);
}
std::string rows(const std::vector<std::optional<std::string>>& values) {
  return row(values) + complete("SELECT 1") + ready();
}
std::string copy_both() { return message('W', std::string(1, '\0') + int16(0)); }
std::string copy_data(const std::string& body) { return message('d', body); }
std::string copy_done() { return message('c', ""); }
std::string wal(std::uint64_t start, const std::string& bytes) {
  return copy_data("w" + int64(start) + int64(start + bytes.size()) + int64(0) + bytes);
}

class HostileServer : public ::testing::Test {
 protected:
  Connection connect(const FakeServer& server) {
    ConnectOptions options;
    options.conninfo = fmt::format(
        "host=127.0.0.1 port={} user=u sslmode=disable gssencmode=disable", server.port());
    return Connection::open(options, interrupt_);
  }
  net::Wake interrupt_;
};

// "retry", "retry 57P03" with a SQLSTATE, or "" if nothing is thrown.
std::string outcome(const std::function<void()>& function) {
  try {
    function();
  } catch (const Error& thrown) {
    const std::string kind(to_string(thrown.kind()));
    return thrown.sqlstate().empty() ? kind : kind + " " + thrown.sqlstate();
  }
  return "";
}

TEST_F(HostileServer, IsFoundOutWhenItGreets) {
  const struct {
    const char* name;
    std::vector<std::string> answers;
    const char* outcome;
  } cases[] = {
      {"good", {greeting("15.3")}, ""},
      {"newer than all we know", {greeting("42beta1")}, ""},
      {"too old", {greeting("12.22")}, "refused"},
      {"much too old", {greeting("9.6.24")}, "refused"},
      {"no version", {message('R', int32(0)) + ready()}, "refused"},
      {"starting up", {error("FATAL", "57P03")}, "retry 57P03"},
      {"full", {error("FATAL", "53300")}, "retry 53300"},
      {"no role, in another language", {error("FATALE", "28000")}, "refused 28000"},
      {"unknown authentication", {message('R', int32(99))}, "refused"},
      {"hangs up", {""}, "retry"},
      {"hangs up in the middle", {message('R', int32(0))}, "retry"},
      {"a mail server", {"220 mail ready\r\n"}, "refused"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const FakeServer server(each.answers);
    EXPECT_EQ(outcome([&] { connect(server); }), each.outcome);
  }
}

TEST_F(HostileServer, IsNotBelievedWhatMakesNoSense) {
  const auto identify = [](Connection& connection) {
    static_cast<void>(identify_system(connection));
  };
  const auto history = [](Connection& connection) {
    static_cast<void>(timeline_history(connection, 2));
  };
  const auto segment_size = [](Connection& connection) {
    static_cast<void>(show_wal_segment_size(connection));
  };
  const auto slot = [](Connection& connection) {
    static_cast<void>(read_replication_slot(connection, "s"));
  };
  const struct {
    const char* name;
    std::string answer;
    std::function<void(Connection&)> command;
    const char* outcome;
  } cases[] = {
      {"good", rows({"7", "1", "0/100", std::nullopt}), identify, ""},
      {"padded position, more columns", rows({"7", "1", "0/00000100", "", "x"}), identify, ""},
      {"no row", row_description(4) + complete("SELECT 0") + ready(), identify, "protocol"},
      {"no answer at all", complete("SELECT 0") + ready(), identify, "protocol"},
      {"too few columns", rows({"7", "1"}), identify, "protocol"},
      {"NULL", rows({"7", "1", std::nullopt, "x"}), identify, "protocol"},
      {"timeline 0", rows({"7", "0", "0/100", "x"}), identify, "protocol"},
      {"timeline too large", rows({"7", "4294967296", "0/100", "x"}), identify, "protocol"},
      {"position of three parts", rows({"7", "1", "0/1/1", "x"}), identify, "protocol"},
      {"identifier no number", rows({"-7", "1", "0/100", "x"}), identify, "protocol"},
      {"a COPY", message('G', std::string(1, '\0') + int16(0)), identify, "protocol"},
      {"hangs up", "", identify, "retry"},
      {"hangs up in the middle", row({"7", "1", "0/100", "x"}), identify, "retry"},
      {"error, then hangs up", error("FATAL", "57P01"), identify, "retry 57P01"},
      {"history", rows({"00000002.history", "1\t0/100\tx\n"}), history, ""},
      {"history of another", rows({"00000003.history", "1\t0/100\tx\n"}), history, "protocol"},
      {"history elsewhere", rows({"../00000002.history", "x"}), history, "protocol"},
      {"history NULL", rows({"00000002.history", std::nullopt}), history, "protocol"},
      {"history missing", error("ERROR", "58P01") + ready(), history, "conflict 58P01"},
      {"segment size", rows({"64MB"}), segment_size, ""},
      {"segment size 3 MB", rows({"3MB"}), segment_size, "protocol"},
      {"segment size NULL", rows({std::nullopt}), segment_size, "protocol"},
      {"slot", rows({"physical", "0/100", "1"}), slot, ""},
      {"slot of nothing", rows({std::nullopt, std::nullopt, std::nullopt}), slot, ""},
      {"slot position", rows({"physical", "here", "1"}), slot, "protocol"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const FakeServer server({greeting("15.3"), each.answer});
    Connection connection = connect(server);
    EXPECT_EQ(outcome([&] { each.command(connection); }), each.outcome);
  }
}

TEST_F(HostileServer, CannotConfuseTheStream) {
  const std::string next = row({"4", "0/200"}) + complete("SELECT 1") + complete("START_STREAMING");
  const struct {
    const char* name;
    std::string answer;
    std::string after_copy_done;
    const char* outcome;  // what the stream came to: what arrived, then how it ended
  } cases[] = {
      {"WAL, then the server stops", copy_both() + wal(0x100, "abc") + complete("COPY 0"), "",
       "3 bytes, end"},
      {"WAL, then the timeline ends", copy_both() + wal(0x100, "abc") + copy_done(), next + ready(),
       "3 bytes, next 4 0/200"},
      {"the timeline ends at once", next + ready(), "", "next 4 0/200"},
      {"hangs up", copy_both() + wal(0x100, "abc"), "", "3 bytes, retry"},
      {"hangs up in a message", copy_both() + wal(0x100, "abc").substr(0, 20), "", "retry"},
      {"hangs up instead of results", copy_both() + copy_done(), "", "retry"},
      {"WAL removed", copy_both() + wal(0x100, "abc") + error("ERROR", "58P01") + ready(), "",
       "3 bytes, gap 58P01"},
      {"terminated", copy_both() + error("FATAL", "57P01"), "", "retry 57P01"},
      {"slot in use", error("ERROR", "55006") + ready(), "", "retry 55006"},
      {"unknown message", copy_both() + copy_data("?"), "", "protocol"},
      // libpq swallows it.
      {"empty message", copy_both() + copy_data("") + wal(0x100, "abc"), "", "3 bytes, retry"},
      {"position wraps", copy_both() + wal(~std::uint64_t{0}, "abc"), "", "protocol"},
      {"timeline goes back", copy_both() + copy_done(),
       row({"3", "0/200"}) + complete("SELECT 1") + ready(), "protocol"},
      {"no such timeline", copy_both() + copy_done(),
       row({"many", "0/200"}) + complete("SELECT 1") + ready(), "protocol"},
      {"promoted between two commands", copy_both() + copy_done(),
       row({"0", "0/0"}) + complete("SELECT 1") + ready(), "retry"},
      {"NULL instead of a timeline", copy_both() + copy_done(),
       row({std::nullopt, std::nullopt}) + complete("SELECT 1") + ready(), "protocol"},
      {"too few columns", row({"4"}) + complete("SELECT 1") + ready(), "", "protocol"},
      {"a COPY of another kind", message('H', std::string(1, '\0') + int16(0)), "", "protocol"},
      {"notifications",
       copy_both() + message('A', int32(1) + text("c") + text("p")) + wal(0x100, "abc") +
           complete("COPY 0"),
       "", "3 bytes, end"},
      {"a length that cannot be", copy_both() + "d" + int32(2), "", "retry"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    std::vector<std::string> answers = {greeting("15.3"), each.answer};
    if (!each.after_copy_done.empty()) answers.push_back(each.after_copy_done);
    const FakeServer server(answers);
    Connection connection = connect(server);
    std::string came;
    const auto note = [&came](const std::string& what) {
      came += (came.empty() ? "" : ", ") + what;
    };
    const std::string thrown = outcome([&] {
      auto stream = ReplicationStream::start(connection, "slot", wal::Lsn(0x100), 3, interrupt_);
      const auto deadline = steady_clock::now() + seconds(30);
      for (;;) {
        const StreamEvent event = stream.next();
        if (const auto* data = std::get_if<wire::XLogData>(&event))
          note(fmt::format("{} bytes", data->wal.size()));
        if (const auto* end = std::get_if<EndOfStream>(&event)) {
          note(end->next ? fmt::format("next {} {}", end->next->timeline, end->next->switchpoint)
                         : "end");
          return;
        }
        if (!std::holds_alternative<NothingYet>(event)) continue;
        if (!net::wait_for_socket(stream.socket(), true, !stream.flush(), &interrupt_, deadline))
          throw std::runtime_error("the stream hangs");
        stream.receive();
      }
    });
    if (!thrown.empty()) note(thrown);
    EXPECT_EQ(came, each.outcome);
  }
}

TEST_F(HostileServer, OfALogicalStreamOnlyAMissingWalFileIsAGap) {
  const struct {
    const char* what;
    const char* outcome;
  } cases[] = {
      {"requested WAL segment 00000001000000000000000A has already been removed", "gap 58P01"},
      {"could not access file \"wal2json\": No such file or directory", "retry 58P01"},
      {"could not open file \"pg_replslot/s/xid-7-lsn-0-1000000.spill\"", "retry 58P01"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    const FakeServer server({greeting("15.3"), error("ERROR", "58P01", each.what) + ready()});
    Connection connection = connect(server);
    EXPECT_EQ(outcome([&] {
                static_cast<void>(ReplicationStream::start_logical(
                    connection, "slot", wal::Lsn(0x100), {}, interrupt_));
              }),
              each.outcome);
  }
}

TEST_F(HostileServer, CannotKeepUsFromStopping) {
  // Never answers the CopyDone.
  const FakeServer server({greeting("15.3"), copy_both(), wal(0x100, "abc"), wal(0x103, "d"), ""});
  Connection connection = connect(server);
  auto stream = ReplicationStream::start(connection, std::nullopt, wal::Lsn(0x100), 3, interrupt_);
  EXPECT_EQ(outcome([&] { stream.finish(std::chrono::milliseconds(100)); }), "retry");
}

TEST_F(HostileServer, ReasonIsToldEvenIfSendingFailsFirst) {
  const FakeServer server({greeting("15.3"), copy_both() + error("FATAL", "58P01")});
  Connection connection = connect(server);
  auto stream = ReplicationStream::start(connection, std::nullopt, wal::Lsn(0x100), 3, interrupt_);
  EXPECT_EQ(outcome([&] {
              const auto deadline = steady_clock::now() + seconds(30);
              while (std::holds_alternative<NothingYet>(stream.next())) {
                for (int i = 0; i < 3; ++i) stream.send({wal::Lsn(1), wal::Lsn(1), {}, true});
                net::wait_for_socket(stream.socket(), true, false, &interrupt_, deadline);
                stream.receive();
                stream.receive();
                stream.send({wal::Lsn(1), wal::Lsn(1), {}, true});
              }
            }),
            "gap 58P01");
  // Whoever polls is woken.
  EXPECT_TRUE(net::wait_for_socket(stream.socket(), true, false, &interrupt_,
                                   steady_clock::now() + seconds(600)));
  EXPECT_GE(stream.socket(), 0);
}

TEST_F(HostileServer, LossIsToldToOneWhoOnlySends) {
  const FakeServer server({greeting("15.3"), copy_both(), ""});
  Connection connection = connect(server);
  auto stream = ReplicationStream::start(connection, std::nullopt, wal::Lsn(0x100), 3, interrupt_);
  stream.send({wal::Lsn(1), wal::Lsn(1), {}, true});
  EXPECT_EQ(outcome([&] {
              const auto deadline = steady_clock::now() + seconds(30);
              while (std::holds_alternative<NothingYet>(stream.next())) {
                stream.send({wal::Lsn(1), wal::Lsn(1), {}, true});
                net::wait_for_socket(stream.socket(), true, false, &interrupt_, deadline);
                stream.send({wal::Lsn(2), wal::Lsn(2), {}, true});
                stream.receive();
              }
            }),
            "retry");
}

}  // namespace
}  // namespace weir::pq::hostile_server_test
