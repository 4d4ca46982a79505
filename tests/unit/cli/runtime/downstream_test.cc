#include "cli/runtime/downstream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <thread>

#include "support/archive_builder.h"

namespace weir::cli::downstream_test {
namespace {

using namespace std::chrono_literals;
using testing::WalBuilder;
using verify::kSize;

bool soon(const std::function<bool()>& there) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!there() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(2ms);
  return there();
}

/// A shortage of memory ends serving, and nothing else: the receiver continues, status tells, and
/// it is tried again.
TEST(Downstream, TellsWhyItDoesNotServeAndTriesAgain) {
  std::string pattern = std::filesystem::temp_directory_path() / "pgweir-downstream-XXXXXX";
  const std::string place = ::mkdtemp(pattern.data());
  WalBuilder wal{{}};
  wal.grow_to(kSize.start(3));
  verify::ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  std::atomic<bool> has_memory = false;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (!has_memory && call.operation == sim::SimDisk::Operation::list) throw std::bad_alloc();
    return sim::SimDisk::Effect::proceed();
  });
  const auto directory = archive.disk.open();
  NullLog log;
  receive::Feed feed;
  receive::StatusBoard board(&feed);
  receive::Downstream word;
  ServeRequest request;
  request.socket = place;
  {
    const Downstream downstream(
        request, *directory, feed, board, word, log, [](const Error&) { std::abort(); }, 5ms);
    const auto serving = [&] { return board.view().serving.value(); };
    ASSERT_TRUE(soon([&] { return serving().problem.has_value(); }));
    const auto problem = *serving().problem;
    EXPECT_EQ(problem.text, "out of memory");
    EXPECT_FALSE(problem.needs_person);
    EXPECT_GT(problem.since, std::chrono::system_clock::now() - 1h);
    has_memory = true;
    EXPECT_TRUE(soon([&] { return serving().end && !serving().problem; }));
    // A timeline of which no history says that it continues the served one.
    feed.publish(receive::event::DurableEnd{2, kSize.start(4)});
    ASSERT_TRUE(soon([&] { return serving().problem.has_value(); }));
    EXPECT_TRUE(serving().problem->needs_person);
    EXPECT_EQ(serving().end.value().timeline, 1u) << "what is served already stays";
  }
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace weir::cli::downstream_test
