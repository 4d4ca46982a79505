#include "store/send/sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "archive/identity.h"
#include "archive/listing.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"

namespace weir::store::sender_test {
namespace {

using namespace std::chrono_literals;
using test::MemoryStore;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

wal::SegmentName segment(std::uint64_t segno) { return {1, segno, kSize}; }
UploadItem item(std::uint64_t segno) { return {1, segment(segno)}; }

/// An archive of 1 to 3, and what becomes of its files.
class SenderTest : public ::testing::Test, protected Sender::Client {
 protected:
  void SetUp() override {
    wal_.grow_to(wal::Lsn(4 * kSize.bytes() + 200'000));
    builder_.segments(wal_, 1, 4);
    directory_ = builder_.disk.open();
  }
  /// Sends until nothing is left.
  void send(std::chrono::milliseconds retry_for, std::size_t jobs = 2) {
    sender_.emplace(*directory_, static_cast<Sender::Client&>(*this),
                    Sender::Options{.jobs = jobs, .retry_for = retry_for, .seed = 7},
                    machine_threads(), log_);
    const auto listing = archive::list_archive_names(*directory_);
    const auto identity = *archive::read_identity(*directory_, listing);
    sender_->begin(
        {.store = "here", .system_identifier = identity.system_identifier, .segment_size = kSize});
    sender_->offer({item(1), item(2), item(3)}, {});
    sender_->use(std::make_shared<const SendTools>(Uploader::Where{*directory_, store_, kLayout},
                                                   Conditions::heeded, identity,
                                                   archive::Timelines::read(*directory_, listing)));
    sender_->start();
    Mark written = sender_->mark();
    for (bool running = true; running;) {
      running = sender_->wait_until(machine_threads().now() + 1h, written);
      auto news = sender_->take_news();
      lines_ += news.lines.size();
      written = std::move(news.mark);
      // Each file that counts has a line by then.
      std::size_t counted = 0;
      for (const auto& run : written.sent)
        counted += run.last.segno(kSize) - run.first.segno(kSize) + 1;
      EXPECT_LE(counted, lines_);
    }
    sender_->join();
  }

  void on_done(const UploadItem& done, const Uploader::Result&,
               const std::vector<UploadItem>& settled) override {
    const std::lock_guard lock(mutex_);
    if (lacks_memory_ > 0) {
      --lacks_memory_;
      throw std::bad_alloc();
    }
    done_.push_back(done);
    settled_.insert(settled_.end(), settled.begin(), settled.end());
  }
  void on_failed(const Error&, std::chrono::milliseconds rest) override {
    const std::lock_guard lock(mutex_);
    ++failed_;
    longest_rest_ = std::max(longest_rest_, rest);
  }
  void on_stuck(const UploadItem& at, const Error& error) override {
    const std::lock_guard lock(mutex_);
    stuck_.emplace_back(at, error);
  }
  void on_given_up(const Error& error) override {
    const std::lock_guard lock(mutex_);
    given_up_.push_back(error);
  }
  void on_broken(const std::exception_ptr&) override {}

  WalBuilder wal_{WalBuilder::Options{}};
  ArchiveBuilder builder_;
  MemoryStore store_;
  NullLog log_;
  std::unique_ptr<io::Directory> directory_;
  std::mutex mutex_;
  std::vector<UploadItem> done_;
  std::vector<UploadItem> settled_;
  std::vector<std::pair<UploadItem, Error>> stuck_;
  std::vector<Error> given_up_;
  std::size_t failed_ = 0;
  std::chrono::milliseconds longest_rest_{};
  std::size_t lacks_memory_ = 0;  ///< so often on_done() throws
  std::size_t lines_ = 0;
  std::optional<Sender> sender_;
};

TEST_F(SenderTest, EndsWhenEverythingIsSent) {
  send(1min);
  EXPECT_THAT(done_, SizeIs(3));
  EXPECT_EQ(settled_, (std::vector{item(1), item(2), item(3)}));
  EXPECT_EQ(lines_, 3u);
  EXPECT_TRUE(sender_->has(item(3)));
  EXPECT_TRUE(sender_->pending().empty());
  EXPECT_FALSE(sender_->has_news(sender_->mark()));
}

TEST_F(SenderTest, RepeatsWhatMayPassAndCountsItOnce) {
  std::size_t asked = 0;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && ++asked <= 3 ? Fault::throttled : Fault::none;
  };
  send(1min);
  EXPECT_EQ(failed_, 3u);
  EXPECT_TRUE(given_up_.empty());
  EXPECT_EQ(settled_, (std::vector{item(1), item(2), item(3)}));
}

TEST_F(SenderTest, WaitsAsLongAsTheStoreSays) {
  bool asked = false;
  store_.retry_after = 200ms;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && !std::exchange(asked, true) ? Fault::throttled : Fault::none;
  };
  send(1min);
  EXPECT_EQ(failed_, 1u);
  EXPECT_GE(longest_rest_, 200ms) << "without its word at most 100 ms";
  EXPECT_THAT(settled_, SizeIs(3));
}

TEST_F(SenderTest, GivesUpAfterItsTimeAndAtOnceWhatDoesNotPass) {
  for (const auto fault : {Fault::lost_request, Fault::refused}) {
    given_up_.clear();
    done_.clear();
    failed_ = 0;
    store_.objects.clear();
    store_.fault = [&](const MemoryStore::Call& call) {
      return call.what == "put" && call.key == kLayout.key(segment(2)) ? fault : Fault::none;
    };
    send(fault == Fault::refused ? 1h : 0ms, 1);
    EXPECT_EQ(failed_, 0u);
    ASSERT_THAT(given_up_, SizeIs(1));
    EXPECT_THAT(done_, SizeIs(1)) << "the next file would fail as well";
    EXPECT_EQ(sender_->pending(), (std::vector{item(2), item(3)}));
    EXPECT_FALSE(sender_->has(item(2)));
  }
}

TEST_F(SenderTest, AConflictHoldsUpItsTimelineOnly) {
  store_.place(kLayout.key(segment(2)), test::bytes_of("somebody else's"));
  builder_.history(2, "1\t0/500000\tno reason\n");
  directory_ = builder_.disk.open();
  send(1min, 1);
  ASSERT_THAT(stuck_, SizeIs(1));
  EXPECT_EQ(stuck_.front().first, item(2));
  EXPECT_EQ(stuck_.front().second.kind(), ErrorKind::conflict);
  EXPECT_TRUE(given_up_.empty());
  EXPECT_TRUE(sender_->has(item(1)));
  EXPECT_EQ(sender_->pending(), (std::vector{item(2), item(3)}));
}

TEST_F(SenderTest, AFileThatIsGoneIsNotWaitedFor) {
  directory_->remove(segment(2).to_string());
  send(1min);
  EXPECT_EQ(settled_, (std::vector{item(1), item(2), item(3)}));
  EXPECT_FALSE(sender_->has(item(2)));
  EXPECT_TRUE(sender_->has(item(3)));
  EXPECT_EQ(lines_, 2u);
}

TEST_F(SenderTest, RepeatsWhatFollowsAnUploadIfMemoryIsLacking) {
  lacks_memory_ = 2;
  send(1min);
  EXPECT_EQ(failed_, 2u);
  EXPECT_THAT(done_, SizeIs(3));
  EXPECT_EQ(settled_, (std::vector{item(1), item(2), item(3)}));
  EXPECT_EQ(lines_, 3u) << "each file is sent once";
  EXPECT_TRUE(sender_->pending().empty());
}

TEST_F(SenderTest, RepeatsWhatFollowsAnUploadForItsTimeOnly) {
  lacks_memory_ = 1000;
  send(0ms);
  EXPECT_TRUE(done_.empty());
  EXPECT_THROW(sender_->throw_failure(), std::bad_alloc);
}

}  // namespace
}  // namespace weir::store::sender_test
