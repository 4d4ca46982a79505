#include "receive/workers.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "unit/receive/recording_log.h"

namespace weir::receive::workers_test {
namespace {

/// Threads that never run: what is started and woken is counted, and nobody has to wait.
class StillThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override {
    class StillMutex final : public Mutex {
      void lock() override {}
      void unlock() override {}
    };
    return std::make_unique<StillMutex>();
  }
  std::unique_ptr<Condition> make_condition() override {
    class StillCondition final : public Condition {
     public:
      explicit StillCondition(StillThreads& threads) : threads_(threads) {}
      void notify_one() override { ++threads_.woken; }
      void notify_all() override { ++threads_.all_woken; }
      void wait(Lock&) override {
        if (!threads_.meanwhile) throw std::logic_error("it would wait for ever");
        std::exchange(threads_.meanwhile, {})();
      }
      void wait_until(Lock& lock, Time) override { wait(lock); }

     private:
      StillThreads& threads_;
    };
    return std::make_unique<StillCondition>(*this);
  }
  std::unique_ptr<Thread> start(std::string_view, std::function<void()>, Priority) override {
    class StillThread final : public Thread {
     public:
      explicit StillThread(StillThreads& threads) : threads_(threads) {}
      void join() override { ++threads_.joined; }

     private:
      StillThreads& threads_;
    };
    if (exhausted) throw std::system_error(std::make_error_code(std::errc::not_enough_memory));
    ++started;
    return std::make_unique<StillThread>(*this);
  }
  void yield() override {}
  Time now() override { return {}; }

  int started = 0;
  int joined = 0;
  int woken = 0;
  int all_woken = 0;
  bool exhausted = false;
  std::function<void()> meanwhile;  ///< what happens while the next one waits
};

class WorkersTest : public ::testing::Test {
 protected:
  StillThreads threads;
  test::RecordingLog log;
  const std::unique_ptr<Threads::Mutex> mutex = threads.make_mutex();
  Threads::Lock lock{*mutex};
  Workers workers{threads, 3, log, [] {}};
};

TEST_F(WorkersTest, HaveOneLeaderAtATimeWhoKnowsWhetherItStillLeads) {
  workers.start();
  EXPECT_FALSE(workers.led());
  const auto first = workers.take_lead(lock);
  ASSERT_TRUE(first);
  EXPECT_TRUE(workers.leads(*first));
  EXPECT_THROW(static_cast<void>(workers.take_lead(lock)), std::logic_error) << "it waits";

  workers.pass_lead();
  EXPECT_FALSE(workers.led());
  EXPECT_FALSE(workers.leads(*first)) << "though nobody else leads yet";
  const auto second = workers.take_lead(lock);
  ASSERT_TRUE(second);
  EXPECT_TRUE(workers.leads(*second));
  EXPECT_FALSE(workers.leads(*first));
}

TEST_F(WorkersTest, LeadAsSoonAsTheLeadIsPassedOn) {
  const auto first = workers.take_lead(lock);
  threads.meanwhile = [&] { workers.pass_lead(); };
  const auto second = workers.take_lead(lock);
  ASSERT_TRUE(second);
  EXPECT_TRUE(workers.leads(*second));
  EXPECT_FALSE(workers.leads(*first));
  EXPECT_EQ(threads.started, 0) << "somebody waited";
}

TEST_F(WorkersTest, AreStartedWhereNobodyWaitsUntilThereAreEnough) {
  workers.start();
  for (const int expected : {2, 3, 3}) {
    ASSERT_TRUE(workers.take_lead(lock));
    workers.pass_lead();
    EXPECT_EQ(threads.started, expected);
  }
}

TEST_F(WorkersTest, GoOnWithThoseThatAreThereWhereTheMachineHasNoThreadLeft) {
  workers.start();
  ASSERT_TRUE(workers.take_lead(lock));
  threads.exhausted = true;
  workers.pass_lead();
  EXPECT_EQ(log.count("could not start a thread"), 1);
  EXPECT_TRUE(workers.take_lead(lock)) << "whoever is done first";
}

TEST_F(WorkersTest, LeadAndStartNoMoreWhenAllIsOver) {
  workers.start();
  const auto first = workers.take_lead(lock);
  workers.end();
  EXPECT_TRUE(workers.over());
  EXPECT_EQ(threads.all_woken, 1);
  EXPECT_FALSE(workers.leads(*first));
  workers.pass_lead();
  EXPECT_EQ(threads.started, 1);
  EXPECT_FALSE(workers.take_lead(lock));
  workers.join();
  EXPECT_EQ(threads.joined, 1);
}

TEST_F(WorkersTest, WaitNoLongerThanUntilAllIsOver) {
  ASSERT_TRUE(workers.take_lead(lock));
  threads.meanwhile = [&] { workers.end(); };
  EXPECT_FALSE(workers.take_lead(lock));
}

}  // namespace
}  // namespace weir::receive::workers_test
