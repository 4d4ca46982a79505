#include "store/send/follow.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <system_error>
#include <thread>
#include <utility>

#include "archive/identity.h"
#include "archive/kept_slots.h"
#include "archive/losses.h"
#include "archive/published_open.h"
#include "crypto/primitives.h"
#include "store/cluster_record.h"
#include "store/digests.h"
#include "store/ledger/manifest_reader.h"
#include "store/memory_bytes.h"
#include "store/shelf/near_shelf.h"
#include "store/shelf/open_object.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::follow_test {
namespace {

using codec::Method;
using namespace std::chrono_literals;
using test::MemoryStore;
using ::testing::HasSubstr;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using Fault = MemoryStore::Fault;
using sim::SimDisk;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

std::string key(std::uint64_t segno, const std::string& form = "", wal::TimelineId timeline = 1) {
  return kLayout.key(wal::SegmentName(timeline, segno, kSize)) + form;
}

class Told final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    all_ += std::string(message) + "\n";
  }
  [[nodiscard]] bool enabled(LogLevel level) const override { return level >= LogLevel::info; }
  [[nodiscard]] bool has(const std::string& text) {
    const std::lock_guard lock(mutex_);
    return all_.find(text) != std::string::npos;
  }

 private:
  std::mutex mutex_;
  std::string all_;
};

/// Those of the machine, of which no second one can be started while their number is limited.
class FewThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return machine_threads().make_condition();
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    if (limited && started > 0)
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    ++started;
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override { machine_threads().yield(); }
  Time now() override { return machine_threads().now(); }

  std::atomic<bool> limited = true;
  std::atomic<std::size_t> started = 0;
};

/// Follows an archive in a thread of its own, until told to stop.
class FollowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    wal_.grow_to(wal::Lsn(9 * kSize.bytes() + 200'000));
    builder_.segments(wal_, 1, 4);
    options_ = {.store_name = "here",
                .jobs = 3,
                .mark_every = 5ms,
                .look_every = 5ms,
                .raw_settles = false,
                .resume_every = 20ms,
                .keep_every = 5ms,
                .seed = 7};
    options_.on_trouble = [this](const Error& error) {
      const std::lock_guard lock(mutex_);
      troubles_.push_back(error);
    };
    options_.on_works = [this] { ++works_; };
  }
  ~FollowTest() override { stop(); }

  void start(const std::optional<StoredEnd::Stream>& stream = {}) {
    follow_.reset();
    directory_ = builder_.disk.open();
    follow_.emplace(*directory_, store_, kLayout, options_, *threads_, log_);
    if (stream) follow_->stream_begins(*stream);
    thread_ = std::thread([this] {
      try {
        follow_->run();
      } catch (const Error& error) {
        failure_ = error;
      } catch (const std::exception&) {
        ended_ = true;
      } catch (const sim::MachineDown&) {
        down_ = true;
      }
    });
  }
  void stop() {
    if (!thread_.joinable()) return;
    follow_->stop();
    thread_.join();
  }
  template <typename Condition>
  [[nodiscard]] bool wait_for(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }
  [[nodiscard]] bool wait_sent(std::uint64_t count) {
    return wait_for([&] { return follow_->view().sent_files >= count; });
  }
  [[nodiscard]] bool here(std::uint64_t segno, const std::string& form = "") {
    return builder_.disk.open()->find(wal::SegmentName(1, segno, kSize).to_string() + form) !=
           std::nullopt;
  }
  [[nodiscard]] bool has_trouble() {
    const std::lock_guard lock(mutex_);
    return !troubles_.empty();
  }
  /// Asked by a test's own thread: without faults, and not counted.
  [[nodiscard]] std::optional<test::Bytes> stored(const std::string& name) {
    const std::lock_guard lock(quiet_mutex_);
    quiet_ = std::this_thread::get_id();
    std::optional<test::Bytes> bytes;
    test::Bytes got;
    if (store_.get(name, std::nullopt, [&](std::span<const std::byte> piece) {
          got.insert(got.end(), piece.begin(), piece.end());
          return true;
        }))
      bytes = std::move(got);
    quiet_ = std::thread::id();
    return bytes;
  }
  [[nodiscard]] bool is_quiet() const { return quiet_ == std::this_thread::get_id(); }
  /// P17: at the moment in which a finished segment is removed, the store has it, equal.
  void watch_removals() {
    builder_.disk.set_hook([this](const SimDisk::Call& call) {
      if (call.operation == SimDisk::Operation::remove) {
        const auto file = archive::SegmentFileName::parse(call.name);
        if (file && !file->partial && builder_.disk.open()->find(call.name)) {
          ++removals_;
          EXPECT_TRUE(stored(kLayout.key(*file)) == builder_.disk.content(call.name))
              << call.name << " was removed, and the store does not have it";
        }
      }
      return SimDisk::Effect::proceed();
    });
  }

  WalBuilder wal_{WalBuilder::Options{}};
  ArchiveBuilder builder_;
  MemoryStore store_;
  FollowOptions options_;
  Told log_;
  Threads* threads_ = &machine_threads();
  std::unique_ptr<io::Directory> directory_;
  std::optional<Follow> follow_;
  std::thread thread_;
  std::optional<Error> failure_;
  std::atomic<bool> down_ = false;
  std::atomic<bool> ended_ = false;  ///< by another exception
  std::mutex mutex_;
  std::vector<Error> troubles_;
  std::atomic<int> works_ = 0;
  std::atomic<int> removals_ = 0;
  std::mutex quiet_mutex_;
  std::atomic<std::thread::id> quiet_{};
};

TEST_F(FollowTest, SendsWhatIsThereAndWhatComes) {
  start();
  ASSERT_TRUE(wait_sent(3));
  builder_.segments(wal_, 4, 6, Method::zstd);
  follow_->finished(wal::SegmentName(1, 4, kSize));
  follow_->finished(wal::SegmentName(1, 5, kSize));
  ASSERT_TRUE(wait_sent(5));
  builder_.segments(wal_, 6, 7);  // nobody tells of it
  ASSERT_TRUE(wait_sent(6));
  const auto view = follow_->view();
  EXPECT_EQ(view.pending_segments, 0u);
  EXPECT_EQ(view.pending_bytes, 0u);
  EXPECT_EQ(view.sent_lsn, kSize.start(7));
  EXPECT_FALSE(view.problem);
  stop();
  for (const std::uint64_t segno : {1, 2, 3, 6}) EXPECT_EQ(store_.puts[key(segno)], 1u);
  for (const std::uint64_t segno : {4, 5}) EXPECT_EQ(store_.puts[key(segno, ".zst")], 1u);
  const auto mark = read_mark(*builder_.disk.open());
  ASSERT_TRUE(mark);
  ASSERT_EQ(mark->sent.size(), 1u);
  EXPECT_EQ(mark->sent.front().last, wal::SegmentName(1, 6, kSize));
}

