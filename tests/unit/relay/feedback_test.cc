#include "relay/feedback.h"

#include <gtest/gtest.h>

namespace weir::relay::feedback_test {
namespace {

using Phase = WalsenderState::Phase;
using wal::Lsn;

/// The oldest of epoch 3, and one of the epoch before with a larger number.
constexpr std::uint64_t kNewer = (std::uint64_t{3} << 32) | 5;
constexpr std::uint64_t kOlder = (std::uint64_t{2} << 32) | 4'000'000'000;

Member member(const std::string& name, std::uint64_t flush, std::uint64_t apply,
              Phase phase = Phase::streaming, wal::TimelineId timeline = 2) {
  WalsenderState::Status status;
  status.phase = phase;
  status.timeline = timeline;
  status.flush = Lsn(flush);
  status.apply = Lsn(apply);
  return {name, status};
}

const auto kServed = *wal::TimelineHistory::parse(2, "1\t0/200\tno reason\n");

Feedback gather(const std::vector<Member>& members, const char* sync,
                const char* hold = "ANY 9 (x)", std::optional<Xmins> slots = Xmins{}) {
  return gather_feedback({StandbyNames::parse(sync), StandbyNames::parse(hold)}, members, slots,
                         kServed);
}

TEST(Feedback, AppliedIsWhatAsManyOfTheNamedHaveApplied) {
  const struct {
    const char* what;
    std::vector<Member> members;
    const char* sync;
    std::uint64_t applied;
  } cases[] = {
      {"nobody", {}, "ANY 1 (a)", 0},
      {"one", {member("a", 0x400, 0x300)}, "ANY 1 (a)", 0x300},
      {"not named", {member("b", 0x400, 0x300)}, "ANY 1 (a)", 0},
      {"fewer than asked", {member("a", 0x400, 0x300)}, "ANY 2 (a, b)", 0},
      {"the second", {member("a", 0x400, 0x390), member("b", 0x400, 0x380)}, "ANY 2 (*)", 0x380},
      {"behind", {member("a", 0x400, 0x300, Phase::catchup)}, "ANY 1 (a)", 0},
      {"has ended its stream", {member("a", 0x400, 0x300, Phase::startup)}, "ANY 1 (a)", 0},
      {"says nothing", {member("a", 0, 0)}, "ANY 1 (a)", 0},
      {"does not replay", {member("a", 0x400, 0)}, "ANY 1 (a)", 0},
      // What it has of the old timeline behind the switch is no part of the new one.
      {"still on the old timeline", {member("a", 0x400, 0x300, Phase::streaming, 1)}, "a", 0x200},
      {"on the old one, before it", {member("a", 0x400, 0x180, Phase::streaming, 1)}, "a", 0x180},
      {"elsewhere", {member("a", 0x400, 0x300, Phase::streaming, 7)}, "ANY 1 (a)", 0},
  };
  for (const auto& [what, members, sync, applied] : cases) {
    SCOPED_TRACE(what);
    const auto feedback = gather(members, sync);
    EXPECT_EQ(feedback.applied, Lsn(applied));
    EXPECT_EQ(feedback.timeline, 2u);
  }
}

TEST(Feedback, WithoutNamesNothingIsApplied) {
  const std::vector<Member> members = {member("a", 0x400, 0x300)};
  EXPECT_EQ(gather_feedback({}, members, Xmins{}, kServed).applied, Lsn());
  EXPECT_EQ(gather_feedback({}, members, Xmins{}, kServed).flushed, Lsn());
}

TEST(Feedback, FlushedIsWhatAsManyCandidatesHaveMadeDurable) {
  const auto flushed = [](const std::vector<Member>& members, const char* hold) {
    return gather(members, "x", hold).flushed;
  };
  EXPECT_EQ(flushed({}, "ANY 1 (a)"), Lsn());
  EXPECT_EQ(flushed({member("a", 0x400, 0x300), member("c", 0x500, 0x500)}, "ANY 1 (a, b)"),
            Lsn(0x400));
  EXPECT_EQ(flushed({member("a", 0x400, 0, Phase::catchup)}, "ANY 1 (a)"), Lsn(0x400));
  EXPECT_EQ(flushed({member("a", 0x400, 0, Phase::startup)}, "ANY 1 (a)"), Lsn());
  EXPECT_EQ(flushed({member("a", 0x400, 0, Phase::streaming, 1)}, "ANY 1 (a)"), Lsn(0x200));
}

TEST(Feedback, NeededIsTheOldestOfAllClientsAndSlots) {
  auto one = member("a", 0, 0, Phase::startup);
  auto two = member("b", 0, 0);
  one.status.xmins = {.xmin = kNewer, .catalog_xmin = kOlder};
  two.status.xmins = {.xmin = kOlder};
  const auto needs = [](const std::vector<Member>& members, std::optional<Xmins> slots) {
    return gather(members, "x", "x", slots).xmins;
  };
  EXPECT_EQ(needs({}, Xmins{}), Xmins{}) << "the last has gone: what was held is let go";
  EXPECT_EQ(needs({one}, Xmins{}), (Xmins{kNewer, kOlder}));
  EXPECT_EQ(needs({one, two}, Xmins{}), (Xmins{kOlder, kOlder}));
  EXPECT_EQ(needs({one}, Xmins{.xmin = kOlder}), (Xmins{kOlder, kOlder})) << "of an absent one";
  EXPECT_EQ(needs({}, Xmins{.xmin = kOlder}), (Xmins{kOlder, 0}));
  EXPECT_EQ(needs({one, two}, std::nullopt), std::nullopt) << "what slots hold is not known yet";
}

TEST(Xmins, GoThereAndBack) {
  const wire::HotStandbyFeedback feedback{
      .xmin = 5, .xmin_epoch = 3, .catalog_xmin = 4'000'000'000, .catalog_xmin_epoch = 2};
  EXPECT_EQ(xmins_of(feedback), (Xmins{kNewer, kOlder}));
  EXPECT_EQ(feedback_of(xmins_of(feedback)), feedback);
  EXPECT_EQ(xmins_of({.xmin = 0, .xmin_epoch = 3}), Xmins{}) << "an epoch alone is none";
  EXPECT_EQ(feedback_of({}), wire::HotStandbyFeedback{});
}

}  // namespace
}  // namespace weir::relay::feedback_test
