#include "receive/choose_start.h"

#include <gtest/gtest.h>

namespace weir::receive::choose_start_test {
namespace {

using wal::Lsn;

constexpr std::uint64_t kMB = 1 << 20;
const auto kSize = *wal::SegmentSize::of(kMB);

/// "7.5": byte position in segments.
constexpr Lsn seg(double number) { return Lsn(static_cast<std::uint64_t>(number * kMB)); }

/// The history of `timeline`: {1, seg(5.5)} means that timeline 1 was left at 5.5.
wal::TimelineHistory history(wal::TimelineId timeline,
                             const std::vector<wal::TimelineHistory::Ancestor>& ancestors) {
  if (ancestors.empty()) return wal::TimelineHistory(timeline);
  std::string text;
  for (const auto& each : ancestors)
    text += fmt::format("{}\t{}\tno recovery target specified\n", each.timeline, each.switchpoint);
  return *wal::TimelineHistory::parse(timeline, text);
}

StartFacts facts(wal::TimelineId server_timeline, Lsn server_position,
                 const std::vector<wal::TimelineHistory::Ancestor>& ancestors = {}) {
  StartFacts facts;
  facts.segment_size = kSize;
  facts.server = {
      .system_identifier = 7, .timeline = server_timeline, .flush_position = server_position};
  facts.server_history = history(server_timeline, ancestors);
  return facts;
}

StartFacts with_archive(StartFacts facts, wal::TimelineId timeline, Lsn start) {
  facts.archive =
      StartFacts::ArchiveEnd{.timeline = timeline, .start = start, .sound_end = {}, .history = {}};
  return facts;
}

template <typename Change>
StartFacts changed(StartFacts facts, Change change) {
  change(facts);
  return facts;
}

constexpr const char* kBehind = "behind";

/// What is expected: a place, "behind", or a part of the refusal's message.
using Expected = std::variant<StartAt, const char*>;

struct Case {
  const char* name;
  StartFacts facts;
  Expected expected;
};

void check(const Case& each) {
  SCOPED_TRACE(each.name);
  const auto decision = choose_start(each.facts);
  if (const auto* at = std::get_if<StartAt>(&each.expected)) {
    ASSERT_TRUE(std::holds_alternative<StartAt>(decision))
        << (std::holds_alternative<Refused>(decision)
                ? std::get<Refused>(decision).error.what()
                : std::get<UpstreamBehind>(decision).why.c_str());
    const auto& got = std::get<StartAt>(decision);
    EXPECT_EQ(got.timeline, at->timeline);
    EXPECT_EQ(got.lsn, at->lsn) << got.lsn.to_string();
    EXPECT_EQ(kSize.offset(got.lsn), 0U);
    return;
  }
  const std::string text = std::get<const char*>(each.expected);
  if (text == kBehind) {
    ASSERT_TRUE(std::holds_alternative<UpstreamBehind>(decision));
    EXPECT_FALSE(std::get<UpstreamBehind>(decision).why.empty());
    return;
  }
  ASSERT_TRUE(std::holds_alternative<Refused>(decision));
  const auto& error = std::get<Refused>(decision).error;
  EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  EXPECT_FALSE(error.hint().empty());
}

TEST(ChooseStart, BeginsAnEmptyArchive) {
  const Case cases[] = {
      {"at the server's position", facts(1, seg(7.5)), StartAt{1, seg(7)}},
      {"at the server's position, a border", facts(1, seg(7)), StartAt{1, seg(7)}},
      {"on the server's timeline", facts(3, seg(9.5), {{1, seg(4.5)}, {2, seg(9.2)}}),
       StartAt{3, seg(9)}},
      {"at the slot's position",
       changed(facts(1, seg(7.5)), [](auto& f) { f.slot_restart_lsn = seg(4.25); }),
       StartAt{1, seg(4)}},
      {"on the slot's timeline",
       changed(facts(2, seg(7.5), {{1, seg(5.5)}}),
               [](auto& f) {
                 f.slot_restart_lsn = seg(4.25);
                 f.slot_restart_timeline = 1;
               }),
       StartAt{1, seg(4)}},
      {"on the timeline of the slot's position where the slot names none",
       changed(facts(2, seg(7.5), {{1, seg(5.5)}}),
               [](auto& f) { f.slot_restart_lsn = seg(4.25); }),
       StartAt{1, seg(4)}},
      {"where the user wants",
       changed(facts(1, seg(7.5)),
               [](auto& f) {
                 f.requested = seg(3.75);
                 f.slot_restart_lsn = seg(4.25);
               }),
       StartAt{1, seg(3)}},
      {"where the user wants, on an ancestor",
       changed(facts(3, seg(9.5), {{1, seg(4.5)}, {2, seg(8.5)}}),
               [](auto& f) { f.requested = seg(5.75); }),
       StartAt{2, seg(5)}},
      {"where the user wants, in the switch's segment: it begins on the ancestor",
       changed(facts(2, seg(9.5), {{1, seg(4.5)}}), [](auto& f) { f.requested = seg(4.75); }),
       StartAt{1, seg(4)}},
      {"in the segment in which the server left an ancestor of which it would send more",
       changed(facts(3, seg(9.5), {{1, seg(6.5)}, {2, seg(4.5)}}),
               [](auto& f) { f.requested = seg(4.5); }),
       StartAt{3, seg(4)}},
      {"where the user wants, ahead of the server",
       changed(facts(1, seg(7.5)), [](auto& f) { f.requested = seg(8.5); }), kBehind},
      {"without the server's history",
       changed(facts(2, seg(7.5), {{1, seg(5.5)}}), [](auto& f) { f.server_history.reset(); }),
       StartAt{2, seg(7)}},
  };
  for (const auto& each : cases) check(each);
}

TEST(ChooseStart, GoesOnBehindTheArchive) {
  const auto two = facts(2, seg(9.5), {{1, seg(5.5)}});
  const auto two_at_border = facts(2, seg(9.5), {{1, seg(6)}});
  const auto four = facts(4, seg(20.5), {{1, seg(5.5)}, {2, seg(8.25)}, {3, seg(8.75)}});
  const Case cases[] = {
      {"same timeline", with_archive(facts(1, seg(9.5)), 1, seg(6)), StartAt{1, seg(6)}},
      {"same timeline, a slot that is ahead does not matter",
       changed(with_archive(facts(1, seg(9.5)), 1, seg(6)),
               [](auto& f) { f.slot_restart_lsn = seg(8); }),
       StartAt{1, seg(6)}},
      {"in the segment in which the server left an ancestor of which it would send more",
       with_archive(facts(3, seg(9.5), {{1, seg(6.5)}, {2, seg(4.5)}}), 1, seg(4)),
       StartAt{3, seg(4)}},
      {"before that segment",
       with_archive(facts(3, seg(9.5), {{1, seg(6.5)}, {2, seg(4.5)}}), 1, seg(3)),
       StartAt{1, seg(3)}},
      {"same timeline, exactly at the server's position", with_archive(facts(1, seg(6)), 1, seg(6)),
       StartAt{1, seg(6)}},
      {"same timeline, the server is behind", with_archive(facts(1, seg(5.5)), 1, seg(6)), kBehind},
      {"same timeline, a standby is behind",
       changed(with_archive(facts(1, seg(5.5)), 1, seg(6)),
               [](auto& f) { f.server_is_standby = true; }),
       kBehind},
      {"same timeline, a primary is behind: it had more",
       changed(with_archive(facts(1, seg(5.5)), 1, seg(6)),
               [](auto& f) { f.server_is_standby = false; }),
       "less WAL than it had sent"},
      {"a primary is behind what the unfinished segment holds",
       changed(with_archive(facts(1, seg(6.3)), 1, seg(6)),
               [](auto& f) {
                 f.server_is_standby = false;
                 f.archive->sound_end = seg(6.5);
               }),
       "less WAL than it had sent"},
      {"a primary has just what the unfinished segment holds",
       changed(with_archive(facts(1, seg(6.5)), 1, seg(6)),
               [](auto& f) {
                 f.server_is_standby = false;
                 f.archive->sound_end = seg(6.5);
               }),
       StartAt{1, seg(6)}},
      {"a standby is behind what the unfinished segment holds",
       changed(with_archive(facts(1, seg(6.3)), 1, seg(6)),
               [](auto& f) {
                 f.server_is_standby = true;
                 f.archive->sound_end = seg(6.5);
               }),
       StartAt{1, seg(6)}},
      {"a primary on a later timeline, left before what the unfinished segment holds",
       changed(with_archive(facts(2, seg(6.4), {{1, seg(6.3)}}), 1, seg(6)),
               [](auto& f) {
                 f.server_is_standby = false;
                 f.archive->sound_end = seg(6.5);
               }),
       StartAt{1, seg(6)}},
      {"a primary is behind what was asked for",
       changed(with_archive(facts(1, seg(7.5)), 1, seg(6)),
               [](auto& f) {
                 f.server_is_standby = false;
                 f.requested = seg(9);
                 f.on_gap = OnGap::go_on;
               }),
       kBehind},
      {"one switch ahead: finish the old timeline", with_archive(two, 1, seg(3)),
       StartAt{1, seg(3)}},
      {"one switch ahead: in the switch's segment", with_archive(two, 1, seg(5)),
       StartAt{1, seg(5)}},
      {"one switch ahead: past the switch", with_archive(two, 1, seg(6)), StartAt{2, seg(5)}},
      {"one switch ahead: far past the switch", with_archive(two, 1, seg(8)), StartAt{2, seg(5)}},
      {"switch on a border: before it", with_archive(two_at_border, 1, seg(5)), StartAt{1, seg(5)}},
      {"switch on a border: exactly there", with_archive(two_at_border, 1, seg(6)),
       StartAt{2, seg(6)}},
      {"three switches ahead: finish the oldest", with_archive(four, 1, seg(5)),
       StartAt{1, seg(5)}},
      {"three switches ahead: past the first", with_archive(four, 1, seg(6)), StartAt{2, seg(5)}},
      {"three switches ahead: past all of them", with_archive(four, 1, seg(20)),
       StartAt{2, seg(5)}},
      {"three switches ahead: on the second, in the segment with two switches",
       with_archive(four, 2, seg(8)), StartAt{2, seg(8)}},
      {"three switches ahead: on the second, past both", with_archive(four, 2, seg(9)),
       StartAt{3, seg(8)}},
      {"three switches ahead: on the third, past", with_archive(four, 3, seg(9)),
       StartAt{4, seg(8)}},
      {"on the newest", with_archive(four, 4, seg(19)), StartAt{4, seg(19)}},
      {"timelines of no length, all switches on one border",
       with_archive(facts(3, seg(9.5), {{1, seg(6)}, {2, seg(6)}}), 1, seg(6)), StartAt{3, seg(6)}},
      {"an old timeline's position beyond a server that is just promoted",
       with_archive(facts(2, seg(5.6), {{1, seg(5.5)}}), 1, seg(5)), StartAt{1, seg(5)}},
      {"the archive's history is the beginning of the server's",
       changed(with_archive(four, 2, seg(7)),
               [](auto& f) {
                 f.archive->history = history(2, {{1, seg(5.5)}});
               }),
       StartAt{2, seg(7)}},
      {"timeline 1 needs no history of the server",
       changed(with_archive(facts(1, seg(9.5)), 1, seg(6)),
               [](auto& f) { f.server_history.reset(); }),
       StartAt{1, seg(6)}},
      {"the same timeline needs no history of the server",
       changed(with_archive(two, 2, seg(6)), [](auto& f) { f.server_history.reset(); }),
       StartAt{2, seg(6)}},
  };
  for (const auto& each : cases) check(each);
}

TEST(ChooseStart, RefusesAnotherBranchOfTheHistory) {
  const auto three = facts(3, seg(9.5), {{1, seg(5.5)}});
  const Case cases[] = {
      {"the archive's timeline is not an ancestor", with_archive(three, 2, seg(6)),
       "does not contain the archive's timeline"},
      {"the archive's ancestors are others",
       changed(with_archive(facts(3, seg(9.5), {{1, seg(5.5)}, {2, seg(7)}}), 2, seg(6)),
               [](auto& f) {
                 f.archive->history = history(2, {{1, seg(4.5)}});
               }),
       ""},
      {"same timeline number, other ancestors",
       changed(with_archive(facts(2, seg(9.5), {{1, seg(5.5)}}), 2, seg(6)),
               [](auto& f) {
                 f.archive->history = history(2, {{1, seg(4.5)}});
               }),
       ""},
      {"the server cannot show its history",
       changed(with_archive(facts(2, seg(9.5), {{1, seg(5.5)}}), 1, seg(5)),
               [](auto& f) { f.server_history.reset(); }),
       "cannot show how its timeline descends"},
      {"an old primary",
       changed(with_archive(facts(1, seg(9.5)), 2, seg(6)),
               [](auto& f) { f.server_is_standby = false; }),
       "primary on an older timeline"},
  };
  for (const auto& each : cases) {
    check(each);
    const auto decision = choose_start(each.facts);
    EXPECT_EQ(std::get<Refused>(decision).error.kind(), ErrorKind::conflict) << each.name;
  }
}

TEST(ChooseStart, WaitsForAServerThatMayStillFollow) {
  check({"a standby on an older timeline",
         changed(with_archive(facts(1, seg(9.5)), 2, seg(6)),
                 [](auto& f) { f.server_is_standby = true; }),
         kBehind});
  check({"a server that does not say what it is, on an older timeline",
         with_archive(facts(1, seg(9.5)), 2, seg(6)), kBehind});
}

TEST(ChooseStart, LeavesAGapOnlyIfThatWasAccepted) {
  const auto base = with_archive(facts(1, seg(9.5)), 1, seg(6));
  const auto request = [&](double at, OnGap on_gap) {
    return changed(base, [=](auto& f) {
      f.requested = seg(at);
      f.on_gap = on_gap;
    });
  };
  const Case cases[] = {
      {"behind the archive's end", request(4.5, OnGap::stop), StartAt{1, seg(6)}},
      {"in the archive's next segment", request(6.5, OnGap::stop), StartAt{1, seg(6)}},
      {"ahead", request(7.5, OnGap::stop), "would leave a gap"},
      {"ahead, accepted", request(7.5, OnGap::go_on), StartAt{1, seg(7)}},
      {"ahead of the server, accepted", request(10.5, OnGap::go_on), kBehind},
      {"ahead on a newer timeline, accepted",
       changed(with_archive(facts(2, seg(9.5), {{1, seg(7.5)}}), 1, seg(6)),
               [](auto& f) {
                 f.requested = seg(8.5);
                 f.on_gap = OnGap::go_on;
               }),
       StartAt{2, seg(8)}},
  };
  for (const auto& each : cases) check(each);
  const auto decision = choose_start(request(7.5, OnGap::stop));
  EXPECT_EQ(std::get<Refused>(decision).error.kind(), ErrorKind::gap);
}

}  // namespace
}  // namespace weir::receive::choose_start_test