/// The positions that are told, in their order.
TEST_F(FollowTest, TellsWhatTheStoreSurelyHasOfWhatStreams) {
  std::mutex mutex;
  std::vector<wal::Lsn> told;
  options_.on_stored_end = [&](const StoredEnd::Position& position) {
    const std::lock_guard lock(mutex);
    told.push_back(position.end);
    // P18: whatever lies before it is in the store at this moment.
    for (std::uint64_t segno = 1; kSize.start(segno) < position.end; ++segno)
      EXPECT_TRUE(stored(key(segno))) << "told up to " << position.end.to_string();
  };
  const auto last = [&] {
    const std::lock_guard lock(mutex);
    return told.empty() ? wal::Lsn() : *std::max_element(told.begin(), told.end());
  };
  std::atomic<int> refused = 0;
  store_.fault = [&](const MemoryStore::Call& call) {  // it is not taken for a while
    return call.what == "put" && call.key == key(3) && ++refused < 5 ? Fault::throttled
                                                                     : Fault::none;
  };
  start();
  EXPECT_TRUE(wait_for([&] { return follow_->view().sent_files >= 2; }));
  EXPECT_EQ(last(), wal::Lsn()) << "nothing streams";
  follow_->stream_begins({1, kSize.start(4)});
  ASSERT_TRUE(wait_for([&] { return last() == kSize.start(4); }));
  builder_.segments(wal_, 4, 6);
  follow_->finished(wal::SegmentName(1, 4, kSize));
  follow_->finished(wal::SegmentName(1, 5, kSize));
  ASSERT_TRUE(wait_for([&] { return last() == kSize.start(6); }));
  stop();
}

/// Readers with the public key reject what no signed line lists. If this machine is lost between
/// the two, no later archiver has the segment, and the server must still have it.
TEST_F(FollowTest, WithAKeyConfirmsNothingBeforeItsLineIsInTheStore) {
  std::mutex mutex;
  wal::Lsn told;
  options_.manifest_key = std::make_shared<const SignifyKey>(SignifyKey::make());
  options_.on_stored_end = [&](const StoredEnd::Position& position) {
    const std::lock_guard lock(mutex);
    told = std::max(told, position.end);
  };
  std::atomic<bool> away = true;
  store_.fault = [&](const MemoryStore::Call& call) {
    return away && call.what == "put" && call.key.starts_with(manifest_prefix(kLayout))
               ? Fault::throttled
               : Fault::none;
  };
  const StoredEnd::Stream stream{1, kSize.start(4)};
  start(stream);
  ASSERT_TRUE(wait_sent(3));
  stop();
  EXPECT_EQ(told, kSize.start(1));
  away = false;
  start(stream);
  EXPECT_TRUE(wait_for([&] {
    const std::lock_guard lock(mutex);
    return told == kSize.start(4);
  }));
  stop();
}

/// Two servers were promoted to timeline 2, and the store has the history of the other one.
TEST_F(FollowTest, AConflictOnABranchThatTheServerDidNotFollowHoldsNoWalOnTheServer) {
  std::mutex mutex;
  wal::Lsn told;
  options_.on_stored_end = [&](const StoredEnd::Position& position) {
    const std::lock_guard lock(mutex);
    told = std::max(told, position.end);
  };
  builder_.history(2, verify::history_line(1, kSize.start(2)));
  builder_.history(3, verify::history_line(1, kSize.start(4)));
  store_.place(kLayout.history_key(2), test::as_bytes("1\t0/100000\tno reason\n"));
  start(StoredEnd::Stream{3, kSize.start(4)});
  EXPECT_TRUE(wait_for([&] {
    const std::lock_guard lock(mutex);
    return told == kSize.start(4);
  }));
  EXPECT_TRUE(wait_for([&] { return has_trouble(); })) << "and yet it is reported";
  stop();
}

/// Whoever removes it: a person, a prune. Nobody would bring it, and the server's WAL would be held
/// for ever. What is behind it is confirmed when the store has that, and not before.
TEST_F(FollowTest, DoesNotWaitForEverForWhatLeftTheArchiveUnsent) {
  std::mutex mutex;
  wal::Lsn told;
  wal::Lsn durable = kSize.start(4);
  options_.on_stored_end = [&](const StoredEnd::Position& position) {
    const std::lock_guard lock(mutex);
    told = std::max(told, position.end);
    for (const std::uint64_t segno : {1, 3, 5}) {
      if (kSize.start(segno) >= told) continue;
      EXPECT_TRUE(stored(key(segno))) << told.to_string();
    }
  };
  options_.durable_end = [&]() -> std::optional<archive::DurableEnd> {
    const std::lock_guard lock(mutex);
    return archive::DurableEnd{1, durable};
  };
  const auto told_up_to = [&](wal::Lsn end) {
    return wait_for([&] {
      const std::lock_guard lock(mutex);
      return told == end;
    });
  };
  // 2 is listed, and gone before anybody has looked at it.
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    const auto name = wal::SegmentName(1, 2, kSize).to_string();
    if (call.operation == SimDisk::Operation::find && call.name == name &&
        builder_.disk.exists(name))
      builder_.disk.erase(name);
    return SimDisk::Effect::proceed();
  });
  start(StoredEnd::Stream{1, kSize.start(4)});
  ASSERT_TRUE(told_up_to(kSize.start(4)));
  // 4 goes as soon as it is finished, and 5 stays.
  builder_.segments(wal_, 5, 6);
  follow_->finished(wal::SegmentName(1, 4, kSize));
  follow_->finished(wal::SegmentName(1, 5, kSize));
  ASSERT_TRUE(wait_for([&] { return stored(key(5)).has_value(); }));
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(told, kSize.start(4)) << "4 may still be on its way to its name";
    durable = kSize.start(6);
  }
  ASSERT_TRUE(told_up_to(kSize.start(6)));
  EXPECT_TRUE(log_.has("000000010000000000000004 is gone from the archive, and was not sent"));
  stop();
}

TEST_F(FollowTest, TellsOfWhatLeavesTheArchiveWhenItsTurnHasCome) {
  options_.on_stored_end = [](const StoredEnd::Position&) {};
  options_.durable_end = [] { return archive::DurableEnd{1, kSize.start(4)}; };
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    const auto name = wal::SegmentName(1, 2, kSize).to_string();
    if (call.operation == SimDisk::Operation::open && call.name == name &&
        builder_.disk.exists(name))
      builder_.disk.erase(name);
    return SimDisk::Effect::proceed();
  });
  start(StoredEnd::Stream{1, kSize.start(4)});
  ASSERT_TRUE(wait_for([&] { return stored(key(3)).has_value(); }));
  EXPECT_TRUE(wait_for([&] {
    return log_.has("000000010000000000000002 is gone from the archive, and was not sent");
  }));
  stop();
}

