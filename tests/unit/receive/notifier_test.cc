#include "receive/notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "net/wait.h"
#include "net/wake.h"
#include "pq/notifications.h"
#include "unit/pq/test_server.h"
#include "unit/receive/recording_log.h"

namespace weir::receive::notifier_test {
namespace {

using namespace std::chrono_literals;
using test::RecordingLog;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

const auto kTime =
    std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'123));

Json payload(const ArchiveEvent& event, std::uint64_t dropped = 0) {
  return Json::parse(event_payload(event, "/srv/wal", dropped));
}

TEST(EventPayload, HasWhatTheEventHasAndNothingElse) {
  const auto segment = wal::SegmentName::parse("000000020000000000000003");
  EXPECT_EQ(event_payload({.event = "segment_finished",
                           .time = kTime,
                           .timeline = 2,
                           .lsn = wal::Lsn(0x4000000),
                           .segment = segment->to_string(),
                           .file = segment->to_string()},
                          "/srv/wal", 0),
            R"({"v":1,"event":"segment_finished","time":"2023-11-14T22:13:20.123Z",)"
            R"("archive":"/srv/wal","timeline":2,"lsn":"0/4000000",)"
            R"("segment":"000000020000000000000003","file":"000000020000000000000003"})");
  EXPECT_EQ(payload({.event = "streaming", .time = kTime}, 7)["dropped"], 7);
  EXPECT_FALSE(payload({.event = "streaming", .time = kTime}).contains("dropped"));
}

TEST(EventPayload, TellsALoss) {
  archive::Loss loss;
  loss.timeline = 1;
  loss.next_timeline = 2;
  loss.begin = wal::Lsn(0x3000000);
  loss.end = wal::Lsn(0x6000000);
  const auto told = [&] {
    return payload({.event = std::string(to_string(loss.kind)),
                    .time = kTime,
                    .timeline = loss.timeline,
                    .lsn = loss.begin,
                    .loss = loss});
  };
  auto json = told();
  EXPECT_EQ(json["event"], "hole");
  EXPECT_EQ(json["id"], "hole-1-0-3000000");
  EXPECT_EQ(json["lsn"], "0/3000000");
  EXPECT_EQ(json["to"], "0/6000000");
  EXPECT_EQ(json["timeline"], 1);
  EXPECT_EQ(json["next_timeline"], 2);
  EXPECT_EQ(json["segments"], Json({"000000010000000000000003", "000000020000000000000005"}));
  EXPECT_FALSE(json.contains("commits"));
  loss.kind = archive::Loss::Kind::lost_branch;
  loss.begin = wal::Lsn(0x3000028);
  loss.commits = 5;
  json = told();
  EXPECT_EQ(json["event"], "lost_branch");
  EXPECT_EQ(json["id"], "branch-1-0-3000028");
  EXPECT_EQ(json["segments"], Json({"000000010000000000000003", "000000010000000000000005"}));
  EXPECT_EQ(json["commits"], 5);
}

TEST(EventPayload, StaysBelow8000BytesWhateverTheTroubleSays) {
  const struct {
    const char* name;
    std::string text;
  } kTexts[] = {
      {"long", std::string(20'000, 'x')},
      {"of characters of several bytes",
       [] {
         std::string text;
         for (int i = 0; i < 5000; ++i) text += "ü€🐘";
         return text;
       }()},
      {"all control characters", std::string(20'000, '\x01')},
      {"all quotes", std::string(20'000, '"')},
      {"no UTF-8", std::string(20'000, '\xff')},
      {"with a zero byte", std::string("a\0b", 3)},
  };
  for (const auto& each : kTexts) {
    SCOPED_TRACE(each.name);
    Error error(ErrorKind::gap, each.text);
    error.hint(each.text);
    const auto text = event_payload({.event = "trouble", .time = kTime, .error = error},
                                    std::string(4000, '\x02'), 12);
    EXPECT_NO_THROW(pq::require_payload("channel", text)) << text.size();
    const auto object = Json::parse(text);
    EXPECT_EQ(object["kind"], "gap");
    EXPECT_FALSE(object["message"].get<std::string>().empty());
  }
}

Notifier::Options nowhere(int port) {
  return {.conninfo = "host=127.0.0.1 dbname=postgres port=" + std::to_string(port),
          .channel = "wal_archive",
          .archive = "/srv/wal",
          .most_waiting = 10,
          .first_pause = 10ms,
          .longest_pause = 20ms,
          .patience_at_end = 100ms};
}

/// A log of several threads; one of them may wait for a word.
class AwaitedLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    said_.write(level, message);
    changed_.notify_all();
  }
  bool enabled(LogLevel) const override { return true; }
  [[nodiscard]] int count(std::string_view text) const {
    const std::lock_guard lock(mutex_);
    return said_.count(text);
  }
  bool wait(std::string_view text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 120s, [&] { return said_.count(text) > 0; });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  RecordingLog said_;
};

TEST(Notifier, DropsTheOldestAndCountsThemWhenNobodyIsThere) {
  AwaitedLog log;
  {
    Notifier notifier(nowhere(pq::free_port()), log);
    for (std::uint64_t i = 0; i < 1000; ++i) notifier.on_event(event::Streaming{1, wal::Lsn(i)});
    ASSERT_TRUE(log.wait("notifications cannot be sent"));  // it has tried
  }
  EXPECT_EQ(log.count("notifications cannot be sent"), 1);
  EXPECT_EQ(log.count("archiving is not affected"), 1);
  EXPECT_EQ(log.count("1000 notification(s)"), 1);
}

TEST(Notifier, NeverMakesItsCallerWaitForAServerThatDoesNotAnswer) {
  const pq::FakeServer silent({});  // takes connections and says nothing
  RecordingLog log;
  auto options = nowhere(silent.port());
  Notifier notifier(std::move(options), log);
  // A caller that waited for the server would be here for as long as the test may take.
  for (std::uint64_t i = 0; i < 100'000; ++i) notifier.on_event(event::Streaming{1, wal::Lsn(i)});
  notifier.on_event(event::Trouble{Error(ErrorKind::retry, "gone")});
}

TEST(Notifier, TellsTheSameTroubleOnceUntilItStreamsAgain) {
  if (!pq::TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  const pq::TestServer server;
  const net::Wake never;
  auto ears = pq::Connection::open(
      {.conninfo = server.conninfo(), .replication = pq::Replication::none}, never);
  pq::Notifications notifications(ears);
  notifications.listen("Wal_Archive");
  RecordingLog log;
  {
    auto options = nowhere(0);
    options.conninfo = server.conninfo();
    options.channel = "Wal_Archive";
    options.patience_at_end = 30s;
    Notifier notifier(std::move(options), log);
    const Event all[] = {
        event::Trouble{Error(ErrorKind::retry, "gone")},
        event::Trouble{Error(ErrorKind::retry, "gone")},
        event::Trouble{Error(ErrorKind::gap, "other")},
        event::Streaming{1, wal::Lsn(0x1000)},
        event::DurableEnd{1, wal::Lsn(0x1000)},  // nothing to be told
        event::Trouble{Error(ErrorKind::gap, "other")},
        event::DiskFull{true},
        event::DiskFull{false},
        event::SegmentCompressed{*wal::SegmentName::parse("000000010000000000000003"),
                                 "000000010000000000000003.zst"},
        event::TimelineSwitched{2, wal::Lsn(0x2000)},
        event::Stopped{2, wal::Lsn(0x3000), true}};
    for (const auto& happened : all) notifier.on_event(happened);
  }  // sends what waits
  std::vector<std::string> got;
  const auto deadline = Clock::now() + 30s;
  while (got.size() < 8) {
    if (const auto notification = notifications.next()) {
      EXPECT_EQ(notification->channel, "Wal_Archive");
      const auto object = Json::parse(notification->payload);
      EXPECT_FALSE(object.contains("dropped"));
      got.push_back(object["event"].get<std::string>() +
                    (object.contains("message") ? " " + object["message"].get<std::string>() : ""));
    } else {
      ASSERT_TRUE(net::wait_for_socket(ears.socket(), true, false, nullptr, deadline));
      notifications.receive();
    }
  }
  EXPECT_THAT(got, ::testing::ElementsAre("trouble gone", "trouble other", "streaming",
                                          "trouble other", "trouble no space left for the archive",
                                          "segment_compressed", "timeline_switched", "stopped"));
  EXPECT_THAT(log.lines, ::testing::IsEmpty());
}

}  // namespace
}  // namespace weir::receive::notifier_test
