#include "receive/known_names.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/posix_directory.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::receive::known_names_test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr const char* kFirst = "000000010000000000000001";
constexpr const char* kSecond = "000000010000000000000002";

/// The machine's, with a clock that the test moves.
class SlowThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return machine_threads().make_condition();
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override {}
  Time now() override { return time; }

  Time time = Time(1h);
};

class SlowMachine final : public Machine {
 public:
  Threads& threads() override { return own; }
  std::chrono::system_clock::time_point wall_clock() override { return {}; }
  std::unique_ptr<WakeUp> make_wake_up() override { return nullptr; }
  void poll(std::span<pollfd>, std::optional<Time>) override {}
  std::optional<io::MemoryLimit> memory_limit() override { return std::nullopt; }
  unsigned processors() override { return 1; }
  std::chrono::nanoseconds run_delay() override { return {}; }
  void release_memory() override {}

  SlowThreads own;
};

class KnownNamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-known-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
    write(kFirst);
    directory_ = io::open_existing_directory(place_.string());
  }
  void TearDown() override { fs::remove_all(place_); }

  void write(const std::string& name, const std::string& content = "") const {
    std::ofstream(place_ / name) << content;
  }

  fs::path place_;
  std::unique_ptr<io::Directory> directory_;
  SlowMachine machine_;
};

TEST_F(KnownNamesTest, AreReadOnceAsLongAsNoneChanges) {
  KnownNames names(*directory_, machine_);
  const std::weak_ptr<const archive::Listing> first = names.read();
  const auto again = names.read();
  EXPECT_EQ(again, first.lock());
  EXPECT_EQ(again->segments.size(), 1u);
}

TEST_F(KnownNamesTest, AreReadAnewWhenOneHasComeGoneOrChanged) {
  KnownNames names(*directory_, machine_);
  EXPECT_EQ(names.read()->segments.size(), 1u);
  write(kSecond);
  EXPECT_EQ(names.read()->segments.size(), 2u);
  fs::remove(place_ / kFirst);
  EXPECT_EQ(names.read()->segments.size(), 1u);
  fs::rename(place_ / kSecond, place_ / (std::string(kSecond) + ".zst"));
  EXPECT_EQ(names.read()->segments.front().name.method, codec::Method::zstd);
  write(".pgweir-spare");
  EXPECT_EQ(names.read()->hidden.size(), 1u);
}

TEST_F(KnownNamesTest, HaveTheSizesOfUnfinishedOnesAsTheyAreNow) {
  const auto partial = std::string(kSecond) + ".partial";
  write(partial, "12");
  KnownNames names(*directory_, machine_);
  const auto before = names.read();
  EXPECT_EQ(before->segments.back().bytes, 2u);
  write(partial, "1234");
  EXPECT_EQ(names.read()->segments.back().bytes, 4u);
  EXPECT_EQ(before->segments.back().bytes, 2u) << "what was handed out stays as it was";
}

TEST_F(KnownNamesTest, AreNotBelievedForLong) {
  KnownNames names(*directory_, machine_);
  const std::weak_ptr<const archive::Listing> first = names.read();
  machine_.own.time += 9s;
  EXPECT_EQ(names.read()->segments.size(), 1u);
  EXPECT_FALSE(first.expired());
  machine_.own.time += 1s;
  EXPECT_EQ(names.read()->segments.size(), 1u);
  EXPECT_TRUE(first.expired());
}

TEST_F(KnownNamesTest, AreForgottenOnDemand) {
  KnownNames names(*directory_, machine_);
  const std::weak_ptr<const archive::Listing> listing = names.read();
  EXPECT_FALSE(listing.expired());
  names.forget();
  EXPECT_TRUE(listing.expired());
  EXPECT_EQ(names.read()->segments.size(), 1u);
}

TEST_F(KnownNamesTest, AreThoseOfTheDirectoryThatIsOpenWhateverItsPathLeadsTo) {
  KnownNames names(*directory_, machine_);
  const auto moved = fs::path(place_.string() + "-moved");
  fs::rename(place_, moved);
  fs::create_directory(place_);
  EXPECT_EQ(names.read()->segments.size(), 1u);
  std::ofstream(moved / kSecond) << "";
  EXPECT_EQ(names.read()->segments.size(), 2u);
  fs::remove_all(moved);
}

TEST(KnownNames, AreReadEachTimeWhereNobodyTellsOfChanges) {
  sim::SimDisk disk;
  disk.put(kFirst, test::bytes_of("1"));
  const auto directory = disk.open();
  SlowMachine machine;
  KnownNames names(*directory, machine);
  EXPECT_EQ(names.read()->segments.size(), 1u);
  disk.put(kSecond, test::bytes_of("2"));
  EXPECT_EQ(names.read()->segments.size(), 2u);
}

}  // namespace
}  // namespace weir::receive::known_names_test