/// Whoever removes it. The store has WAL before and behind it, and it never comes.
TEST_F(FollowTest, RecordsAsLostWhatLeavesTheArchiveBeforeItIsSent) {
  const auto name_of = [](std::uint64_t segno) {
    return wal::SegmentName(1, segno, kSize).to_string();
  };
  options_.jobs = 1;
  builder_.segments(wal_, 4, 5);  // the newest one is read to identify the cluster
  std::atomic<bool> removes = true;
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    for (const std::uint64_t segno : {2, 3})
      if (removes && call.operation == SimDisk::Operation::open && call.name == name_of(segno) &&
          builder_.disk.exists(call.name))
        builder_.disk.erase(call.name);
    return SimDisk::Effect::proceed();
  });
  start();
  const std::string record = ".pgweir-loss-hole-1-0-200000";
  ASSERT_TRUE(wait_for([&] { return stored(*kLayout.key_of(record)).has_value(); }));
  EXPECT_TRUE(log_.has(name_of(2) + " is gone from the archive, and was not sent"));
  const auto losses = [&] {
    const auto directory = builder_.disk.open();
    return archive::read_losses(*directory, archive::list_archive_names(*directory));
  };
  // Adjacent ones are one hole, also if they are not found at once.
  ASSERT_TRUE(wait_for([&] {
    const auto found = losses();
    return found.size() == 1 && found.front().end == kSize.start(4);
  }));
  EXPECT_THAT(losses().front().cause, HasSubstr("not sent to the store"));
  builder_.segments(wal_, 5, 6);
  ASSERT_TRUE(wait_for([&] { return stored(key(5)).has_value(); }));
  EXPECT_TRUE(wait_for([&] { return follow_->view().pending_segments == 0; }));
  // Whoever brings it back closes the hole.
  removes = false;
  builder_.segments(wal_, 2, 4);
  EXPECT_TRUE(wait_for([&] { return stored(key(2)) && stored(key(3)); }));
  EXPECT_THAT(losses(), ::testing::IsEmpty());
  stop();
}

TEST_F(FollowTest, AFullDiskKeepsTheMarkFromPassingALossThatIsNotRecorded) {
  const auto name = wal::SegmentName(1, 2, kSize).to_string();
  std::atomic<bool> full = true;
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::open && call.name == name &&
        builder_.disk.exists(name))
      builder_.disk.erase(name);
    if (full && call.operation == SimDisk::Operation::write &&
        call.name.find("loss-hole-") != std::string::npos)
      return SimDisk::Effect::fail(ENOSPC);
    return SimDisk::Effect::proceed();
  });
  start();
  ASSERT_TRUE(wait_for([&] { return !follow_->view().failures.empty(); }));
  ASSERT_TRUE(wait_for([&] { return stored(key(3)).has_value(); }));
  const auto mark = read_mark(*builder_.disk.open());
  EXPECT_TRUE(!mark || !mark->has(wal::SegmentName(1, 3, kSize)));
  full = false;
  stop();
  EXPECT_TRUE(read_mark(*builder_.disk.open())->has(wal::SegmentName(1, 3, kSize)));
  const auto directory = builder_.disk.open();
  EXPECT_EQ(archive::read_losses(*directory, archive::list_archive_names(*directory)).size(), 1u);
}

