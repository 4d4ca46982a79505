#include "cli/runtime/serve_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

namespace weir::cli::serve_page_test {
namespace {

using namespace std::chrono_literals;
using status::Level;
using status::Topic;

bool has(const web::Facts& facts, Topic topic) {
  return std::any_of(facts.verdict.findings.begin(), facts.verdict.findings.end(),
                     [&](const auto& finding) { return finding.topic == topic; });
}

TEST(ServePage, ReportsADirectoryThatHangs) {
  status::Limits limits;
  limits.max_verify_age = 1h;  // none is recorded
  for (const bool was_read : {false, true}) {
    SCOPED_TRACE(was_read);
    std::promise<void> go_on;
    // The thread may outlive the watch: it owns what it uses.
    const auto count = std::make_shared<std::atomic<int>>(0);
    web::Watch<web::Look> watch({.look =
                                     [count, was_read, ends = go_on.get_future().share()] {
                                       if (++*count == (was_read ? 2 : 1)) ends.wait();
                                       return web::Look();
                                     },
                                 .each_time = {},
                                 .pace = {.watched = 1ms, .unwatched = 1ms, .patience = 20ms}});
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    const auto hangs = [&](const auto& seen) {
      return seen.stuck_since && (seen.look != nullptr) == was_read;
    };
    auto seen = watch.latest();
    while (!hangs(seen) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
      seen = watch.latest();
    }
    go_on.set_value();
    ASSERT_TRUE(hangs(seen));
    const auto facts = serve_facts(seen, "/srv/wal", limits);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->verdict.level, Level::critical);
    EXPECT_TRUE(has(*facts, Topic::directory_silent));
    EXPECT_EQ(facts->report.silent_since, seen.stuck_since);
    EXPECT_EQ(has(*facts, Topic::verify), was_read) << "what was never read exceeds no limit";
  }
}

TEST(ServePage, IsNotReadyWhileTheDirectoryHangs) {
  archive::Relay relay;
  relay.serving.end = archive::DurableEnd{1, wal::Lsn(0x3000000)};
  EXPECT_EQ(relay_readiness(relay, false).status, 200);
  const auto answer = relay_readiness(relay, true);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "the check of the archive's directory has not returned\n");
}

}  // namespace
}  // namespace weir::cli::serve_page_test
