#include "base/left_behind.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>

namespace weir::left_behind_test {
namespace {

using namespace std::chrono_literals;

TEST(LeftBehind, GivesItsResultOrItsFailure) {
  EXPECT_EQ(begin_left_behind([] { return std::string("seen"); }).get(), "seen");
  auto failed = begin_left_behind([]() -> int { throw std::runtime_error("broken"); });
  EXPECT_THROW(failed.get(), std::runtime_error);
  begin_left_behind([] {}).get();
}

TEST(LeftBehind, NeedNotBeWaitedFor) {
  const auto shared = std::make_shared<std::promise<void>>();
  const auto go_on = std::make_shared<std::shared_future<void>>(shared->get_future());
  std::weak_ptr<int> owned;
  std::future<int> kept;
  {
    auto value = std::make_shared<int>(7);
    owned = value;
    kept = begin_left_behind([value, go_on] {
      go_on->wait();
      return *value;
    });
    // The caller goes on, and so does another that does not keep the result.
    static_cast<void>(begin_left_behind([go_on] { go_on->wait(); }));
  }
  EXPECT_EQ(kept.wait_for(0s), std::future_status::timeout);
  EXPECT_FALSE(owned.expired());
  shared->set_value();
  EXPECT_EQ(kept.get(), 7);
  EXPECT_TRUE(owned.expired()) << "what it owned is destroyed before the result is there";
}

}  // namespace
}  // namespace weir::left_behind_test