TEST_F(FollowTest, SendsTheDurableFrontOfTheOpenSegment) {
  const auto open_of = [&](std::uint64_t segno) { return wal::SegmentName(1, segno, kSize); };
  const auto keys = [&] {
    const std::lock_guard lock(quiet_mutex_);
    std::vector<std::string> found;
    for (const auto& object : store_.list(OpenObject::prefix(kLayout), "", 1000).objects)
      found.push_back(object.key);
    return found;
  };
  std::mutex mutex;
  std::optional<archive::DurableEnd> durable;
  wal::Lsn told;
  options_.open_every = 2ms;
  options_.durable_end = [&] {
    const std::lock_guard lock(mutex);
    return durable;
  };
  options_.on_stored_end = [&](const StoredEnd::Position& position) {
    const std::lock_guard lock(mutex);
    told = std::max(told, position.end);
  };
  const auto write = [&](std::uint64_t bytes) {
    // More is written than is durable.
    builder_.partial(wal_, kSize.start(4) + 300'000);
    const std::lock_guard lock(mutex);
    durable = archive::DurableEnd{1, kSize.start(4) + bytes};
  };
  const auto told_up_to = [&](std::uint64_t bytes) {
    return wait_for([&] {
      const std::lock_guard lock(mutex);
      return told == kSize.start(4) + bytes;
    });
  };
  write(100'000);
  start();
  follow_->stream_begins({1, kSize.start(4)});
  ASSERT_TRUE(told_up_to(100'000));
  write(200'000);
  ASSERT_TRUE(told_up_to(200'000));
  ASSERT_TRUE(wait_for([&] { return keys().size() == 1; })) << "older ones are removed";
  const auto object = OpenObject::parse(kLayout, keys().front());
  ASSERT_TRUE(object);
  EXPECT_EQ(object->segment, open_of(4));
  EXPECT_EQ(object->end, kSize.start(4) + 200'000);
  // A reader sees it as it would see the file.
  {
    const std::lock_guard lock(quiet_mutex_);
    NearShelf shelf([&]() -> ObjectStore& { return store_; }, "s3://memory", kLayout, {}, 1);
    const auto bytes = shelf.open_bytes(open_of(4).to_string() + ".zst.partial");
    ASSERT_TRUE(bytes);
  }
  stop();
  // Another one that was killed has left one.
  store_.objects[OpenObject{open_of(4), kSize.start(4) + 5000, "a-1"}.key(kLayout)] = {};
  builder_.segments(wal_, 4, 5);
  builder_.disk.open()->remove(open_of(4).to_string() + ".partial");
  start();
  ASSERT_TRUE(wait_for([&] { return keys().empty(); })) << "the whole segment is there";
  EXPECT_TRUE(stored(key(4)));
  stop();
}

/// A recovery could not use it, and would meet a gap before it.
TEST_F(FollowTest, SendsNoFrontOfASegmentBeforeThePreviousOneIsSent) {
  const auto opens = [&] {
    const std::lock_guard lock(quiet_mutex_);
    return store_.list(OpenObject::prefix(kLayout), "", 1000).objects.size();
  };
  std::atomic<bool> held = true;
  store_.fault = [&](const MemoryStore::Call& call) {
    return held && call.what == "put" && call.key == key(4) ? Fault::throttled : Fault::none;
  };
  options_.open_every = 2ms;
  options_.durable_end = [] { return archive::DurableEnd{1, kSize.start(5) + 100'000}; };
  builder_.segments(wal_, 4, 5);
  builder_.partial(wal_, kSize.start(5) + 300'000);
  start();
  ASSERT_TRUE(wait_for([&] {
    const auto failures = follow_->view().failures;
    const auto found = failures.find("throttled");
    return found != failures.end() && found->second >= 3;
  }));
  EXPECT_EQ(opens(), 0u);
  held = false;
  EXPECT_TRUE(wait_for([&] { return opens() == 1; }));
  EXPECT_TRUE(stored(key(4)));
  stop();
}

/// The receiver streams timeline 2, which begins in segment 5.
class FollowNewTimelineTest : public FollowTest {
 protected:
  void SetUp() override {
    FollowTest::SetUp();
    store_.fault = [this](const MemoryStore::Call& call) {
      if (call.what == "put" && call.key.starts_with(OpenObject::prefix(kLayout))) ++fronts_;
      return held_ && call.what == "put" && call.key == key(4) ? Fault::throttled : Fault::none;
    };
    options_.open_every = 2ms;
    options_.durable_end = [this]() -> std::optional<archive::DurableEnd> {
      ++looks_;
      if (!streams_) return std::nullopt;
      return archive::DurableEnd{2, kSize.start(5) + 100'000};
    };
  }
  void begin_timeline() {
    const auto switchpoint = wal_.fork_point(kSize.start(5) + 50'000);
    auto child = verify::promote(wal_, switchpoint, 2, 5);
    builder_.history(2, verify::history_line(1, switchpoint));
    builder_.partial(child, kSize.start(5) + 300'000);
    start();
  }
  [[nodiscard]] bool looks_again() {
    const int before = looks_;
    return wait_for([&] { return looks_ >= before + 20; });
  }

  std::atomic<bool> held_ = true;
  std::atomic<bool> streams_ = true;
  std::atomic<int> looks_ = 0;
  std::atomic<int> fronts_ = 0;
};

/// The previous segment has the parent's name.
TEST_F(FollowNewTimelineTest, SendsNoFrontBeforeTheParentsLastSegmentIsSent) {
  // The history first: without it, no front is sent in any case.
  streams_ = false;
  begin_timeline();
  ASSERT_TRUE(wait_for([&] { return stored(key(3)) && stored(kLayout.history_key(2)); }));
  builder_.segments(wal_, 4, 5);
  ASSERT_TRUE(wait_for([&] {
    const auto failures = follow_->view().failures;
    return failures.contains("throttled");
  }));
  streams_ = true;
  ASSERT_TRUE(looks_again());
  EXPECT_EQ(fronts_, 0);
  held_ = false;
  EXPECT_TRUE(wait_for([&] { return fronts_ == 1; }));
  EXPECT_TRUE(stored(key(4)));
  stop();
}

/// As in an archive that was begun at the switch, or behind a hole: it will not come.
TEST_F(FollowNewTimelineTest, SendsAFrontIfTheParentsLastSegmentIsNotHere) {
  begin_timeline();
  EXPECT_TRUE(wait_for([&] { return fronts_ == 1; }));
  EXPECT_TRUE(stored(kLayout.history_key(2)));
  stop();
}

TEST_F(FollowTest, BeginsWithAnArchiveThatIsEmpty) {
  ArchiveBuilder empty;
  const auto directory = empty.disk.open();
  Follow follow(*directory, store_, kLayout, options_, machine_threads(), log_);
  std::thread thread([&] { follow.run(); });
  EXPECT_TRUE(wait_for([&] { return follow.view().sent_files == 0; }));
  empty.segments(wal_, 1, 2);
  EXPECT_TRUE(wait_for([&] { return follow.view().sent_files == 1; }));
  follow.stop();
  thread.join();
}

TEST_F(FollowTest, GivesNothingUp) {
  std::atomic<bool> away = true;
  store_.fault = [&](const MemoryStore::Call&) {
    return away && !is_quiet() ? Fault::lost_request : Fault::none;
  };
  start();
  ASSERT_TRUE(wait_for([&] { return has_trouble(); }));
  const auto view = follow_->view();
  ASSERT_TRUE(view.problem);
  EXPECT_EQ(view.problem->reason, "unreachable");
  EXPECT_FALSE(view.problem->needs_person);
  EXPECT_EQ(view.pending_segments, 3u);
  EXPECT_EQ(view.pending_bytes, 3 * kSize.bytes());
  EXPECT_TRUE(view.pending_since);
  EXPECT_EQ(works_, 0);
  away = false;
  ASSERT_TRUE(wait_sent(3));
  EXPECT_TRUE(wait_for([&] { return works_ == 1; }));
  EXPECT_FALSE(follow_->view().problem);
}

TEST_F(FollowTest, ALackOfThreadsIsToldAndGoesBy) {
  FewThreads threads;
  threads_ = &threads;
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().problem.has_value(); }));
  const auto problem = *follow_->view().problem;
  EXPECT_THAT(problem.text, HasSubstr("could not start a thread"));
  EXPECT_FALSE(problem.needs_person) << "it is tried again";
  EXPECT_EQ(follow_->view().sent_files, 0u);
  threads.limited = false;
  ASSERT_TRUE(wait_sent(3));
  EXPECT_TRUE(wait_for([&] { return !follow_->view().problem; }));
  EXPECT_EQ(threads.started.load(), options_.jobs) << "those that ran are not started again";
  stop();
  follow_.reset();
}

TEST_F(FollowTest, AnEndByAnExceptionStaysAProblem) {
  store_.fault = [](const MemoryStore::Call&) { return Fault::lost_request; };
  options_.on_trouble = [](const Error&) { throw std::bad_alloc(); };
  start();
  ASSERT_TRUE(wait_for([&] { return ended_.load(); }));
  const auto problem = follow_->view().problem;
  ASSERT_TRUE(problem);
  EXPECT_THAT(problem->text, HasSubstr("uploads have ended until the next start: out of memory"));
  EXPECT_TRUE(problem->needs_person);
}

TEST_F(FollowTest, OneFailureAmongManyIsNotTold) {
  std::atomic<int> count = 0;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && ++count % 3 == 0 ? Fault::throttled : Fault::none;
  };
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  EXPECT_TRUE(troubles_.empty());
  EXPECT_GE(follow_->view().failures.at("throttled"), 1u);
}

TEST_F(FollowTest, TellsARefusalAtOnce) {
  store_.fault = [&](const MemoryStore::Call&) { return Fault::refused; };
  start();
  ASSERT_TRUE(wait_for([&] { return has_trouble(); }));
  EXPECT_TRUE(follow_->view().problem->needs_person);
  EXPECT_EQ(follow_->view().problem->reason, "refused");
}

TEST_F(FollowTest, GoesOnWhenSomebodyHasMendedAConflict) {
  store_.place(key(2), test::bytes_of("somebody else's"));
  start();
  // (What lies before it may still be on its way when the conflict is found.)
  ASSERT_TRUE(wait_for([&] {
    return has_trouble() && follow_->view().next == wal::SegmentName(1, 2, kSize).to_string();
  }));
  const auto view = follow_->view();
  ASSERT_TRUE(view.problem);
  EXPECT_EQ(view.problem->reason, "conflict");
  EXPECT_TRUE(view.problem->needs_person);
  EXPECT_EQ(view.next, wal::SegmentName(1, 2, kSize).to_string());
  EXPECT_FALSE(
      read_mark(*builder_.disk.open()).value_or(Mark{}).has(wal::SegmentName(1, 3, kSize)));
  static_cast<void>(store_.remove(std::array{key(2)}));
  ASSERT_TRUE(wait_sent(3));
  EXPECT_TRUE(wait_for([&] { return !follow_->view().problem; }));
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(troubles_.size(), 1u) << "told once";
}

/// A prune then keeps what is to be uploaded (prune::make_plan()).
TEST_F(FollowTest, MarksTheArchiveEvenIfTheStoreIsAwayFromTheStart) {
  store_.fault = [&](const MemoryStore::Call&) {
    return is_quiet() ? Fault::none : Fault::lost_request;
  };
  start();
  ASSERT_TRUE(wait_for([&] { return has_trouble(); }));
  const auto directory = builder_.disk.open();
  const auto mark = read_mark(*directory);
  ASSERT_TRUE(mark);
  EXPECT_TRUE(mark->empty());
  const auto listing = archive::list_archive(*directory);
  const auto cluster = archive::read_identity(*directory, listing);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(first_not_sent(mark, *cluster, listing), wal::SegmentName(1, 1, kSize));
}

TEST_F(FollowTest, AFullDiskIsNoReasonToStopSending) {
  builder_.disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::create ? SimDisk::Effect::fail(ENOSPC)
                                                        : SimDisk::Effect::proceed();
  });
  builder_.disk.put(std::string(kMarkLockName), {});
  start();
  ASSERT_TRUE(wait_sent(3));
  builder_.disk.set_hook({});
  builder_.segments(wal_, 4, 5);
  ASSERT_TRUE(wait_sent(4));
  EXPECT_FALSE(failure_);
}

TEST_F(FollowTest, AFailedSyncOfTheMarkIsTheEnd) {
  std::atomic<bool> lost = false;
  options_.durability_lost = [&](const Error&) { lost = true; };
  builder_.disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::sync ? SimDisk::Effect::fail(EIO)
                                                      : SimDisk::Effect::proceed();
  });
  start();
  ASSERT_TRUE(wait_for([&] { return lost.load(); }));
  thread_.join();
  ASSERT_TRUE(failure_);
  EXPECT_EQ(failure_->kind(), ErrorKind::durability);
}

TEST_F(FollowTest, AFailedSyncByASendingThreadIsTheEndAsWell) {
  {
    const auto directory = builder_.disk.open();
    archive::DirectoryHome home(*directory);
    archive::record_published_open(
        home, {wal::SegmentName(1, 1, kSize), kSize.start(1) + 100, "s3://memory/x", "now"});
  }
  std::atomic<bool> lost = false;
  options_.durability_lost = [&](const Error&) { lost = true; };
  std::atomic<bool> removed = false;
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::remove &&
        call.name.find("published") != call.name.npos)
      removed = true;
    return removed && call.operation == SimDisk::Operation::sync ? SimDisk::Effect::fail(EIO)
                                                                 : SimDisk::Effect::proceed();
  });
  start();
  ASSERT_TRUE(wait_for([&] { return lost.load(); }));
  thread_.join();
  ASSERT_TRUE(failure_);
  EXPECT_EQ(failure_->kind(), ErrorKind::durability);
}

TEST_F(FollowTest, WaitsForWhoeverElseSendsTheArchive) {
  const auto other = builder_.disk.open();
  auto lock = try_lock_mark(*other);
  ASSERT_TRUE(lock);
  start();
  ASSERT_TRUE(wait_for([&] { return log_.has("waiting for it to end"); }));
  EXPECT_TRUE(store_.calls.empty());
  lock.reset();
  EXPECT_TRUE(wait_sent(3));
}

TEST_F(FollowTest, ARawSegmentThatIsAboutToBeCompressedWaits) {
  std::atomic<bool> compressing = true;
  options_.raw_settles = true;
  options_.raw_will_change = [&] { return compressing.load(); };
  start();
  builder_.segments(wal_, 4, 5, Method::zstd);
  ASSERT_TRUE(wait_sent(1));
  EXPECT_TRUE(stored(key(4, ".zst")));
  EXPECT_FALSE(stored(key(1)));
  compressing = false;
  EXPECT_TRUE(wait_sent(4));
  EXPECT_TRUE(stored(key(1)));
}

TEST_F(FollowTest, SendsAgainWhatIsGoneFromTheStore) {
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  static_cast<void>(store_.remove(std::array{key(2)}));
  options_.audit_every = 5ms;
  start();
  ASSERT_TRUE(wait_for([&] { return stored(key(2)).has_value(); }));
  ASSERT_TRUE(wait_for([&] { return follow_->view().pending_segments == 0; }));
  EXPECT_EQ(follow_->view().sent_again, 1u);
  EXPECT_TRUE(log_.has("is gone from the store"));
  stop();
  EXPECT_TRUE(read_mark(*builder_.disk.open())->has(wal::SegmentName(1, 2, kSize)));
}

TEST_F(FollowTest, SendsAHistoryAgainThatIsGoneFromTheStore) {
  builder_.history(2, verify::history_line(1, kSize.start(4)));
  start();
  ASSERT_TRUE(wait_sent(4));
  stop();
  static_cast<void>(store_.remove(std::array{kLayout.history_key(2)}));
  options_.audit_every = 5ms;
  start();
  ASSERT_TRUE(wait_for([&] { return stored(kLayout.history_key(2)).has_value(); }));
  ASSERT_TRUE(wait_for([&] { return follow_->view().pending_histories == 0; }));
  EXPECT_EQ(follow_->view().sent_again, 1u);
  stop();
  EXPECT_TRUE(read_mark(*builder_.disk.open())->has_history(2));
}

/// Between two audits: the bucket was emptied, and the other cluster's archiver came first.
TEST_F(FollowTest, SendsNothingToAPlaceThatAnotherClusterHasClaimed) {
  const auto record = key_of_cluster(kLayout);
  MemoryStore other;
  static_cast<void>(
      write_cluster(other, kLayout, Conditions::heeded, {4711, kSize, kLayout.form()}));
  const auto put = [&](const test::Bytes& text) {
    MemoryBytes bytes(text);
    store_.put(record, content_of(bytes));
  };
  options_.place_every = 1ms;
  start();
  ASSERT_TRUE(wait_sent(3));
  const auto ours = stored(record);
  ASSERT_TRUE(ours);
  put(other.objects.at(record).bytes);
  static_cast<void>(store_.remove(std::array{key(1), key(2), key(3)}));
  builder_.segments(wal_, 4, 5);
  ASSERT_TRUE(wait_for([&] { return has_trouble() || stored(key(4)); }));
  EXPECT_FALSE(stored(key(4)));
  ASSERT_TRUE(has_trouble());
  {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(troubles_.front().kind(), ErrorKind::conflict);
    EXPECT_THAT(troubles_.front().what(), HasSubstr("4711"));
  }
  put(*ours);
  EXPECT_TRUE(wait_for([&] { return stored(key(4)).has_value(); }));
}

TEST_F(FollowTest, SendsAgainAtOnceWhatAStoreLacksThatWasEmptied) {
  options_.place_every = 1ms;
  start();
  ASSERT_TRUE(wait_sent(3));
  static_cast<void>(store_.remove(std::array{key_of_cluster(kLayout), key(1), key(2), key(3)}));
  builder_.segments(wal_, 4, 5);
  for (const std::uint64_t segno : {4, 1, 2, 3})
    EXPECT_TRUE(wait_for([&] { return stored(key(segno)).has_value(); })) << segno;
}

TEST_F(FollowTest, SendsNoMoreOfABacklogToAPlaceThatAnotherClusterHasClaimed) {
  builder_.segments(wal_, 4, 9);
  options_.jobs = 1;
  options_.place_every = 1ms;
  const auto record = key_of_cluster(kLayout);
  MemoryStore other;
  static_cast<void>(
      write_cluster(other, kLayout, Conditions::heeded, {4711, kSize, kLayout.form()}));
  std::atomic<bool> noticed = false;
  options_.on_trouble = [&](const Error& error) {
    if (error.kind() == ErrorKind::conflict) noticed = true;
  };
  // From the second segment on, nothing is stored until it is noticed.
  test::Bytes ours;
  store_.fault = [&](const MemoryStore::Call& call) {
    if (is_quiet() || call.what != "put" || !call.key.starts_with(kLayout.wal_prefix()) ||
        call.key < key(2))
      return MemoryStore::Fault::none;
    if (ours.empty())
      ours = std::exchange(store_.objects.at(record).bytes, other.objects.at(record).bytes);
    return noticed ? MemoryStore::Fault::none : MemoryStore::Fault::lost_request;
  };
  start();
  ASSERT_TRUE(wait_for([&] { return noticed.load(); }));
  const auto before = store_.count("get");
  ASSERT_TRUE(wait_for([&] { return store_.count("get") >= before + 2; }));
  EXPECT_FALSE(stored(key(3)));
  MemoryBytes bytes(ours);
  store_.put(record, content_of(bytes));
  EXPECT_TRUE(wait_for([&] { return stored(key(8)).has_value(); }));
}

TEST_F(FollowTest, APruneOfTheStoreIsNoLoss) {
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  static_cast<void>(store_.remove(std::array{key(1), key(2)}));
  options_.audit_every = 5ms;
  start();
  const auto before = store_.count("list");
  ASSERT_TRUE(wait_for([&] { return store_.count("list") > before + 6; }));
  EXPECT_EQ(follow_->view().sent_again, 0u);
  EXPECT_FALSE(follow_->view().problem);
}

TEST_F(FollowTest, WhatIsNeitherThereNorHereIsALossUntilSomebodyBringsItBack) {
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  static_cast<void>(store_.remove(std::array{key(2)}));
  {
    const auto directory = builder_.disk.open();
    directory->remove(wal::SegmentName(1, 2, kSize).to_string());
    directory->sync();
  }
  options_.audit_every = 5ms;
  start();
  ASSERT_TRUE(wait_for([&] { return has_trouble(); }));
  const auto view = follow_->view();
  ASSERT_TRUE(view.problem);
  EXPECT_TRUE(view.problem->needs_person);
  EXPECT_EQ(view.problem->reason, "gap");
  EXPECT_THAT(view.problem->text, HasSubstr(key(2)));
  // It is a hole by its record, too, here and there.
  const std::string record = ".pgweir-loss-hole-1-0-200000";
  EXPECT_TRUE(wait_for([&] { return stored(*kLayout.key_of(record)).has_value(); }));
  const auto directory = builder_.disk.open();
  const auto losses = archive::read_losses(*directory, archive::list_archive_names(*directory));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses.front().end, kSize.start(3));
  EXPECT_THAT(losses.front().cause, HasSubstr("gone from the store"));
  builder_.segments(wal_, 2, 3);  // imported
  EXPECT_TRUE(wait_for([&] { return !follow_->view().problem; }));
  EXPECT_TRUE(wait_for([&] { return stored(key(2)).has_value(); }));  // it is on its way then
}

/// Names alone would make it the end of what the store has, and a recovery would end there.
TEST_F(FollowTest, TheLastObjectIsAHoleAsWellWhenItIsGoneOnBothSides) {
  options_.keep_local = KeepLocal{.bytes = 1};
  start();
  ASSERT_TRUE(wait_for([&] { return !here(2) && here(3); }));
  stop();
  static_cast<void>(store_.remove(std::array{key(2), key(3)}));
  options_.keep_local.reset();
  options_.audit_every = 5ms;
  start();
  const std::string record = ".pgweir-loss-hole-1-0-200000";
  ASSERT_TRUE(wait_for([&] { return stored(*kLayout.key_of(record)).has_value(); }));
  ASSERT_TRUE(wait_for([&] { return stored(key(3)).has_value(); }));  // it was here
  stop();
  static_cast<void>(store_.remove(std::array{key(3)}));
  NearShelf bucket([this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout,
                   {.retry_for = 0ms, .seed = 0}, 1);
  const auto losses = archive::read_losses(bucket, archive::list_archive_names(bucket));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses.front().begin, kSize.start(2));
}

TEST_F(FollowTest, RecordsOfLossesAreThereBeforeTheWalBehindThem) {
  const std::string name = ".pgweir-loss-hole-1-0-800000";
  builder_.disk.put(name, test::bytes_of("{}"));
  start();
  ASSERT_TRUE(wait_sent(3));
  const auto record = kLayout.key_of(name);
  ASSERT_TRUE(record);
  EXPECT_TRUE(stored(*record));
  builder_.disk.put(name + ".ack", test::bytes_of("{}"));
  EXPECT_TRUE(wait_for([&] { return stored(*kLayout.key_of(name + ".ack")).has_value(); }));
  stop();
  const auto first = [&](const std::string& key_put) {
    return std::find_if(store_.calls.begin(), store_.calls.end(), [&](const auto& call) {
      return call.what == "put" && call.key == key_put;
    });
  };
  EXPECT_LT(first(*record), first(key(1)));
}

/// The store may lose more: the same hole then ends later, and its record has the same name.
TEST_F(FollowTest, ARecordThatChangesIsUploadedAgain) {
  const std::string name = ".pgweir-loss-hole-1-0-800000";
  builder_.disk.put(name, test::bytes_of("{}"));
  start();
  const auto key_of_record = *kLayout.key_of(name);
  ASSERT_TRUE(wait_for([&] { return stored(key_of_record).has_value(); }));
  ASSERT_TRUE(wait_sent(3));
  builder_.disk.put(name, test::bytes_of("{1}"));
  EXPECT_TRUE(wait_for([&] { return stored(key_of_record) == test::bytes_of("{1}"); }));
}

TEST_F(FollowTest, ARecordThatCannotBeReadAnyMoreStopsNoUploads) {
  const std::string name = ".pgweir-loss-hole-1-0-800000";
  builder_.disk.put(name, test::bytes_of("{}"));
  start();
  ASSERT_TRUE(wait_for([&] { return stored(*kLayout.key_of(name)).has_value(); }));
  ASSERT_TRUE(wait_sent(3));
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::open && call.name == name
               ? SimDisk::Effect::fail(EIO)
               : SimDisk::Effect::proceed();
  });
  builder_.segments(wal_, 4, 5);
  EXPECT_TRUE(wait_sent(4));
}

