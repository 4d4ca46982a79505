#include "receive/flush_policy.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace weir::receive::flush_policy_test {
namespace {

using namespace std::chrono_literals;

constexpr Time kWritten{1'000'000ms};
const auto kNow = std::optional(Time::min());
const std::optional<Time> kNever;

TEST(FlushPolicy, DecidesWhenASyncIsDue) {
  const FlushPolicy continuous;
  const FlushPolicy interval{FlushPolicy::Mode::interval, 200ms};
  const FlushPolicy segment{FlushPolicy::Mode::segment, 0ms};
  constexpr std::uint64_t kFar = kCatchUpBytes;
  struct Case {
    const char* name;
    FlushPolicy policy;
    FlushInputs inputs;
    std::optional<Time> due;
  };
  const Case cases[] = {
      {"nothing written", continuous, {.oldest_unsynced = kWritten}, kNever},
      {"nothing written, asked", continuous, {.oldest_unsynced = kWritten, .urgent = true}, kNever},
      {"caught up", continuous, {.unsynced_bytes = 1, .oldest_unsynced = kWritten}, kNow},
      {"a little behind",
       continuous,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .behind_bytes = kFar - 1},
       kNow},
      {"far behind",
       continuous,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .behind_bytes = kFar},
       kWritten + kCatchUpInterval},
      {"far behind, asked",
       continuous,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .behind_bytes = kFar, .urgent = true},
       kNow},
      {"far behind, almost a step",
       continuous,
       {.unsynced_bytes = kCatchUpStep - 1, .oldest_unsynced = kWritten, .behind_bytes = kFar},
       kWritten + kCatchUpInterval},
      {"far behind, a step",
       continuous,
       {.unsynced_bytes = kCatchUpStep, .oldest_unsynced = kWritten, .behind_bytes = kFar},
       kNow},
      {"far behind, a full segment",
       continuous,
       {.unsynced_bytes = 1,
        .oldest_unsynced = kWritten,
        .behind_bytes = kFar,
        .segment_complete = true},
       kNow},
      {"interval: nothing", interval, {.oldest_unsynced = kWritten}, kNever},
      {"interval: caught up",
       interval,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten},
       kWritten + 200ms},
      {"interval: far behind",
       interval,
       {.unsynced_bytes = kCatchUpStep, .oldest_unsynced = kWritten, .behind_bytes = kFar},
       kWritten + 200ms},
      {"interval: asked",
       interval,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .urgent = true},
       kNow},
      {"interval: a full segment",
       interval,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .segment_complete = true},
       kNow},
      {"segment: not full", segment, {.unsynced_bytes = 1, .oldest_unsynced = kWritten}, kNever},
      {"segment: full",
       segment,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .segment_complete = true},
       kNow},
      {"segment: asked",
       segment,
       {.unsynced_bytes = 1, .oldest_unsynced = kWritten, .urgent = true},
       kNow},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(sync_due_at(each.policy, each.inputs), each.due);
  }
}

TEST(FlushPolicy, IsReadFromItsThreeForms) {
  EXPECT_EQ(FlushPolicy::parse("continuous"), FlushPolicy{});
  EXPECT_EQ(FlushPolicy::parse("segment"), (FlushPolicy{FlushPolicy::Mode::segment, 0ms}));
  EXPECT_EQ(FlushPolicy::parse("200ms"), (FlushPolicy{FlushPolicy::Mode::interval, 200ms}));
  EXPECT_EQ(FlushPolicy::parse("2s"), (FlushPolicy{FlushPolicy::Mode::interval, 2000ms}));
}

TEST(FlushPolicy, RefusesOtherTextAndNamesTheForms) {
  for (const char* text : {"", "0", "0ms", "200", "never", "Continuous", "segments", "-1s"}) {
    SCOPED_TRACE(text);
    try {
      static_cast<void>(FlushPolicy::parse(text));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_NE(error.hint().find("continuous"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace weir::receive::flush_policy_test
