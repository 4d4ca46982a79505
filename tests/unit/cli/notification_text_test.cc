#include "cli/notification_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::cli::notification_text_test {
namespace {

const WallTime kTime(std::chrono::milliseconds(1'700'000'000'123));

TEST(NotificationText, IsOneLineOfThreeFieldsWhateverWasSent) {
  const struct {
    const char* name;
    std::string channel;
    std::string payload;
    std::string line;
  } cases[] = {
      {"plain", "orders", "4711", "orders\t42\t4711\n"},
      {"empty", "a", "", "a\t42\t\n"},
      {"newline, tab, backslash", "a", "x\ny\tz\\n", "a\t42\tx\\ny\\tz\\\\n\n"},
      {"an odd channel", "a\tb", "p", "a\\tb\t42\tp\n"},
      {"control characters", "a", "\x1b[31m\x7f\r", "a\t42\t\\x1b[31m\\x7f\\x0d\n"},
      {"UTF-8", "bäcker", "🐘", "bäcker\t42\t🐘\n"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(notification_text({each.channel, each.payload, 42}), each.line);
  }
}

TEST(NotificationJson, KeepsThePayloadAndShowsBytesThatAreNoTextInHex) {
  EXPECT_EQ(notification_json({"a", "x\n\"y\"", 42}, kTime),
            R"({"event":"notification","time":"2023-11-14T22:13:20.123Z","channel":"a","pid":42,)"
            R"("payload":"x\n\"y\""})"
            "\n");
  const auto object =
      nlohmann::json::parse(notification_json({"a", std::string("\xff\x00\xfe", 3), 42}, kTime));
  EXPECT_EQ(object["payload_hex"], "ff00fe");
  EXPECT_TRUE(object["payload"].is_string());
}

TEST(ListeningJson, SaysSinceWhenSomethingMayBeMissed) {
  EXPECT_EQ(listening_json({"db1:5432", std::nullopt}, kTime),
            R"({"event":"listening","time":"2023-11-14T22:13:20.123Z","server":"db1:5432",)"
            R"("missed_since":null})"
            "\n");
  EXPECT_EQ(nlohmann::json::parse(listening_json({"db1:5432", kTime}, kTime))["missed_since"],
            "2023-11-14T22:13:20.123Z");
}

}  // namespace
}  // namespace weir::cli::notification_text_test