/// Its name tells what it is about, until the disk gives it.
TEST_F(FollowTest, ARecordThatCannotBeReadAtAllStopsNoUploads) {
  const std::string name = ".pgweir-loss-hole-1-0-800000";
  for (const auto& each : {name, name + ".ack"}) builder_.disk.put(each, test::bytes_of("{}"));
  std::atomic<bool> broken = true;
  builder_.disk.set_hook([&](const SimDisk::Call& call) {
    return broken && call.operation == SimDisk::Operation::open && call.name.starts_with(name)
               ? SimDisk::Effect::fail(EIO)
               : SimDisk::Effect::proceed();
  });
  start();
  EXPECT_TRUE(wait_sent(3));
  EXPECT_TRUE(log_.has("the record of a loss cannot be read"));
  EXPECT_FALSE(stored(*kLayout.key_of(name + ".ack")));
  stop();
  NearShelf bucket([this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout,
                   {.retry_for = 0ms, .seed = 0}, 1);
  const auto losses = archive::read_losses(bucket, archive::list_archive_names(bucket));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses.front().id(), "hole-1-0-800000");
  EXPECT_FALSE(losses.front().acknowledged);
  broken = false;
  start();
  EXPECT_TRUE(wait_for([&] {
    return stored(*kLayout.key_of(name)) == test::bytes_of("{}") &&
           stored(*kLayout.key_of(name + ".ack")) == test::bytes_of("{}");
  }));
  // It is broken again, for a process that has never read it.
  stop();
  broken = true;
  start();
  builder_.segments(wal_, 4, 5);
  EXPECT_TRUE(wait_for([&] { return stored(key(4)).has_value(); }));
  stop();
  EXPECT_EQ(stored(*kLayout.key_of(name)), test::bytes_of("{}"));
}

