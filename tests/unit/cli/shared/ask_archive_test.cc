#include "cli/shared/ask_archive.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <string>

#include "base/log.h"
#include "receive/status_socket.h"

namespace weir::cli::ask_archive_test {
namespace {

/// The directory of an archive may take long to read: what the server writes meanwhile is no lag.
TEST(AskReceiverAgain, TakesANewerPositionOnTheSameTimelineOnly) {
  static constexpr std::array<const char*, 4> kAnswers = {
      R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/2000000"})",
      R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/3000000"})",
      R"({"state": "streaming", "timeline": 2, "flush_lsn": "0/4000000"})",
      R"({"state": "waiting"})"};
  std::string directory = std::filesystem::temp_directory_path() / "pgweir-ask-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  status::StatusReport report;
  const auto flush = [&] { return report.receiver.value().stream.value().flush; };
  {
    NullLog log;
    std::atomic<std::size_t> asked = 0;
    const receive::StatusSocket socket(
        directory, [&] { return kAnswers.at(asked++); }, log);
    ask_receiver_again(report, directory);
    EXPECT_FALSE(report.receiver) << "none streamed before";
    EXPECT_EQ(asked.load(), 0u);
    ask_receiver(report, directory);
    EXPECT_EQ(flush(), wal::Lsn(0x2000000));
    for (std::size_t i = 1; i < kAnswers.size(); ++i) {
      ask_receiver_again(report, directory);
      EXPECT_EQ(flush(), wal::Lsn(0x3000000)) << kAnswers.at(i);
    }
    EXPECT_EQ(asked.load(), kAnswers.size());
  }
  ask_receiver_again(report, directory);
  EXPECT_EQ(flush(), wal::Lsn(0x3000000)) << "it has ended";
  std::filesystem::remove_all(directory);
}

/// A receiver that waits for its server has the directory's lock, and writes nothing.
TEST(ReceiverQuery, KnowsByOneAnswerWhetherTheReceiverIsIdle) {
  static constexpr std::array<const char*, 4> kAnswers = {
      R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/2000000"})",
      R"({"state": "waiting"})", R"({"state": "starting"})", "no JSON"};
  std::string directory = std::filesystem::temp_directory_path() / "pgweir-ask-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  ReceiverQuery receiver(directory);
  {
    NullLog log;
    std::atomic<std::size_t> asked = 0;
    const receive::StatusSocket socket(
        directory, [&] { return kAnswers.at(asked++); }, log);
    for (const bool idle : {false, true, true, false}) {
      const bool streams = asked == 0;
      EXPECT_EQ(receiver.durable_end().has_value(), streams);
      EXPECT_EQ(receiver.was_idle(), idle) << "answer " << asked;
    }
    EXPECT_EQ(asked.load(), kAnswers.size()) << "once for both";
    asked = 1;
    EXPECT_FALSE(receiver.durable_end());
    EXPECT_TRUE(receiver.was_idle());
  }
  EXPECT_FALSE(receiver.durable_end());
  EXPECT_FALSE(receiver.was_idle()) << "it has ended";
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace weir::cli::ask_archive_test
