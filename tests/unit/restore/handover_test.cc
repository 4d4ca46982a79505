#include "restore/handover.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "io/posix_directory.h"
#include "net/wait.h"

namespace weir::restore::handover_test {
namespace {

using namespace std::chrono_literals;

const auto kSize = *wal::SegmentSize::of(1 << 20);

/// What the helper has found out, the one who asks decides by: all of it arrives.
TEST(Handover, TellsAllThatTheCheckOfTheBorderNeeds) {
  const auto place =
      std::filesystem::temp_directory_path() / ("pgweir-handover-" + std::to_string(::getpid()));
  std::filesystem::create_directory(place);
  {
    const auto directory = io::open_directory(place.string());
    const auto file = directory->create("content");
    const wal::SegmentName segment(1, 3, kSize);
    const Fetched sent{.source = {segment, codec::Method::zstd, false},
                       .archive = 1,
                       .identity = io::identity_of(*directory, "content").value(),
                       .size = kSize,
                       .first_record = wal::Lsn(0x300100),
                       .records_end = 4711,
                       .previous_record = wal::Lsn(0x2FFF00),
                       .before = archive::SegmentFileName{wal::SegmentName(1, 2, kSize),
                                                          codec::Method::none, false},
                       .before_archive = 2,
                       .before_identity = io::identity_of(*directory, "content").value(),
                       .silent = 5};
    const Terms terms{.archive = io::identity_of_directory(*directory).value(),
                      .target = io::identity_of_directory(*directory).value(),
                      .system_identifier = 7};
    auto listener = take_address(terms.target);
    ASSERT_TRUE(listener);
    listener->listen();
    std::thread helper([&] {
      ASSERT_TRUE(net::wait_for_socket(listener->fd(), true, false, nullptr,
                                       std::chrono::steady_clock::now() + 60s));
      const auto channel = accept_question(*listener);
      // The connection is there before the question is sent.
      ASSERT_TRUE(net::wait_for_socket(channel.get(), true, false, nullptr,
                                       std::chrono::steady_clock::now() + 60s));
      const auto question = read_question(channel);
      ASSERT_TRUE(question);
      EXPECT_TRUE(question->understood);
      EXPECT_EQ(question->terms, terms);
      EXPECT_EQ(question->segment, segment);
      reply_here(channel, sent, *file);
    });
    const auto reply = ask_for(segment, terms, 60s);
    helper.join();
    ASSERT_EQ(reply.kind, Reply::Kind::here);
    const auto& got = reply.fetched.value();
    EXPECT_EQ(got.source, sent.source);
    EXPECT_EQ(got.archive, sent.archive);
    EXPECT_EQ(got.identity, sent.identity);
    EXPECT_EQ(got.size, sent.size);
    EXPECT_EQ(got.first_record, sent.first_record);
    EXPECT_EQ(got.records_end, sent.records_end);
    EXPECT_EQ(got.previous_record, sent.previous_record);
    EXPECT_EQ(got.before, sent.before);
    EXPECT_EQ(got.before_archive, sent.before_archive);
    EXPECT_EQ(got.before_identity, sent.before_identity);
    EXPECT_EQ(got.silent, sent.silent);
  }
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace weir::restore::handover_test