TEST_F(FollowTest, RemovesWhatTheStoreHasAndKeepsTheNewest) {
  options_.keep_local = KeepLocal{.bytes = 1};
  watch_removals();
  builder_.segments(wal_, 4, 6, Method::zstd);
  builder_.history(2, "1\t0/500000\tno reason\n");
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 4; }));
  stop();
  for (const std::uint64_t segno : {1, 2, 3}) EXPECT_FALSE(here(segno)) << segno;
  EXPECT_FALSE(here(4, ".zst"));
  EXPECT_TRUE(here(5, ".zst"));
  EXPECT_TRUE(builder_.disk.open()->find("00000002.history"));
  EXPECT_EQ(removals_, 4);
  EXPECT_TRUE(failure_ == std::nullopt);
}

/// In a bucket with many removed versions a listing from its beginning may take too long, each
/// time.
TEST_F(FollowTest, RemovesLocallyAlthoughTheAuditFails) {
  builder_.segments(wal_, 4, 6);
  start();
  ASSERT_TRUE(wait_sent(5));
  stop();
  static_cast<void>(store_.remove(std::array{key(5)}));  // was it pruned?
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "list" && call.key.find("/manifest/") != std::string::npos
               ? Fault::throttled
               : Fault::none;
  };
  options_.audit_every = 5ms;
  options_.keep_local = KeepLocal{.bytes = 1};
  start();
  EXPECT_TRUE(wait_for([&] { return follow_->view().removed_files == 4; }));
}

