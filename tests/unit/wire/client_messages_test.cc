#include "wire/client_messages.h"

#include <gtest/gtest.h>

#include "support/bytes.h"
#include "wire/bytes.h"

namespace weir::wire::client_messages_test {
namespace {

using namespace std::string_literals;

std::string packet(std::uint32_t code, const std::string& body) {
  std::string bytes;
  append_u32(bytes, static_cast<std::uint32_t>(8 + body.size()));
  append_u32(bytes, code);
  return bytes + body;
}
std::string startup(const std::string& body) { return packet(kProtocolVersion, body); }

StartupRead read(const std::string& bytes) { return read_startup(test::as_bytes(bytes)); }

TEST(Startup, ReadsWhoConnects) {
  const auto bytes = startup("user\0repl\0database\0replication\0replication\0true\0\0"s);
  const auto read = wire::read_startup(test::as_bytes(bytes + "more"));
  EXPECT_EQ(read.size, bytes.size());
  const auto& packet = std::get<Startup>(read.packet);
  EXPECT_EQ(packet.parameter("user"), "repl");
  EXPECT_EQ(packet.parameter("replication"), "true");
  EXPECT_EQ(packet.parameter("application_name"), "");
  EXPECT_TRUE(packet.protocol_options().empty());
}

TEST(Startup, TheLaterOfTwoCounts) {
  const auto read =
      wire::read_startup(test::as_bytes(startup("user\0one\0user\0two\0_pq_.x\0"
                                                "1\0\0"s)));
  const auto& packet = std::get<Startup>(read.packet);
  EXPECT_EQ(packet.parameter("user"), "two");
  EXPECT_EQ(packet.protocol_options(), std::vector<std::string>{"_pq_.x"});
}

TEST(Startup, WaitsForTheWholeAndReadsNoByteFurther) {
  const auto bytes = startup("user\0repl\0\0"s);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    const auto read = wire::read_startup(test::as_bytes(bytes.substr(0, size)));
    EXPECT_TRUE(std::holds_alternative<Incomplete>(read.packet));
    EXPECT_EQ(read.size, 0u);
  }
}

TEST(Startup, KnowsTheOtherPackets) {
  EXPECT_TRUE(std::holds_alternative<SslRequest>(read(packet(80877103, "")).packet));
  EXPECT_TRUE(std::holds_alternative<GssRequest>(read(packet(80877104, "")).packet));
  const auto cancel = read(packet(80877102, "12345678"));
  ASSERT_TRUE(std::holds_alternative<CancelRequest>(cancel.packet));
  EXPECT_EQ(std::get<CancelRequest>(cancel.packet).process, 0x31323334u);
  EXPECT_EQ(std::get<CancelRequest>(cancel.packet).secret, 0x35363738u);
}

TEST(Startup, RefusesWhatCannotBe) {
  std::string huge;
  append_u32(huge, kMaxStartupPacket + 5);
  std::string tiny;
  append_u32(tiny, 7);
  const struct {
    const char* name;
    std::string bytes;
    const char* sqlstate;
  } cases[] = {
      {"a length below its own", tiny, ""},
      {"a length that is too large, of which no more is waited for", huge, ""},
      {"an HTTP request", "GET / HTTP/1.1\r\n\r\n", ""},
      {"a cancel request of another size", packet(80877102, "1234567"), ""},
      {"a cancel request that says it is long", packet(80877102, std::string(100, 'x')), ""},
      {"no terminator", startup("user\0repl\0"s), "08P01"},
      {"nothing at all", startup(""), "08P01"},
      {"a name without a value", startup("user\0"s), "08P01"},
      {"a value that does not end", startup("user\0repl"s), "08P01"},
      {"bytes behind the terminator", startup("user\0repl\0\0x"s), "08P01"},
      {"protocol 2", packet(2u << 16, std::string(288, '\0')), "0A000"},
      {"protocol 4", packet(4u << 16, "user\0repl\0\0"s), "0A000"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const auto read = wire::read_startup(test::as_bytes(each.bytes));
    const auto* report = std::get_if<ErrorReport>(&read.packet);
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report->sqlstate, each.sqlstate);
  }
}

TEST(Startup, TakesTheLargestPacket) {
  const std::string head = "user\0repl\0long\0"s;
  const auto rest = kMaxStartupPacket - 4 - head.size() - 2;
  const auto bytes = startup(head + std::string(rest, 'x') + "\0\0"s);
  EXPECT_EQ(bytes.size(), kMaxStartupPacket + 4);
  EXPECT_TRUE(std::holds_alternative<Startup>(read(bytes).packet));
}

TEST(ClientMessage, IsReadWhenItIsWhole) {
  const std::string bytes =
      "Q\0\0\0\x08"
      "abc\0rest"s;
  for (std::size_t size = 0; size < 9; ++size)
    EXPECT_TRUE(std::holds_alternative<Incomplete>(
        read_client_message(test::as_bytes(bytes.substr(0, size)), 100)));
  const auto read = read_client_message(test::as_bytes(bytes), 100);
  const auto& message = std::get<ClientMessage>(read);
  EXPECT_EQ(message.type, 'Q');
  EXPECT_EQ(message.text(), "abc\0"s);
  EXPECT_EQ(message.size, 9u);
}

TEST(ClientMessage, OfAWrongLengthIsNotWaitedFor) {
  const auto report = [](const std::string& bytes, std::size_t most) {
    const auto read = read_client_message(test::as_bytes(bytes), most);
    const auto* found = std::get_if<ErrorReport>(&read);
    return found == nullptr ? "" : found->sqlstate;
  };
  EXPECT_EQ(report("Q\0\0\0\x03"s, 100), "08P01");
  EXPECT_EQ(report("Q\0\0\0\x69"s, 100), "08P01");
  EXPECT_EQ(report("Q\0\0\0\x68"s, 100), "");
  EXPECT_EQ(report("Q\xff\xff\xff\xff"s, 100), "08P01");
}

}  // namespace
}  // namespace weir::wire::client_messages_test
