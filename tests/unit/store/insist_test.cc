#include "store/insist.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "store/http/answer_watch.h"

namespace weir::store::insist_test {
namespace {

using namespace std::chrono_literals;

/// A transfer that takes longer than anybody is patient with failures, and breaks.
TEST(Insist, PatienceBeginsWithTheFirstFailure) {
  int asked = 0;
  EXPECT_EQ(insist({.retry_for = 20ms, .seed = 1},
                   [&] {
                     if (++asked > 1) return asked;
                     std::this_thread::sleep_for(30ms);
                     throw StoreError(Trouble::unreachable, "reset");
                   }),
            2);
}

TEST(Insist, WaitsAsLongAsTheStoreSaysButNotLongerThanItsPatience) {
  for (const auto patience : {std::chrono::milliseconds(1h), std::chrono::milliseconds(1ms)}) {
    int asked = 0;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(insist({.retry_for = patience, .seed = 1},
                     [&] {
                       if (++asked > 1) return asked;
                       throw StoreError(Trouble::throttled, "busy")
                           .with_retry_after(patience == 1ms ? 1h : 300ms);
                     }),
              2);
    // (Without its word at most 100 ms.)
    EXPECT_GE(std::chrono::steady_clock::now() - begin, patience == 1ms ? 0ms : 300ms);
  }
}

TEST(Insist, WhatDoesNotPassIsNotTriedAgain) {
  for (const auto trouble : {Trouble::refused, Trouble::stopped, Trouble::expired}) {
    int asked = 0;
    EXPECT_THROW(insist({.retry_for = 1h, .seed = 1},
                        [&]() -> bool {
                          ++asked;
                          throw StoreError(trouble, "no");
                        }),
                 StoreError);
    EXPECT_EQ(asked, 1);
  }
}

/// Each request takes so long, and is answered so.
class SlowTransport final : public Transport {
 public:
  SlowTransport(std::chrono::steady_clock::time_point& now, std::chrono::seconds takes, long status)
      : now_(now), takes_(takes), status_(status) {}
  Answer perform(const Request&) override {
    now_ += takes_;
    return {.status = status_};
  }

 private:
  std::chrono::steady_clock::time_point& now_;
  const std::chrono::seconds takes_;
  const long status_;
};

TEST(AnswerWatch, EndsWhatGetsNoGoodAnswer) {
  const struct {
    std::chrono::seconds takes;
    long status;
    int requests;  ///< that are made; 20: all
  } cases[] = {{std::chrono::seconds(1), 503, 5},
               {std::chrono::seconds(1), 429, 5},
               {std::chrono::seconds(2), 503, 3},
               {std::chrono::seconds(4), 200, 20},
               {std::chrono::seconds(4), 404, 20}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.status);
    std::chrono::steady_clock::time_point now{};
    AnswerWatch watch(std::chrono::seconds(5), [&] { return now; });
    WatchedTransport transport(std::make_unique<SlowTransport>(now, each.takes, each.status),
                               watch);
    int made = 0;
    try {
      for (; made < 20; ++made) static_cast<void>(transport.perform({}));
    } catch (const NoAnswer& failure) {
      EXPECT_EQ(failure.why(), NoAnswer::Why::given_up);
      EXPECT_EQ(failure.message(), "no good answer within 5 s");
    }
    EXPECT_EQ(made, each.requests);
    EXPECT_EQ(watch.over(), each.requests < 20);
  }
}

}  // namespace
}  // namespace weir::store::insist_test