/// Comparing may take long, and the mark must not wait for all of it.
TEST_F(FollowTest, RemovesForALimitedTimeBeforeOtherWork) {
  builder_.segments(wal_, 4, 6);
  start();
  ASSERT_TRUE(wait_sent(5));
  stop();
  options_.keep_local = KeepLocal{.bytes = 1};
  options_.keep_every = 1h;  // and yet it continues at once
  store_.fault = [](const MemoryStore::Call& call) {
    if (call.what == "head") std::this_thread::sleep_for(1100ms);
    return Fault::none;
  };
  const auto listed = store_.count("list");
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 4; }));
  stop();
  EXPECT_GE(store_.count("list") - listed, 4u) << "one at a time";
  EXPECT_TRUE(here(5));
}

/// The format of the object does not matter, and it is compared without being fetched.
TEST_F(FollowTest, RemovesWhatTheStoreHasInTheFormatThatIsWanted) {
  options_.keep_local = KeepLocal{.bytes = 1};
  options_.compression = codec::Compression::parse("gzip");
  builder_.segments(wal_, 4, 6, Method::zstd);
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 4; }));
  stop();
  EXPECT_TRUE(std::none_of(store_.calls.begin(), store_.calls.end(), [](const auto& call) {
    return call.what == "get" && call.key.find("/wals/") != std::string::npos;
  }));
  for (const std::uint64_t segno : {1, 2, 3}) EXPECT_FALSE(here(segno)) << segno;
  EXPECT_FALSE(here(4, ".zst"));
  EXPECT_TRUE(here(5, ".zst"));
  for (const std::uint64_t segno : {1, 2, 3, 4, 5}) {
    EXPECT_TRUE(stored(key(segno) + ".gz")) << segno;
    EXPECT_FALSE(stored(key(segno))) << segno;
    EXPECT_FALSE(stored(key(segno) + ".zst")) << segno;
  }
}

/// An object that was sent may be gone when its segment's turn comes.
TEST_F(FollowTest, AsksTheStoreAgainBeforeItRemovesAnything) {
  watch_removals();
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  ASSERT_EQ(read_mark(*builder_.disk.open())->sent.size(), 1u);
  static_cast<void>(store_.remove(std::array{key(1)}));
  store_.place(key(2), test::bytes_of("somebody else's"));
  options_.keep_local = KeepLocal{.bytes = 1};
  builder_.segments(wal_, 4, 5);
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 1 && has_trouble(); }));
  stop();
  EXPECT_EQ(follow_->view().sent_again, 1u);
  EXPECT_FALSE(here(1));
  EXPECT_TRUE(stored(key(1))) << "sent again";
  EXPECT_TRUE(here(2)) << "what is there is other WAL";
  EXPECT_TRUE(here(3)) << "the oldest first";
  EXPECT_EQ(troubles_.front().kind(), ErrorKind::conflict);
}

TEST_F(FollowTest, RemovesNothingThatIsNotSentEvenIfTheDiskFills) {
  options_.keep_local = KeepLocal{.bytes = 1};
  watch_removals();
  store_.fault = [&](const MemoryStore::Call& call) {
    return !is_quiet() && call.what == "put" && call.key == key(2) ? Fault::refused : Fault::none;
  };
  builder_.segments(wal_, 4, 7);
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 1; }));
  ASSERT_TRUE(wait_for([&] { return !follow_->view().kept_for.empty(); }));
  EXPECT_THAT(follow_->view().kept_for, HasSubstr("not in the store yet"));
  stop();
  EXPECT_FALSE(here(1));
  for (const std::uint64_t segno : {2, 3, 4, 5, 6}) EXPECT_TRUE(here(segno)) << segno;
}

TEST_F(FollowTest, ASlotOfTheRelayHoldsWhatTheStoreHas) {
  {
    const auto directory = builder_.disk.open();
    archive::DirectoryHome home(*directory);
    archive::keep_slots(home, {wal_.options().system_identifier,
                               {{.name = "standby", .restart_lsn = kSize.start(2)}}});
  }
  options_.keep_local = KeepLocal{.bytes = 1};
  watch_removals();
  start();
  ASSERT_TRUE(wait_for([&] { return follow_->view().removed_files == 1; }));
  ASSERT_TRUE(wait_for([&] { return follow_->view().kept_for.find("slot") != std::string::npos; }));
  stop();
  EXPECT_FALSE(here(1));
  EXPECT_TRUE(here(2));
}

/// Reading and asking takes minutes where segments are large.
TEST_F(FollowTest, ASlotHoldsWhatItCameToNeedWhileTheStoreWasAsked) {
  options_.keep_local = KeepLocal{.bytes = 1};
  bool made = false;
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.what == "head" && call.key == key(1) && !std::exchange(made, true)) {
      const auto directory = builder_.disk.open();
      archive::DirectoryHome home(*directory);
      archive::keep_slots(home, {wal_.options().system_identifier,
                                 {{.name = "standby", .restart_lsn = kSize.start(1)}}});
    }
    return Fault::none;
  };
  start();
  ASSERT_TRUE(wait_for([&] {
    return follow_->view().removed_files > 0 ||
           follow_->view().kept_for.find("slot") != std::string::npos;
  }));
  stop();
  EXPECT_TRUE(here(1));
  EXPECT_TRUE(here(2));
  EXPECT_THAT(follow_->view().kept_for, HasSubstr("a replication slot of the relay needs WAL"));
}

TEST_F(FollowTest, SaysThatWhatItCannotCompareStays) {
  crypto::X25519 key_of_age{};
  crypto::random_bytes(key_of_age);
  options_.sealing = {.recipients = {AgeIdentity(key_of_age).recipient()},
                      .compare_key = std::vector<std::byte>(32, std::byte{3})};
  start();
  ASSERT_TRUE(wait_sent(3));
  stop();
  options_.sealing.compare_key.assign(32, std::byte{4});
  options_.keep_local = KeepLocal{.bytes = 1};
  start();
  ASSERT_TRUE(wait_for([&] { return !follow_->view().kept_for.empty(); }));
  EXPECT_THAT(follow_->view().kept_for,
              HasSubstr(wal::SegmentName(1, 1, kSize).to_string() +
                        " is in the store, and cannot be compared with the local file"));
  stop();
  EXPECT_TRUE(here(1));
  EXPECT_TRUE(log_.has("could not remove uploaded segments from the archive"));
}

TEST_F(FollowTest, SlotsThatNobodyCanReadKeepEverythingAndHoldUpNothing) {
  builder_.disk.put(std::string(archive::kSlotsName), test::bytes_of("no slots"));
  options_.keep_local = KeepLocal{.bytes = 1};
  start();
  ASSERT_TRUE(wait_sent(3));
  ASSERT_TRUE(wait_for([&] { return !follow_->view().kept_for.empty(); }));
  EXPECT_TRUE(here(1));
}

/// Power lost at any call: what is gone here is there, and what is marked is there.
TEST_F(FollowTest, NothingLeavesTheArchiveBeforeTheStoreHasItWhereverThePowerFails) {
  std::mt19937_64 random(test::seed_or(47));
  options_.keep_local = KeepLocal{.bytes = kSize.bytes()};
  for (std::uint64_t call = 1;; call += 1 + random() % 40) {
    SCOPED_TRACE(call);
    builder_.segments(wal_, 1, 5);
    {
      const auto directory = builder_.disk.open();
      directory->remove(std::string(kMarkName));
      directory->sync();
    }
    store_.objects.clear();
    builder_.disk.lose_power_at(builder_.disk.calls() + call);
    start();
    ASSERT_TRUE(wait_for([&] { return down_ || follow_->view().removed_files == 3; }));
    stop();
    const bool done = !down_;
    down_ = false;
    builder_.disk.set_hook({});
    builder_.disk.crash(random);
    const auto mark = read_mark(*builder_.disk.open()).value_or(Mark{});
    const auto chains = read_manifests(store_, kLayout, {}, {});
    const auto told = told_objects(chains, false);
    for (const auto& chain : chains) EXPECT_TRUE(chain.broken.empty()) << chain.broken.front();
    for (std::uint64_t segno = 1; segno < 5; ++segno) {
      EXPECT_TRUE(here(segno) || store_.objects.contains(key(segno))) << segno;
      EXPECT_TRUE(here(segno) || told.contains(wal::SegmentName(1, segno, kSize).to_string()))
          << "nothing leaves before a line tells of it: " << segno;
      EXPECT_TRUE(!mark.has(wal::SegmentName(1, segno, kSize)) ||
                  store_.objects.contains(key(segno)))
          << segno;
    }
    EXPECT_TRUE(here(4)) << "the newest";
    if (done || HasFailure()) break;
  }
}

}  // namespace
}  // namespace weir::store::follow_test
