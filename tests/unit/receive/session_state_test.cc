#include "receive/session_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recording_log.h"

namespace weir::receive::session_state_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;

constexpr std::uint64_t kMB = 1 << 20;
const auto kSize = *wal::SegmentSize::of(kMB);
constexpr Lsn seg(double number) { return Lsn(static_cast<std::uint64_t>(number * kMB)); }

constexpr std::string_view kHistory2 = "1\t0/580000\tno recovery target specified\n";  // 5.5
constexpr std::string_view kHistory3 =
    "1\t0/580000\tno recovery target specified\n2\t0/880000\tno recovery target specified\n";

/// Answers the steps as a server and an archive with these properties would.
class Dialogue {
 public:
  explicit Dialogue(const Options& options = {})
      : habits(make_habits(options)), state(options, *habits, log, 1) {}

  /// Performs steps until one that `stop_at` names comes; returns it.
  template <typename Wanted>
  Wanted until() {
    for (int i = 0; i < 10'000; ++i) {
      const auto step = state.next();
      if (const auto* wanted = std::get_if<Wanted>(&step)) return *wanted;
      if (const auto* stop = std::get_if<step::Stop>(&step)) {
        ADD_FAILURE() << "stopped: " << (stop->error ? stop->error->what() : "done");
        return {};
      }
      answer(step);
    }
    ADD_FAILURE() << "went on for ever";
    return {};
  }

  /// Names of the steps up to and with the first Stream or Stop.
  std::string steps() {
    std::string names;
    for (int i = 0; i < 1000; ++i) {
      const auto step = state.next();
      names += (names.empty() ? "" : " ") + name(step);
      if (std::holds_alternative<step::Stream>(step) || std::holds_alternative<step::Stop>(step))
        return names;
      answer(step);
    }
    return names + " ...";
  }

  step::Stop end() {
    for (int i = 0; i < 10'000; ++i) {
      const auto step = state.next();
      if (const auto* stop = std::get_if<step::Stop>(&step)) return *stop;
      if (std::holds_alternative<step::Stream>(step)) {
        ADD_FAILURE() << "streams";
        return {};
      }
      answer(step);
    }
    ADD_FAILURE() << "went on for ever";
    return {};
  }

  void answer(const Step& step) {
    if (const auto* connect = std::get_if<step::Connect>(&step)) {
      ++connects;
      const auto count = static_cast<int>(hosts.size());
      auto index = connect->first_host;
      while (dead.contains(index)) index = (index + 1) % count;
      auto& host = hosts[static_cast<std::size_t>(index)];
      host.host_index = index;
      host.host_count = count;
      state.on_connected(host);
      connected_to = index;
    } else if (std::holds_alternative<step::Identify>(step)) {
      ++identifies;
      state.on_identified(identity);
    } else if (std::holds_alternative<step::ReadParameters>(step)) {
      state.on_parameters({kSize, 60'000ms});
    } else if (std::holds_alternative<step::CreateSlot>(step)) {
      state.on_slot_created(slot_is_new);
      slot_made = slot_is_new;
    } else if (std::holds_alternative<step::DropSlot>(step)) {
      drops.push_back(connected_to);
      slot_made = false;
      if (drop_fails)
        state.failed(Error(ErrorKind::retry, "the connection is gone"), now);
      else
        state.on_slot_dropped();
    } else if (std::holds_alternative<step::ReadSlot>(step)) {
      auto answer = slot;
      answer.exists = slot_made.value_or(slot.exists);
      state.on_slot(answer);
    } else if (const auto* fetch = std::get_if<step::FetchHistory>(&step)) {
      fetched.push_back(fetch->timeline);
      const auto found = server_histories.find(fetch->timeline);
      if (found != server_histories.end())
        state.on_history(fetch->timeline, found->second);
      else
        state.on_history_absent(fetch->timeline, "could not open file");
    } else if (const auto* inspect = std::get_if<step::InspectArchive>(&step)) {
      EXPECT_EQ(inspect->system_identifier, identity.system_identifier);
      EXPECT_EQ(inspect->segment_size, kSize);
      state.on_archive(archive);
    } else if (const auto* store = std::get_if<step::StoreHistory>(&step)) {
      archive.histories[store->timeline] = store->content;
      state.on_history_stored(store->timeline);
    } else if (const auto* find = std::get_if<step::FindEnd>(&step)) {
      EXPECT_EQ(find->timeline, archive.resume->timeline);
      state.on_end_found(sound_end);
    } else if (const auto* loss = std::get_if<step::RecordLoss>(&step)) {
      archive.losses.push_back(loss->loss);
      state.on_loss_recorded(loss->loss);
    } else if (const auto* probe = std::get_if<step::Probe>(&step)) {
      probes.push_back(probe->lsn);
      state.on_probed(probe->lsn >= oldest_held);
    } else if (std::holds_alternative<step::ReadOldest>(step)) {
      state.on_oldest_read(oldest);
    } else if (const auto* compare = std::get_if<step::CompareTail>(&step)) {
      compared.push_back(*compare);
      state.on_tail_compared(tail);
    } else if (std::holds_alternative<step::Disconnect>(step)) {
      state.on_disconnected();
    } else if (const auto* wait = std::get_if<step::Wait>(&step)) {
      waits.push_back(wait->time);
      now += wait->time;
      state.on_waited();
    }
  }

  static std::string name(const Step& step) {
    static const char* const names[] = {
        "ask-hosts", "connect",     "identify",      "parameters",  "create-slot",
        "drop-slot", "read-slot",   "fetch-history", "archive",     "store-history",
        "find-end",  "record-loss", "probe",         "read-oldest", "compare-tail",
        "stream",    "disconnect",  "wait",          "stop"};
    return names[step.index()];
  }

  void archive_ends_at(wal::TimelineId timeline, Lsn start) {
    archive.resume.emplace();
    archive.resume->timeline = timeline;
    archive.resume->start = start;
  }

  void stream_fails(const Error& error, const std::string& sqlstate = {}, Lsn reached = seg(7),
                    bool heard = false) {
    StreamOutcome outcome;
    outcome.how = StreamOutcome::How::failed;
    outcome.error = Error(error).with_sqlstate(sqlstate);
    outcome.reached = reached;
    outcome.heard_anything = heard;
    state.on_stream_ended(outcome, now);
  }

  void timeline_ends(wal::TimelineId next, Lsn switchpoint) {
    StreamOutcome outcome;
    outcome.how = StreamOutcome::How::timeline_ended;
    outcome.next = pq::EndOfStream::Next{next, switchpoint};
    outcome.reached = switchpoint;
    outcome.heard_anything = true;
    state.on_stream_ended(outcome, now);
  }

  test::RecordingLog log;
  std::unique_ptr<Habits> habits;
  SessionState state;
  Time now{1'000'000ms};

  std::set<int> dead;  ///< hosts that do not answer
  std::vector<Upstream> hosts{{.name = "one", .major = 18, .standby = false}};
  pq::SystemIdentity identity{.system_identifier = 7, .timeline = 1, .flush_position = seg(7.5)};
  pq::SlotState slot{
      .exists = true, .type = "physical", .restart_lsn = seg(4.5), .restart_timeline = 1};
  bool slot_is_new = true;
  std::optional<bool> slot_made;  ///< unset: as `slot` says
  bool drop_fails = false;
  std::vector<int> drops;  ///< the hosts on which it was asked for
  std::map<wal::TimelineId, std::string> server_histories;
  ArchiveFacts archive;
  Lsn oldest_held;
  std::string oldest;  ///< the first bytes of that
  TailComparison tail{.how = TailComparison::How::same};
  Lsn sound_end;

  std::vector<step::CompareTail> compared;
  int connects = 0;
  int connected_to = -1;
  int identifies = 0;
  std::vector<wal::TimelineId> fetched;
  std::vector<Lsn> probes;
  std::vector<std::chrono::milliseconds> waits;
};

Options with_slot() {
  Options options;
  options.slot = "weir";
  return options;
}

const Error kLost(ErrorKind::retry, "server closed the connection unexpectedly");
const Error kRemoved(ErrorKind::gap, "requested WAL segment has already been removed");

TEST(SessionState, AsksOneThingAfterTheOtherAndStreams) {
  struct Case {
    const char* name;
    bool slot;
    bool create;
    int major;
    wal::TimelineId timeline;
    const char* steps;
  };
  const Case cases[] = {
      {"plain", false, false, 18, 1, "connect identify parameters archive stream"},
      {"slot", true, false, 18, 1, "connect identify parameters archive read-slot stream"},
      {"slot on a server that cannot tell", true, false, 14, 1,
       "connect identify parameters archive stream"},
      {"new slot", true, true, 18, 1,
       "connect identify parameters archive read-slot create-slot read-slot stream"},
      {"new slot on a server that cannot tell", true, true, 14, 1,
       "connect identify parameters archive create-slot identify stream"},
      {"new slot on timeline 2", true, true, 18, 2,
       "connect identify parameters fetch-history archive read-slot store-history create-slot "
       "read-slot stream"},
      {"timeline 2", false, false, 18, 2,
       "connect identify parameters fetch-history archive store-history stream"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    Options options;
    if (each.slot) options.slot = "weir";
    options.create_slot = each.create;
    Dialogue dialogue(options);
    if (each.create) dialogue.slot_made = false;
    dialogue.hosts[0].major = each.major;
    dialogue.identity.timeline = each.timeline;
    dialogue.slot.restart_lsn = seg(7.25);
    dialogue.slot.restart_timeline = each.timeline;
    dialogue.server_histories[2] = kHistory2;
    EXPECT_EQ(dialogue.steps(), each.steps);
    const auto stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.start, seg(7));
    EXPECT_EQ(stream.timeline, each.timeline);
    EXPECT_EQ(stream.segment_size, kSize);
    EXPECT_EQ(stream.system_identifier, 7U);
  }
}

TEST(SessionState, GoesOnWithTheOpenSegmentsOfTheArchive) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(6));
  dialogue.archive.resume->open = {{seg(6), seg(6), seg(6.5)}, {seg(7), seg(7), seg(7.1)}};
  const auto stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.start, seg(6));
  EXPECT_EQ(stream.open, dialogue.archive.resume->open);
}

TEST(SessionState, TellsTheStreamWhatTheArchiveHoldsOfIt) {
  {
    Dialogue dialogue;
    dialogue.archive_ends_at(1, seg(6));
    dialogue.archive.resume->sound_end = seg(7.1);
    EXPECT_EQ(dialogue.until<step::Stream>().held_end, seg(7.1));
  }
  {  // of the timeline before
    Dialogue dialogue;
    dialogue.archive_ends_at(1, seg(5));
    dialogue.archive.resume->open = {{seg(5), seg(5), seg(5.7)}};
    dialogue.archive.resume->sound_end = seg(5.7);
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = kHistory2;
    auto stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.timeline, 1u);
    EXPECT_EQ(stream.held_end, seg(5.5)) << "the server has left it there";
    dialogue.timeline_ends(2, seg(5.5));
    stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.timeline, 2u);
    EXPECT_EQ(stream.start, seg(5));
    EXPECT_EQ(stream.held_end, seg(5));
  }
  {  // before a hole that was accepted
    Options options;
    options.on_gap = OnGap::go_on;
    Dialogue dialogue(options);
    dialogue.archive_ends_at(1, seg(3));
    dialogue.archive.resume->open = {{seg(3), seg(3), seg(3.5)}};
    dialogue.archive.resume->sound_end = seg(3.5);
    dialogue.oldest_held = seg(5);
    EXPECT_EQ(dialogue.until<step::Stream>().held_end, seg(3.5));
    dialogue.stream_fails(kRemoved, "58P01", seg(3));
    const auto stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.start, seg(5));
    EXPECT_EQ(stream.held_end, seg(5));
  }
}

TEST(SessionState, LooksAtTheArchiveAgainAfterEachStream) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(6));
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.flush_position = seg(9.5);
  dialogue.stream_fails(kLost, {}, seg(9.5), true);
  EXPECT_EQ(dialogue.steps(),
            "disconnect wait connect identify parameters archive compare-tail stream");
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(9));
}

/// Its start was reported: what the server writes during an interruption is not left out.
TEST(SessionState, BeginsAgainAtTheSamePositionWhileTheArchiveIsEmpty) {
  struct Case {
    const char* name;
    bool stock;
    std::optional<Lsn> slot;
    Lsn server;
    Lsn start;
  };
  const Case cases[] = {
      {"the server went on", false, {}, seg(9.5), seg(8)},
      {"the server did not", false, {}, seg(8), seg(8)},
      {"another server, which is behind", false, {}, seg(7.5), seg(7)},
      {"a slot has a position", false, seg(9), seg(9.5), seg(9)},
      {"as the stock program", true, {}, seg(9.5), seg(9)},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto options = with_slot();
    options.stock_habits = each.stock;
    Dialogue dialogue(options);
    dialogue.slot.restart_lsn.reset();
    dialogue.identity.flush_position = seg(8);
    EXPECT_EQ(dialogue.until<step::Stream>().start, seg(8));
    dialogue.stream_fails(kLost, {}, seg(8), true);
    dialogue.identity.flush_position = each.server;
    dialogue.slot.restart_lsn = each.slot;
    EXPECT_EQ(dialogue.until<step::Stream>().start, each.start);
  }
}

TEST(SessionState, BeginsAnEmptyArchiveLaterIfTheServerHasRemovedItsStart) {
  Dialogue dialogue;
  dialogue.identity.flush_position = seg(8);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(8));
  dialogue.stream_fails(kLost, {}, seg(8), true);
  dialogue.identity.flush_position = seg(9.5);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(8));
  dialogue.stream_fails(kRemoved, "58P01", seg(8));
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(9));
  EXPECT_EQ(dialogue.log.count("no longer has the WAL from 0/800000 on"), 1);
  // And there again.
  dialogue.stream_fails(kLost, {}, seg(9), true);
  dialogue.identity.flush_position = seg(11);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(9));
}

TEST(SessionState, ComparesTheEndOfTheArchiveBeforeItGoesOnBehindIt) {
  struct Case {
    const char* name;
    wal::TimelineId archive;
    double end;
    std::vector<archive::OpenSegment> open;
    wal::TimelineId server;
    std::pair<wal::TimelineId, double> compared;
    std::pair<wal::TimelineId, double> streamed;
  };
  const Case cases[] = {
      {"behind a finished segment", 1, 7, {}, 1, {1, 7}, {1, 7}},
      {"nothing is known of the unfinished one",
       1,
       7,
       {{seg(7), seg(7), seg(7)}},
       1,
       {1, 7},
       {1, 7}},
      {"something is known of it", 1, 7, {{seg(7), seg(7), seg(7.1)}}, 1, {1, 7}, {1, 7}},
      {"the rest of the old timeline comes first", 1, 5, {}, 2, {1, 5}, {1, 5}},
      {"past the switch, up to which both agree", 1, 6, {}, 2, {1, 5.5}, {2, 5}},
      {"past it by far", 1, 7, {}, 3, {1, 5.5}, {2, 5}},
      {"on an older timeline that the archive is past", 2, 9, {}, 3, {2, 8.5}, {3, 8}},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    Dialogue dialogue;
    dialogue.archive_ends_at(each.archive, seg(each.end));
    dialogue.archive.resume->open = each.open;
    dialogue.identity.timeline = each.server;
    dialogue.identity.flush_position = seg(9.5);
    dialogue.server_histories[2] = dialogue.archive.histories[2] = kHistory2;
    dialogue.server_histories[3] = kHistory3;
    const auto stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.timeline, each.streamed.first);
    EXPECT_EQ(stream.start, seg(each.streamed.second));
    ASSERT_EQ(dialogue.compared.size(), 1U);
    EXPECT_EQ(dialogue.compared[0].timeline, each.compared.first);
    EXPECT_EQ(dialogue.compared[0].end, seg(each.compared.second));
    EXPECT_EQ(dialogue.compared[0].segment_size, kSize);
    EXPECT_EQ(dialogue.compared[0].system_identifier, 7U);
  }
}

/// --local-retention may have removed the WAL before a switchpoint.
TEST(SessionState, ReportsThatTheWalBeforeASwitchpointCannotBeCompared) {
  struct Case {
    const char* name;
    double end;
    int warnings;
  };
  for (const auto& each : {Case{"past the switchpoint", 7, 1}, Case{"before it", 5, 0}}) {
    SCOPED_TRACE(each.name);
    Dialogue dialogue;
    dialogue.archive_ends_at(1, seg(each.end));
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = kHistory2;
    dialogue.tail = {};
    for (int i = 0; i < 2; ++i) {
      static_cast<void>(dialogue.until<step::Stream>());
      dialogue.stream_fails(kLost, {}, seg(5), true);
    }
    EXPECT_EQ(dialogue.compared.size(), 2U);
    EXPECT_EQ(dialogue.log.count("no valid WAL before that position"), each.warnings);
  }
}

TEST(SessionState, ComparesTheEndOfTheArchiveOncePerConnection) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(5));
  dialogue.identity.timeline = 2;
  dialogue.server_histories[2] = kHistory2;
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.timeline_ends(2, seg(5.5));
  dialogue.archive_ends_at(1, seg(5));
  EXPECT_EQ(dialogue.steps(), "identify archive store-history stream");
  dialogue.stream_fails(kLost, {}, seg(5.5), true);
  dialogue.archive_ends_at(2, seg(6));
  EXPECT_EQ(dialogue.steps(),
            "disconnect wait connect identify parameters fetch-history archive compare-tail "
            "stream");
}

TEST(SessionState, ComparesNothingBehindAHoleThatWasAccepted) {
  Options options;
  options.on_gap = OnGap::go_on;
  Dialogue dialogue(options);
  dialogue.archive_ends_at(1, seg(3));
  dialogue.oldest_held = seg(5);
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.compared.size(), 1U);
  dialogue.stream_fails(kRemoved, "58P01", seg(3));
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(5));
  EXPECT_EQ(dialogue.compared.size(), 1U);
}

TEST(SessionState, RefusesAServerThatHasOtherWalWhereTheArchiveEnds) {
  Dialogue dialogue;
  dialogue.archive_ends_at(2, seg(9));
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(9.5);
  dialogue.server_histories[3] = kHistory3;
  dialogue.tail = {.how = TailComparison::How::differs,
                   .file = "000000010000000000000006",
                   .at = seg(6.9),
                   .archive = "01 02",
                   .server = "03 04"};
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::conflict);
  for (const auto* part : {"0/6E6666", "000000010000000000000006", "01 02", "03 04"})
    EXPECT_NE(std::string(stop.error->what()).find(part), std::string::npos) << stop.error->what();
  EXPECT_NE(stop.error->hint().find("split brain"), std::string::npos);
  // Damage on the way would look the same: it was asked for twice, and not on another connection.
  EXPECT_EQ(dialogue.compared.size(), 2U);
  EXPECT_EQ(dialogue.connects, 1);
  // Of such a server no history is stored.
  EXPECT_FALSE(dialogue.archive.histories.contains(3));
}

TEST(SessionState, ForgivesADifferenceThatDoesNotComeTwice) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = {.how = TailComparison::How::differs, .file = "f", .at = seg(6.9)};
  const auto compare = dialogue.until<step::CompareTail>();
  dialogue.answer(compare);
  dialogue.tail.how = TailComparison::How::same;
  EXPECT_EQ(dialogue.steps(), "compare-tail stream");
}

/// Bits that fall over on the way may hit one byte twice: seeds 208830 and 750116 of eb9f749.
TEST(SessionState, ForgivesTwoDifferencesAtOnePlaceThatAreNotTheSame) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = {.how = TailComparison::How::differs,
                   .file = "f",
                   .at = seg(6.9),
                   .archive = "01 02",
                   .server = "03 02"};
  dialogue.answer(dialogue.until<step::CompareTail>());
  dialogue.tail.server = "05 02";
  dialogue.answer(dialogue.until<step::CompareTail>());
  dialogue.tail.how = TailComparison::How::same;
  EXPECT_EQ(dialogue.steps(), "compare-tail stream");
}

TEST(SessionState, GoesToTheNextHostWhereOneHasOtherWal) {
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = {.how = TailComparison::How::differs, .file = "f", .at = seg(6.9)};
  static_cast<void>(dialogue.until<step::Disconnect>());
  dialogue.tail.how = TailComparison::How::same;
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.connected_to, 1);
}

/// The server has removed the segment before the archive's end.
const TailComparison kEndRemoved{.how = TailComparison::How::not_there,
                                 .file = "000000010000000000000006",
                                 .at = seg(6.9),
                                 .archive = {},
                                 .server = "has already been removed"};

TEST(SessionState, RefusesAServerOfWhichNothingShowsThatItContinuesTheArchive) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7)}};  // nothing in it to be compared
  dialogue.tail = kEndRemoved;
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::conflict);
  for (const auto* part : {"0/700000", "000000010000000000000006", "has already been removed"})
    EXPECT_NE(std::string(stop.error->what()).find(part), std::string::npos) << stop.error->what();
  EXPECT_NE(stop.error->hint().find("--on-uncompared continue"), std::string::npos);
  // Without that it is a gap; and a promotion may have come between.
  EXPECT_EQ(dialogue.probes, (std::vector<Lsn>{seg(7), seg(7)}));
}

TEST(SessionState, ConnectsAgainBeforeItRefusesAServerThatMayHaveBeenPromotedMeanwhile) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7)}};
  dialogue.tail = kEndRemoved;
  static_cast<void>(dialogue.until<step::Disconnect>());
  dialogue.tail.how = TailComparison::How::same;
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
}

TEST(SessionState, TellsAGapWhereWhatComesNextIsGoneWithTheEndOfTheArchive) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(4));
  dialogue.tail = kEndRemoved;
  dialogue.oldest_held = seg(6);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(4));
  dialogue.stream_fails(kRemoved, "58P01", seg(4));
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::gap);
}

TEST(SessionState, GoesToTheHostThatHasTheEndOfTheArchive) {
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = kEndRemoved;
  static_cast<void>(dialogue.until<step::Disconnect>());
  dialogue.tail.how = TailComparison::How::same;
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.connected_to, 1);
}

TEST(SessionState, SaysNothingWhereTheUnfinishedSegmentIsCompared) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.2)}};
  dialogue.tail = kEndRemoved;
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
  EXPECT_EQ(dialogue.log.count("warning"), 0);
  EXPECT_TRUE(dialogue.probes.empty());
}

TEST(SessionState, TrustsASlotThatStandsWhereTheArchiveEnds) {
  for (const auto restart : {seg(7), seg(7.1)}) {
    Dialogue dialogue(with_slot());
    dialogue.archive_ends_at(1, seg(7));
    dialogue.tail = kEndRemoved;
    dialogue.slot.restart_lsn = restart;
    if (restart == seg(7)) {
      EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
      EXPECT_EQ(dialogue.log.count("is at the end of the archive"), 1);
    } else {
      EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::conflict) << "somebody made it there";
    }
  }
}

TEST(SessionState, TrustsASlotInTheRecordWithWhichTheArchiveEnds) {
  // The last record began in the segment before, which the server has removed, and ends in the
  // partial one, or none is complete there: there is no record that could be compared.
  for (const auto restart : {seg(7), seg(7.1), seg(7.2), seg(7.3), seg(6.9)}) {
    SCOPED_TRACE(restart.to_string());
    Dialogue dialogue(with_slot());
    dialogue.archive_ends_at(1, seg(7));
    dialogue.archive.resume->open = {{seg(7), seg(7), seg(7)}};
    dialogue.archive.resume->sound_end = seg(7.1);
    dialogue.archive.resume->unbroken_end = seg(7.2);
    dialogue.tail = kEndRemoved;
    dialogue.slot.restart_lsn = restart;
    if (seg(7) <= restart && restart <= seg(7.2)) {
      EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
      EXPECT_EQ(dialogue.log.count("is at the end of the archive"), 1);
    } else {
      EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::conflict) << "somebody else moved it";
    }
  }
}

TEST(SessionState, FollowsAServerThatNoLongerHasTheEndOfTheArchiveIfToldToWithOneWarning) {
  Options options;
  options.on_uncompared = OnUncompared::go_on;
  Dialogue dialogue(options);
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = kEndRemoved;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
    dialogue.stream_fails(kLost, {}, seg(7.1), true);
  }
  EXPECT_EQ(dialogue.compared.size(), 3U);
  EXPECT_EQ(dialogue.log.count("cannot be compared"), 1);
}

TEST(SessionState, EndsWithTheFirstFailureIfItIsNotToLoop) {
  Options options;
  options.loop = false;
  Dialogue dialogue(options);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kLost);
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::retry);
  EXPECT_TRUE(dialogue.waits.empty());
}

TEST(SessionState, WaitsLongerAndLongerButNotForEver) {
  Dialogue dialogue;
  for (int attempt = 0; attempt < 50; ++attempt) {
    ASSERT_EQ(Dialogue::name(dialogue.state.next()), "connect");
    dialogue.state.failed(kLost, dialogue.now);
    const auto wait = dialogue.until<step::Wait>();
    dialogue.answer(wait);
  }
  EXPECT_LE(dialogue.waits.front(), 200ms);
  for (const auto wait : dialogue.waits) {
    EXPECT_GE(wait, 100ms);
    EXPECT_LE(wait, 5s) << "after an outage commits may wait for the archive";
  }
  EXPECT_GE(dialogue.waits.back(), 2500ms);
}

TEST(SessionState, TriesSoonAgainAfterAServerThatSentSomething) {
  Dialogue dialogue;
  for (int attempt = 0; attempt < 10; ++attempt) {
    static_cast<void>(dialogue.until<step::Connect>());
    dialogue.state.failed(kLost, dialogue.now);
    dialogue.answer(dialogue.until<step::Wait>());
  }
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.waits.clear();
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Stream>());
  ASSERT_EQ(dialogue.waits.size(), 1U);
  EXPECT_LE(dialogue.waits[0], 200ms);
}

TEST(SessionState, GivesUpAtOnceWhereAFirstAttemptIsRefused) {
  Dialogue dialogue;
  static_cast<void>(dialogue.until<step::Connect>());
  dialogue.state.failed(
      Error(ErrorKind::refused, "password authentication failed").with_sqlstate("28P01"),
      dialogue.now);
  EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::refused);
}

TEST(SessionState, KeepsTryingAServerThatTookItBefore) {
  Dialogue dialogue;
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kLost, {}, seg(7), true);
  for (int attempt = 0; attempt < 3; ++attempt) {
    static_cast<void>(dialogue.until<step::Connect>());
    dialogue.state.failed(Error(ErrorKind::refused, "no pg_hba.conf entry").with_sqlstate("28000"),
                          dialogue.now);
  }
  static_cast<void>(dialogue.until<step::Stream>());
}

TEST(SessionState, RefusesSlotsThatWillNotDo) {
  struct Case {
    const char* name;
    pq::SlotState slot;
    const char* text;
  };
  const Case cases[] = {
      {"missing",
       {.exists = false, .type = {}, .restart_lsn = {}, .restart_timeline = {}},
       "does not exist"},
      {"logical",
       {.exists = true, .type = "logical", .restart_lsn = {}, .restart_timeline = {}},
       "is not physical"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    Dialogue dialogue(with_slot());
    dialogue.slot = each.slot;
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), ErrorKind::refused);
    EXPECT_NE(std::string(stop.error->what()).find(each.text), std::string::npos);
    EXPECT_FALSE(stop.error->hint().empty());
  }
}

/// The stock program's --create-slot creates the slot, and ends.
TEST(SessionState, TellsHowAMissingSlotIsCreated) {
  for (const bool stock : {false, true}) {
    SCOPED_TRACE(stock);
    auto options = with_slot();
    options.stock_habits = stock;
    options.loop = false;
    Dialogue dialogue(options);
    dialogue.slot.exists = false;
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->hint().find("which only creates the slot") != std::string::npos, stock);
    EXPECT_EQ(stop.error->hint().find("pgweir slot create") != std::string::npos, !stock);
  }
}

TEST(SessionState, WarnsOnceOfASlotThatReservesNothing) {
  Dialogue dialogue(with_slot());
  dialogue.slot.restart_lsn.reset();
  for (int i = 0; i < 3; ++i) {
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7), true);
  }
  EXPECT_EQ(dialogue.log.count("reserves no WAL"), 1);
  EXPECT_EQ(dialogue.log.count("ready"), 0);
}

/// pg_receivewal --create-slot makes such a slot, which is no trouble of the next run.
TEST(SessionState, DoesNotWarnOfASlotAsTheStockProgramMakesIt) {
  auto options = with_slot();
  options.stock_habits = true;
  Dialogue first(options);
  first.slot.restart_lsn.reset();
  static_cast<void>(first.until<step::Stream>());
  EXPECT_EQ(first.log.count("reserves no WAL"), 0);

  Dialogue later(options);
  later.archive_ends_at(1, seg(7));
  later.slot.restart_lsn.reset();
  static_cast<void>(later.until<step::Stream>());
  EXPECT_EQ(later.log.count("reserves no WAL"), 1) << "it was invalidated, or made anew";
}

TEST(SessionState, SaysReadyOnceTheSlotReservesWal) {
  Dialogue dialogue(with_slot());
  dialogue.slot.restart_lsn.reset();
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.log.count("ready"), 0);
  dialogue.slot.restart_lsn = seg(7.25);
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.log.count("ready"), 1);
}

/// Before PostgreSQL 18, the first status report gives an invalidated slot a position again.
TEST(SessionState, DoesNotTakeAnInvalidatedSlotForReadyWhereItHasAPositionAgain) {
  for (const int major : {17, 18}) {
    SCOPED_TRACE(major);
    Dialogue dialogue(with_slot());
    dialogue.hosts[0].major = major;
    dialogue.archive_ends_at(1, seg(7));
    dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.2)}};
    dialogue.archive.resume->sound_end = seg(7.2);
    dialogue.slot.restart_lsn.reset();
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7), true);
    EXPECT_EQ(dialogue.log.count("reserves no WAL"), 1);
    dialogue.slot.restart_lsn = seg(7.1);
    dialogue.identity.flush_position = seg(100.5);
    dialogue.oldest_held = seg(30);
    static_cast<void>(dialogue.until<step::Stream>());
    EXPECT_EQ(dialogue.log.count("ready"), major == 17 ? 0 : 1);
    dialogue.stream_fails(kRemoved, "58P01", seg(7));
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    const auto* text = major == 17 ? "did not retain it: the server has invalidated the slot"
                                   : "retains WAL from 0/719999 on, but";
    EXPECT_NE(stop.error->hint().find(text), std::string::npos) << stop.error->hint();
  }
}

TEST(SessionState, SaysReadyOnceALostSlotWasCreatedAgain) {
  auto options = with_slot();
  options.create_slot = true;
  options.if_not_exists = true;
  Dialogue dialogue(options);
  dialogue.hosts[0].major = 17;
  dialogue.archive_ends_at(1, seg(7));
  dialogue.slot.restart_lsn.reset();
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kLost, {}, seg(7), true);
  dialogue.slot_made = false;  // dropped meanwhile
  dialogue.slot.restart_lsn = seg(7.25);
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_EQ(dialogue.log.count("ready"), 1);
}

/// What the store has may end before the archive does: and the slot must not go back to it.
TEST(SessionState, RemembersASlotBehindTheStreamsStartWhereTheStoreIsWaitedFor) {
  for (const auto confirm : {Confirm::local, Confirm::stored}) {
    auto options = with_slot();
    options.confirm = confirm;
    Dialogue dialogue(options);
    dialogue.archive_ends_at(1, seg(7));
    const auto stream = dialogue.until<step::Stream>();
    EXPECT_EQ(stream.start, seg(7));
    EXPECT_EQ(stream.slot_position, confirm == Confirm::stored ? seg(4.5) : Lsn());
  }
}

TEST(SessionState, CreatesTheSlotOnceAndTakesAnOldOneOnlyIfAsked) {
  auto options = with_slot();
  options.create_slot = true;
  {
    Dialogue dialogue(options);
    dialogue.slot_is_new = false;
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_NE(std::string(stop.error->what()).find("already exists"), std::string::npos);
  }
  options.if_not_exists = true;
  Dialogue dialogue(options);
  dialogue.slot_is_new = false;
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kLost, {}, seg(7), true);
  EXPECT_EQ(dialogue.steps(),
            "disconnect wait connect identify parameters archive read-slot stream");
}

TEST(SessionState, TriesASlotInUseAgainSoonUntilItsOwnerTimesOut) {
  const Error busy(ErrorKind::retry, "replication slot \"weir\" is active for PID 4711");
  for (const bool loop : {true, false}) {
    SCOPED_TRACE(loop);
    auto options = with_slot();
    options.loop = loop;
    Dialogue dialogue(options);
    const auto begin = dialogue.now;
    bool stopped = false;
    for (int attempt = 0; attempt < 200 && !stopped; ++attempt) {
      for (;;) {
        const auto step = dialogue.state.next();
        stopped = std::holds_alternative<step::Stop>(step);
        if (stopped || std::holds_alternative<step::Stream>(step)) break;
        dialogue.answer(step);
      }
      if (!stopped) dialogue.stream_fails(busy, "55006");
    }
    EXPECT_EQ(stopped, !loop);
    for (const auto wait : dialogue.waits) EXPECT_LE(wait, 2s);
    if (!loop) {
      EXPECT_GT(dialogue.now - begin, 60s) << "wal_sender_timeout has to pass";
      EXPECT_LT(dialogue.now - begin, 70s);
    }
  }
}

TEST(SessionState, GoesToTheNextHostWhenOneHasNoSlot) {
  // Slots are not copied to standbys, so a failover may lead to a server without ours.
  Dialogue dialogue(with_slot());
  dialogue.hosts = {{.name = "standby", .major = 18, .standby = true},
                    {.name = "primary", .major = 18, .standby = false}};
  dialogue.slot.exists = false;
  dialogue.until<step::Disconnect>();
  dialogue.slot.exists = true;
  dialogue.until<step::Stream>();
  EXPECT_EQ(dialogue.connected_to, 1);
}

TEST(SessionState, MakesTheSlotOnEachHostItComesTo) {
  auto options = with_slot();
  options.create_slot = true;
  Dialogue dialogue(options);
  dialogue.hosts = {{.name = "one", .major = 18, .standby = false},
                    {.name = "two", .major = 18, .standby = true}};
  dialogue.slot_made = false;
  EXPECT_EQ(dialogue.steps(),
            "connect identify parameters archive read-slot create-slot read-slot stream");
  dialogue.hosts[0].host_index = 1;  // what answers now is the second host
  dialogue.stream_fails(kLost, {}, seg(7), true);
  std::swap(dialogue.hosts[0], dialogue.hosts[1]);
  dialogue.until<step::Wait>();
  dialogue.state.on_waited();
  dialogue.until<step::Connect>();
  dialogue.state.on_connected({.name = "two", .host_index = 1, .host_count = 2, .major = 18});
  // Made by hand before the failover: no reason to stop.
  EXPECT_EQ(dialogue.steps(), "identify parameters archive read-slot stream");
}

TEST(SessionState, MakesNoSlotOnAServerThatItRefuses) {
  auto options = with_slot();
  options.create_slot = true;
  {
    SCOPED_TRACE("another cluster");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    static_cast<void>(dialogue.until<step::InspectArchive>());
    dialogue.state.failed(Error(ErrorKind::conflict, "another cluster"), dialogue.now);
    EXPECT_EQ(dialogue.steps(), "stop");
  }
  {
    SCOPED_TRACE("the old primary");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    dialogue.archive_ends_at(2, seg(6));
    EXPECT_EQ(dialogue.steps(), "connect identify parameters archive read-slot stop");
  }
  {
    SCOPED_TRACE("a primary that was set back");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    dialogue.archive_ends_at(1, seg(60));
    EXPECT_EQ(dialogue.steps(), "connect identify parameters archive read-slot stop");
  }
  {
    SCOPED_TRACE("a server that is still behind");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    dialogue.archive_ends_at(1, seg(60));
    dialogue.hosts[0].standby = true;
    static_cast<void>(dialogue.until<step::Wait>());
    dialogue.identity.flush_position = seg(61);
    EXPECT_EQ(dialogue.steps(), "wait identify compare-tail create-slot read-slot stream");
  }
  {
    SCOPED_TRACE("the next host is the right one");
    Dialogue dialogue(options);
    dialogue.hosts = {{.name = "one", .major = 18, .standby = false},
                      {.name = "two", .major = 18, .standby = false}};
    dialogue.slot_made = false;
    static_cast<void>(dialogue.until<step::InspectArchive>());
    dialogue.state.failed(Error(ErrorKind::refused, "of no use"), dialogue.now);
    EXPECT_EQ(dialogue.steps(),
              "disconnect connect identify parameters archive read-slot create-slot read-slot "
              "stream");
    EXPECT_EQ(dialogue.connected_to, 1);
  }
}

TEST(SessionState, TakesBackTheSlotThatItMadeOnAServerItRefusesAfterAll) {
  auto options = with_slot();
  options.create_slot = true;
  const auto begun = [](Dialogue& dialogue) {
    dialogue.slot_made = false;
    dialogue.archive_ends_at(1, seg(6));
    static_cast<void>(dialogue.until<step::Stream>());
  };
  {
    SCOPED_TRACE("it has removed the WAL that comes next");
    Dialogue dialogue(options);
    begun(dialogue);
    dialogue.stream_fails(kRemoved, "58P01", seg(6), true);
    EXPECT_EQ(dialogue.steps(), "archive read-oldest drop-slot stop");
    EXPECT_EQ(dialogue.log.count("dropped replication slot"), 1);
  }
  {
    SCOPED_TRACE("the hole is accepted");
    auto accepted = options;
    accepted.on_gap = OnGap::go_on;
    Dialogue dialogue(accepted);
    begun(dialogue);
    dialogue.identity.flush_position = seg(9.5);
    dialogue.stream_fails(kRemoved, "58P01", seg(6), true);
    EXPECT_EQ(dialogue.steps(), "archive record-loss stream");
    EXPECT_THAT(dialogue.drops, ::testing::IsEmpty());
  }
  {
    SCOPED_TRACE("its WAL is not that of the archive");
    Dialogue dialogue(options);
    begun(dialogue);
    dialogue.stream_fails(Error(ErrorKind::conflict, "WAL differs"), {}, seg(7), true);
    EXPECT_EQ(dialogue.steps(), "drop-slot stop");
  }
  {
    SCOPED_TRACE("the archive's disk, when WAL had come");
    Dialogue dialogue(options);
    begun(dialogue);
    dialogue.stream_fails(Error(ErrorKind::io, "input/output error"), {}, seg(7), true);
    EXPECT_EQ(dialogue.steps(), "stop");
  }
  {
    SCOPED_TRACE("made by an earlier start");
    auto tolerant = options;
    tolerant.if_not_exists = true;
    Dialogue dialogue(tolerant);
    dialogue.archive_ends_at(1, seg(6));
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(Error(ErrorKind::conflict, "WAL differs"), {}, seg(7), true);
    EXPECT_EQ(dialogue.steps(), "stop");
  }
  {
    SCOPED_TRACE("what is asked for lies before everything that there will be");
    auto early = options;
    early.endpos = seg(3);
    Dialogue dialogue(early);
    dialogue.slot_made = false;
    EXPECT_EQ(dialogue.steps(),
              "connect identify parameters archive read-slot create-slot read-slot drop-slot stop");
  }
  {
    SCOPED_TRACE("…or in what the new slot reserves");
    auto early = options;
    early.endpos = seg(5);
    Dialogue dialogue(early);
    dialogue.slot_made = false;
    EXPECT_EQ(dialogue.until<step::Stream>().start, seg(4));
  }
}

TEST(SessionState, NamesTheSlotThatItCouldNotTakeBack) {
  auto options = with_slot();
  options.create_slot = true;
  const auto named = "pg_drop_replication_slot('weir')";
  {
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    dialogue.drop_fails = true;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(Error(ErrorKind::conflict, "WAL differs"), {}, seg(7), true);
    EXPECT_EQ(dialogue.steps(), "drop-slot stop");
    EXPECT_EQ(dialogue.log.count(named), 1);
  }
  {
    SCOPED_TRACE("the connection is lost before anything came through it");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7), false);
    static_cast<void>(dialogue.until<step::InspectArchive>());
    dialogue.state.failed(Error(ErrorKind::conflict, "another cluster"), dialogue.now);
    EXPECT_EQ(dialogue.steps(), "stop") << "there it may be somebody else's";
    EXPECT_EQ(dialogue.log.count(named), 1);
  }
  {
    SCOPED_TRACE("it was used then");
    Dialogue dialogue(options);
    dialogue.slot_made = false;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7), false);
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(Error(ErrorKind::io, "input/output error"), {}, seg(8), true);
    EXPECT_EQ(dialogue.steps(), "stop");
    EXPECT_EQ(dialogue.log.count(named), 0);
  }
}

TEST(SessionState, TellsTheSameFailureInFullOnce) {
  Dialogue dialogue;
  const auto down =
      Error(ErrorKind::retry, "connection refused").with("server", "db1").hint("Start it.");
  for (int i = 0; i < 4; ++i) {
    static_cast<void>(dialogue.until<step::Connect>());
    dialogue.state.failed(down, dialogue.now);
  }
  EXPECT_EQ(dialogue.log.count("hint: Start it."), 1);
  EXPECT_EQ(dialogue.log.count("db1"), 1);
  EXPECT_EQ(dialogue.log.count("connection refused, as before"), 3);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Connect>());
  dialogue.state.failed(down, dialogue.now);
  EXPECT_EQ(dialogue.log.count("hint: Start it."), 2) << "another time";
}

TEST(SessionState, TellsOfAServerThatStaysAwayNowAndThen) {
  Dialogue dialogue;
  for (int attempt = 0; attempt < 331; ++attempt) {
    ASSERT_EQ(Dialogue::name(dialogue.state.next()), "connect");
    dialogue.state.failed(kLost, dialogue.now);
    dialogue.answer(dialogue.until<step::Wait>());
  }
  EXPECT_EQ(std::count_if(dialogue.log.lines.begin(), dialogue.log.lines.end(),
                          [](const auto& line) { return line.starts_with("warning"); }),
            31 + 10)
      << "each attempt at first, then every thirtieth";
}

TEST(SessionState, NamesTheSettingBehindAnInvalidatedSlot) {
  for (const int major : {14, 17, 18}) {
    SCOPED_TRACE(major);
    Dialogue dialogue(with_slot());
    dialogue.hosts[0].major = major;
    dialogue.slot.restart_lsn.reset();
    dialogue.archive_ends_at(1, seg(6));
    dialogue.oldest_held = seg(7);
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kRemoved, "58P01", seg(6), true);
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_THAT(stop.error->hint(), ::testing::HasSubstr("max_slot_wal_keep_size"));
    EXPECT_EQ(stop.error->hint().find("idle_replication_slot_timeout") != std::string::npos,
              major == 18);
    EXPECT_THAT(stop.error->hint(), ::testing::Not(::testing::HasSubstr("(--slot) keeps this")));
  }
}

TEST(SessionState, MakesASlotAgainThatIsGoneButAsksOnlyOnce) {
  auto options = with_slot();
  options.create_slot = true;
  Dialogue dialogue(options);
  dialogue.slot_made = false;
  dialogue.until<step::Stream>();
  dialogue.stream_fails(kLost, {}, seg(7), true);
  dialogue.slot_made.reset();
  dialogue.slot.exists = false;
  dialogue.until<step::CreateSlot>();
  EXPECT_EQ(dialogue.state.next().index(), Step(step::CreateSlot{}).index());
  dialogue.state.on_slot_created(true);
  const auto stop = dialogue.end();  // the server says "made", and then that there is none
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::refused);
}

TEST(SessionState, GoesToTheNextHostWhenOneRefusesTheStream) {
  Dialogue dialogue;
  dialogue.hosts = {{.name = "one", .major = 18, .standby = false},
                    {.name = "two", .major = 18, .standby = true}};
  dialogue.until<step::Stream>();
  dialogue.stream_fails(Error(ErrorKind::refused, "the slot is invalidated"), "55000");
  dialogue.until<step::Stream>();
  EXPECT_EQ(dialogue.connected_to, 1);
}

TEST(SessionState, WaitsForSpaceForAHistoryUnlessToldToStop) {
  const Error full(ErrorKind::disk_full, "could not write: No space left on device");
  for (const bool wait : {true, false}) {
    SCOPED_TRACE(wait);
    Options options;
    if (!wait) options.on_disk_full = OnDiskFull::stop;
    Dialogue dialogue(options);
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = kHistory2;
    dialogue.until<step::StoreHistory>();
    dialogue.state.failed(full, dialogue.now);
    if (!wait) {
      EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::disk_full);
      continue;
    }
    dialogue.until<step::Wait>();
    dialogue.until<step::StoreHistory>();
    dialogue.state.failed(full, dialogue.now);
    dialogue.until<step::Stream>();
    EXPECT_EQ(dialogue.connects, 1) << "the connection has nothing to do with it";
  }
}

TEST(SessionState, FollowsTimelinesSlowlyIfTheyDoNotEnd) {
  Dialogue dialogue;
  dialogue.until<step::Stream>();
  const auto follow = [&dialogue](wal::TimelineId next) {
    dialogue.timeline_ends(next, seg(7.5));
    dialogue.identity.timeline = next;
    dialogue.server_histories[next] = kHistory2;
    dialogue.until<step::Stream>();
  };
  wal::TimelineId timeline = 1;
  for (int i = 0; i < 64; ++i) follow(++timeline);
  EXPECT_THAT(dialogue.waits, ::testing::IsEmpty());
  for (int i = 0; i < 3; ++i) follow(++timeline);
  EXPECT_THAT(dialogue.waits, ::testing::ElementsAre(10s, 10s, 10s));
  EXPECT_EQ(dialogue.connects, 1);
  dialogue.now += 20min;
  follow(++timeline);
  EXPECT_THAT(dialogue.waits, ::testing::SizeIs(3)) << "that was long ago";
}

TEST(SessionState, AsksAgainForWhatWasDroppedOnTheSameConnection) {
  Dialogue dialogue({.slot = "archive"});
  dialogue.until<step::Stream>();
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::dropped;
  outcome.reached = seg(8.5);
  outcome.heard_anything = true;
  dialogue.state.on_stream_ended(outcome, dialogue.now);
  EXPECT_EQ(dialogue.steps(), "identify archive read-slot stream");
  EXPECT_EQ(dialogue.connects, 1);
}

TEST(SessionState, RefusesATimelineThatEndsBehindWhatWasSent) {
  Dialogue dialogue;
  dialogue.until<step::Stream>();
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::timeline_ended;
  outcome.next = pq::EndOfStream::Next{2, seg(9)};
  outcome.reached = seg(8);
  dialogue.state.on_stream_ended(outcome, dialogue.now);
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::protocol);
}

TEST(SessionState, TriesTheOtherHostsWhenOneIsRefused) {
  Dialogue dialogue;
  dialogue.hosts = {{.name = "old primary", .major = 18, .standby = false},
                    {.name = "new primary", .major = 18, .standby = false}};
  dialogue.server_histories[2] = kHistory2;
  dialogue.archive_ends_at(2, seg(7));
  static_cast<void>(dialogue.until<step::Identify>());
  dialogue.state.on_identified(dialogue.identity);  // timeline 1, a primary: refused
  dialogue.identity.timeline = 2;
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 2U);
  EXPECT_EQ(dialogue.connected_to, 1);
}

TEST(SessionState, LooksAtTheArchiveAnewForEachServer) {
  // Whose WAL it holds is compared with the server's identifier at each look: what was seen with
  // one server says nothing of the next one, which may be of another cluster.
  Dialogue dialogue;
  dialogue.hosts = {{.name = "old primary", .major = 18, .standby = false},
                    {.name = "of another cluster", .major = 18, .standby = false}};
  dialogue.archive_ends_at(2, seg(7));
  dialogue.until<step::InspectArchive>();
  dialogue.until<step::Disconnect>();  // on timeline 1, a primary: refused
  dialogue.identity.system_identifier = 4711;
  EXPECT_EQ(dialogue.until<step::InspectArchive>().system_identifier, 4711U);
  EXPECT_EQ(dialogue.connected_to, 1);
}

TEST(SessionState, StopsWhenEveryHostIsRefused) {
  Dialogue dialogue;
  dialogue.hosts = {{.name = "one", .major = 18, .standby = false},
                    {.name = "two", .major = 18, .standby = false},
                    {.name = "three", .major = 18, .standby = false}};
  dialogue.archive_ends_at(2, seg(7));
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::conflict);
  EXPECT_EQ(dialogue.connects, 3);
}

TEST(SessionState, WaitsForAServerThatIsBehindOnTheSameConnection) {
  Dialogue dialogue;
  dialogue.hosts.front().standby = true;
  dialogue.archive_ends_at(1, seg(9));
  for (int i = 0; i < 20; ++i) dialogue.answer(dialogue.until<step::Wait>());
  EXPECT_EQ(dialogue.connects, 1);
  EXPECT_GE(dialogue.identifies, 20);
  for (const auto wait : dialogue.waits) {
    EXPECT_GE(wait, 250ms);
    EXPECT_LE(wait, 5s);
  }
  EXPECT_EQ(dialogue.log.count("waiting for it"), 1) << "said once, not at each attempt";
  dialogue.identity.flush_position = seg(9.5);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(9));
}

TEST(SessionState, EndsInsteadOfWaitingForAServerBehindIfItIsNotToLoop) {
  Options options;
  options.loop = false;
  Dialogue dialogue(options);
  dialogue.hosts.front().standby = true;
  dialogue.archive_ends_at(1, seg(9));
  EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::retry);
}

TEST(SessionState, FollowsTheNextTimelineOnTheSameConnection) {
  Dialogue dialogue;
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.identity.timeline = 2;
  dialogue.identity.flush_position = seg(8.5);
  dialogue.server_histories[2] = "1\t0/7A0000\tno recovery target specified\n";
  dialogue.archive_ends_at(1, seg(7));
  dialogue.timeline_ends(2, Lsn(0x7A0000));
  EXPECT_EQ(dialogue.steps(), "identify fetch-history archive store-history stream");
  const auto stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.timeline, 2U);
  EXPECT_EQ(stream.start, seg(7)) << "the segment with the switchpoint, under its new name";
  EXPECT_EQ(dialogue.connects, 1);
  EXPECT_TRUE(dialogue.archive.histories.contains(2));
}

TEST(SessionState, FollowsSeveralTimelinesOneAfterTheOther) {
  Dialogue dialogue;
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12);
  dialogue.server_histories[2] = kHistory2;
  dialogue.server_histories[3] = kHistory3;
  dialogue.archive_ends_at(1, seg(4));
  auto stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.timeline, 1U);
  EXPECT_EQ(stream.start, seg(4));
  dialogue.timeline_ends(2, seg(5.5));
  stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.timeline, 2U);
  EXPECT_EQ(stream.start, seg(5));
  EXPECT_TRUE(dialogue.archive.histories.contains(2)) << "stored before the timeline is begun";
  EXPECT_FALSE(dialogue.archive.histories.contains(3));
  dialogue.archive_ends_at(2, seg(8));
  dialogue.timeline_ends(3, seg(8.5));
  stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.timeline, 3U);
  EXPECT_EQ(stream.start, seg(8));
  EXPECT_TRUE(dialogue.archive.histories.contains(3));
}

TEST(SessionState, StoresTheHistoriesOfAncestorsThatTheArchiveLacks) {
  Dialogue dialogue;
  dialogue.identity.timeline = 4;
  dialogue.identity.flush_position = seg(12.5);
  // The server was made from a base backup of timeline 4: it has no other file.
  dialogue.server_histories[4] = std::string(kHistory3) + "3\t0/980000\tx\n";
  std::vector<wal::TimelineId> stored;
  for (int i = 0; i < 3; ++i) {
    const auto store = dialogue.until<step::StoreHistory>();
    stored.push_back(store.timeline);
    dialogue.answer(store);
  }
  EXPECT_THAT(stored, ::testing::ElementsAre(2U, 3U, 4U));
  EXPECT_EQ(dialogue.steps(), "stream");
  EXPECT_EQ(dialogue.archive.histories[2], kHistory2);
  EXPECT_EQ(dialogue.archive.histories[3], kHistory3);
  EXPECT_FALSE(dialogue.archive.histories.contains(1));
  EXPECT_THAT(dialogue.fetched, ::testing::ElementsAre(4U));
  // What is there is not stored again on the next connection.
  dialogue.archive_ends_at(4, seg(12));
  dialogue.stream_fails(kLost, {}, seg(12.5), true);
  EXPECT_EQ(dialogue.steps(),
            "disconnect wait connect identify parameters fetch-history archive compare-tail "
            "stream");

  // After a restart, the server's own file is compared. If it was killed before, the others follow.
  for (const wal::TimelineId lost : {0U, 2U, 3U, 4U}) {
    SCOPED_TRACE(lost);
    Dialogue restarted;
    restarted.identity = dialogue.identity;
    restarted.server_histories = dialogue.server_histories;
    restarted.archive = dialogue.archive;
    restarted.archive.histories.erase(lost);
    const std::string both = lost == 2 || lost == 3 ? "store-history " : "";
    EXPECT_EQ(restarted.steps(), "connect identify parameters fetch-history archive compare-tail " +
                                     both + "store-history stream");
    EXPECT_EQ(restarted.archive.histories, dialogue.archive.histories);
  }
}

TEST(SessionState, StoresTheHistoriesOfTimelinesThatTheServerKnowsAndDidNotFollow) {
  // A standby rejected timelines 2 and 3, and was promoted to timeline 4: a recovery to the newest
  // timeline does not find 4 without the files of 2 and 3.
  const std::string history4 = "1\t0/980000\tx\n";
  const std::string rejected = "1\t0/780000\ty\n";
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 4;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[4] = history4;
  dialogue.server_histories[2] = rejected;
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  dialogue.timeline_ends(4, seg(9.5));
  std::vector<wal::TimelineId> stored;
  for (int i = 0; i < 2; ++i) {
    const auto store = dialogue.until<step::StoreHistory>();
    stored.push_back(store.timeline);
    dialogue.answer(store);
  }
  EXPECT_THAT(stored, ::testing::ElementsAre(4U, 2U))
      << "2 alone would be the newest: a recovery would follow it";
  EXPECT_EQ(dialogue.archive.histories[2], rejected);
  EXPECT_EQ(dialogue.steps(), "fetch-history stream");
  EXPECT_THAT(dialogue.fetched, ::testing::Contains(3U).Times(1));
  // What the server does not have is not requested on each connection.
  dialogue.archive_ends_at(4, seg(12));
  dialogue.stream_fails(kLost, {}, seg(12.5), true);
  EXPECT_EQ(dialogue.steps(),
            "disconnect wait connect identify parameters fetch-history archive compare-tail "
            "stream");

  // A file that cannot be read is as good as none.
  Dialogue spoiled;
  spoiled.archive_ends_at(1, seg(9));
  spoiled.identity = dialogue.identity;
  spoiled.server_histories[4] = history4;
  spoiled.server_histories[2] = "2";
  EXPECT_EQ(spoiled.until<step::Stream>().timeline, 1U);
  spoiled.timeline_ends(4, seg(9.5));
  EXPECT_EQ(spoiled.until<step::StoreHistory>().timeline, 4U);

  // An archive that begins on this timeline needs none of them.
  Dialogue fresh;
  fresh.identity = dialogue.identity;
  fresh.server_histories = dialogue.server_histories;
  EXPECT_EQ(fresh.until<step::StoreHistory>().timeline, 4U);
  EXPECT_THAT(fresh.fetched, ::testing::ElementsAre(4U));
}

TEST(SessionState, ASkippedTimelineMayBeThatOfTheNextServer) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[3] = "1\t0/980000\tx\n";
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  dialogue.timeline_ends(3, seg(9.5));
  EXPECT_EQ(dialogue.until<step::FetchHistory>().timeline, 2U);
  dialogue.state.failed(kLost, dialogue.now);
  // Somebody has removed the file in pg_wal.
  dialogue.identity.timeline = 2;
  dialogue.server_histories.clear();
  dialogue.fetched.clear();
  static_cast<void>(dialogue.until<step::InspectArchive>());
  EXPECT_THAT(dialogue.fetched, ::testing::ElementsAre(2U)) << "not again and again";
}

TEST(SessionState, TheHistoryOfASkippedTimelineNeedNotBeReadable) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[3] = "1\t0/980000\tx\n";
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  EXPECT_TRUE(dialogue.state.lacks_history(3, "58P01"));
  EXPECT_FALSE(dialogue.state.lacks_history(3, "42501")) << "that one is needed";
  dialogue.timeline_ends(3, seg(9.5));
  EXPECT_EQ(dialogue.until<step::FetchHistory>().timeline, 2U);
  // Such as a file that was copied into pg_wal by root.
  for (const char* const unreadable : {"58P01", "42501", "58030"})
    EXPECT_TRUE(dialogue.state.lacks_history(2, unreadable)) << unreadable;
  EXPECT_FALSE(dialogue.state.lacks_history(2, "57P01")) << "the server shuts down";
  dialogue.state.on_history_absent(2, "could not open file: Permission denied");
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 3U);
}

TEST(SessionState, StoresTheHistoriesOfASkippedTimelinesAncestors) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 4;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[4] = "1\t0/980000\tx\n";
  // The server lacks 00000002.history, which was removed from its pg_wal.
  dialogue.server_histories[3] = "1\t0/780000\ty\n2\t0/880000\tz\n";
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  dialogue.timeline_ends(4, seg(9.5));
  std::vector<wal::TimelineId> stored;
  for (int i = 0; i < 3; ++i) {
    const auto store = dialogue.until<step::StoreHistory>();
    stored.push_back(store.timeline);
    dialogue.answer(store);
  }
  EXPECT_THAT(stored, ::testing::ElementsAre(4U, 2U, 3U));
  EXPECT_EQ(dialogue.archive.histories[2], "1\t0/780000\ty\n");
}

TEST(SessionState, AsksEachHostForTheHistoryOfASkippedTimeline) {
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[3] = "1\t0/980000\tx\n";
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  dialogue.timeline_ends(3, seg(9.5));
  // A standby that was made from a base backup of timeline 3: it has no file of timeline 2.
  const auto own = dialogue.until<step::StoreHistory>();
  EXPECT_EQ(own.timeline, 3U);
  dialogue.answer(own);
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 3U);
  // The primary has it.
  dialogue.archive_ends_at(3, seg(12));
  dialogue.dead.insert(0);
  dialogue.server_histories[2] = "1\t0/780000\ty\n";
  dialogue.stream_fails(kLost, {}, seg(12.5), true);
  EXPECT_EQ(dialogue.until<step::StoreHistory>().timeline, 2U);
}

TEST(SessionState, AsksTheServerOfTheNextTimelineForTheHistoryOfASkippedOne) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(9));
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.server_histories[3] = "1\t0/980000\tx\n";
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 1U);
  dialogue.timeline_ends(3, seg(9.5));
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 3U);
  dialogue.archive_ends_at(3, seg(12));
  dialogue.fetched.clear();
  dialogue.stream_fails(kLost, {}, seg(12.5), true);
  EXPECT_EQ(dialogue.until<step::Stream>().timeline, 3U);
  EXPECT_THAT(dialogue.fetched, ::testing::ElementsAre(3U)) << "its log has an error for each";
  // Behind the same address, another server was promoted, which has the file.
  dialogue.identity.timeline = 4;
  dialogue.identity.flush_position = seg(14.5);
  dialogue.server_histories[2] = "1\t0/780000\ty\n";
  dialogue.server_histories[4] = "1\t0/980000\tx\n3\t0/D80000\tx\n";
  dialogue.stream_fails(kLost, {}, seg(12.5), true);
  EXPECT_EQ(dialogue.until<step::StoreHistory>().timeline, 2U);
}

TEST(SessionState, TakesTheHistoriesOfAncestorsFromTheArchivesOwnFile) {
  Dialogue dialogue;
  dialogue.identity.timeline = 3;
  dialogue.identity.flush_position = seg(12.5);
  dialogue.archive.histories[3] = kHistory3;
  // Another server was promoted to the same timeline: storing its file will fail.
  dialogue.server_histories[3] = "1\t0/500000\tx\n2\t0/880000\tx\n";
  const auto store = dialogue.until<step::StoreHistory>();
  EXPECT_EQ(store.timeline, 2U);
  EXPECT_EQ(store.content, kHistory2);
  dialogue.answer(store);
  EXPECT_EQ(dialogue.until<step::StoreHistory>().timeline, 3U);

  Dialogue without;  // the server has lost its own
  without.identity = dialogue.identity;
  without.archive_ends_at(3, seg(12));
  without.archive.histories[3] = kHistory3;
  EXPECT_EQ(without.steps(),
            "connect identify parameters fetch-history archive compare-tail store-history stream");
  EXPECT_EQ(without.archive.histories[2], kHistory2);
  Dialogue damaged;  // reported by "status" and "verify"
  damaged.identity = dialogue.identity;
  damaged.archive_ends_at(3, seg(12));
  damaged.archive.histories[3] = "nonsense\n";
  EXPECT_EQ(damaged.steps(),
            "connect identify parameters fetch-history archive compare-tail fetch-history stream");
  EXPECT_THAT(damaged.fetched, ::testing::ElementsAre(3U, 2U));
}

TEST(SessionState, RefusesATimelineThatGoesBack) {
  for (const wal::TimelineId next : {1U, 2U}) {
    SCOPED_TRACE(next);
    Dialogue dialogue;
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = kHistory2;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.timeline_ends(next, seg(7.5));
    EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::protocol);
  }
}

TEST(SessionState, RefusesAHistoryThatCannotBeRead) {
  Dialogue dialogue;
  dialogue.identity.timeline = 2;
  dialogue.server_histories[2] = "<html>\n";
  EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::protocol);
}

TEST(SessionState, FindsTheRangeThatIsMissingAndStops) {
  for (const double held : {8.0, 9.0, 30.0, 63.0, 99.0, 100.0}) {
    SCOPED_TRACE(held);
    Dialogue dialogue;
    dialogue.identity.flush_position = seg(100.5);
    dialogue.archive_ends_at(1, seg(7));
    dialogue.oldest_held = seg(held);
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kRemoved, "58P01", seg(7));
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), ErrorKind::gap);
    const std::string text = stop.error->what();
    EXPECT_NE(text.find("missing from " + seg(7).to_string()), std::string::npos) << text;
    EXPECT_NE(text.find("to " + seg(held).to_string()), std::string::npos) << text;
    EXPECT_NE(stop.error->hint().find("--on-gap continue"), std::string::npos);
    EXPECT_LE(dialogue.probes.size(), 8U) << "a binary search, and the segment itself";
    EXPECT_TRUE(dialogue.state.losses().empty());
  }
}

/// One host name, and a proxy or several addresses behind it.
TEST(SessionState, NamesAResetOfTheServersWal) {
  // A long page header, and a record whose link is in its second eight bytes.
  std::string front(40 + 24, '\0');
  front[2] = 0x02;  // a long header
  front[40] = 114;  // xl_tot_len
  const auto ends_with = [&](const std::string& oldest) {
    Dialogue dialogue;
    dialogue.archive_ends_at(1, seg(7));
    dialogue.identity.flush_position = seg(100.5);
    dialogue.oldest_held = seg(30);
    dialogue.oldest = oldest;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kRemoved, "58P01", seg(7));
    const auto stop = dialogue.end();
    EXPECT_TRUE(stop.error && stop.error->kind() == ErrorKind::gap);
    return stop.error ? std::string(stop.error->what()) + stop.error->hint() : std::string();
  };
  EXPECT_NE(ends_with(front).find("pg_resetwal"), std::string::npos);
  EXPECT_NE(ends_with(front).find("server's WAL starts at 0/1E00000"), std::string::npos);
  auto linked = front;
  linked[48] = 0x28;
  for (const auto& other : {linked, std::string(), std::string(64, '\0')})
    EXPECT_EQ(ends_with(other).find("pg_resetwal"), std::string::npos);
}

TEST(SessionState, TellsOfASlotThatKeepsWhatTheServerLacks) {
  for (const auto restart : {seg(7.1), seg(20)}) {
    Dialogue dialogue(with_slot());
    dialogue.archive_ends_at(1, seg(7));
    dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.2)}};
    dialogue.archive.resume->sound_end = seg(7.2);
    dialogue.identity.flush_position = seg(100.5);
    dialogue.slot.restart_lsn = restart;
    dialogue.oldest_held = seg(30);
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kRemoved, "58P01", seg(7));
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    const auto* text =
        restart == seg(20) ? "advanced by another client" : "retains WAL from 0/719999 on, but";
    EXPECT_NE(stop.error->hint().find(text), std::string::npos) << stop.error->hint();
  }
}

TEST(SessionState, StreamsFromAServerThatHasWhatTheLastOneOfThatNameHadNot) {
  for (const auto on_gap : {OnGap::stop, OnGap::go_on})
    for (const double end : {7.5, 8.5, 100.5}) {  // the segment itself, the next one, many
      SCOPED_TRACE(end);
      Options options;
      options.on_gap = on_gap;
      Dialogue dialogue(options);
      dialogue.identity.flush_position = seg(end);
      dialogue.archive_ends_at(1, seg(7));
      static_cast<void>(dialogue.until<step::Stream>());
      dialogue.stream_fails(kRemoved, "58P01", seg(7));
      EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
      EXPECT_EQ(dialogue.connects, 2);
      EXPECT_THAT(dialogue.probes, ::testing::ElementsAre(seg(7)));
      EXPECT_TRUE(dialogue.state.losses().empty());
      EXPECT_THAT(dialogue.waits, ::testing::IsEmpty());
    }
}

TEST(SessionState, AsksEachServerOfOneNameForTheWalThatIsGoneFromTheLast) {
  Options options;
  options.on_gap = OnGap::go_on;
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(100.5);
  dialogue.archive_ends_at(1, seg(7));
  dialogue.oldest_held = seg(30);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kRemoved, "58P01", seg(7));
  for (int i = 0; i < 3; ++i) dialogue.answer(dialogue.until<step::Probe>());
  dialogue.state.failed(kLost, dialogue.now);
  dialogue.oldest_held = seg(2);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7)) << "the search began on another server";
  EXPECT_TRUE(dialogue.state.losses().empty());
}

TEST(SessionState, ArchivesOnBehindAGapIfThatWasAccepted) {
  Options options;
  options.on_gap = OnGap::go_on;
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(100.5);
  dialogue.archive_ends_at(1, seg(7));
  dialogue.oldest_held = seg(30);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kRemoved, "58P01", seg(7));
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(30));
  ASSERT_EQ(dialogue.state.losses().size(), 1U);
  EXPECT_EQ(dialogue.state.losses()[0].begin, seg(7));
  EXPECT_EQ(dialogue.state.losses()[0].end, seg(30));
  EXPECT_EQ(dialogue.log.count("THE ARCHIVE HAS A HOLE NOW"), 1);
}

TEST(SessionState, HasAHoleRecordedBeforeItStreamsBehindIt) {
  Options options;
  options.on_gap = OnGap::go_on;
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(100.5);
  dialogue.archive_ends_at(1, seg(7));
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.25)}};
  dialogue.oldest_held = seg(30);
  EXPECT_EQ(dialogue.steps(), "connect identify parameters archive compare-tail stream");
  dialogue.stream_fails(kRemoved, "58P01", seg(7));
  const auto steps = dialogue.steps();
  EXPECT_THAT(steps, ::testing::EndsWith("probe record-loss stream"));
  ASSERT_EQ(dialogue.archive.losses.size(), 1U);
  const auto loss = dialogue.archive.losses[0];
  EXPECT_EQ(loss.id(), "hole-1-0-700000");
  EXPECT_EQ(loss.end, seg(30));
  EXPECT_EQ(loss.sound_end, seg(7.25)) << "what was received of the segment that it begins in";
  EXPECT_EQ(loss.segment_size, kSize);
  EXPECT_EQ(loss.system_identifier, dialogue.identity.system_identifier);

  // The record tells it from now on.
  dialogue.archive_ends_at(1, seg(30));
  dialogue.stream_fails(kLost, {}, seg(30.5), true);
  const auto again = dialogue.until<step::Stream>();
  EXPECT_EQ(again.start, seg(30));
  EXPECT_THAT(again.void_losses, ::testing::IsEmpty());
  EXPECT_EQ(dialogue.state.losses().size(), 1U);
  EXPECT_EQ(dialogue.log.count("HOLE NOW"), 1);
}

TEST(SessionState, VoidsTheRecordOfAHoleBeforeWhichItGoesOn) {
  Dialogue dialogue;
  dialogue.identity.flush_position = seg(100.5);
  dialogue.archive_ends_at(1, seg(7));
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = seg(3);
  loss.end = seg(5);
  dialogue.archive.losses.push_back(loss);
  loss.begin = seg(7);
  loss.end = seg(30);
  dialogue.archive.losses.push_back(loss);
  const auto stream = dialogue.until<step::Stream>();
  EXPECT_EQ(stream.start, seg(7));
  EXPECT_THAT(stream.void_losses, ::testing::ElementsAre("hole-1-0-700000"));
  EXPECT_EQ(dialogue.state.losses().size(), 1U);
}

TEST(SessionState, TellsOfWalThatAFailoverLost) {
  struct Case {
    const char* name;
    Lsn start;      ///< the archive goes on here on timeline 1, ...
    Lsn sound_end;  ///< ... and has WAL up to here
    Lsn switchpoint;
    std::string steps;
    std::optional<std::string> id;
  };
  const std::string before = "connect identify parameters fetch-history archive compare-tail ";
  const Case cases[] = {
      {"all of it is there", seg(7), seg(7.5), seg(7.75), before + "find-end stream", {}},
      {"exactly to the switchpoint", seg(7), seg(7.5), seg(7.5), before + "find-end stream", {}},
      {"some of the last segment", seg(7), seg(7.5), seg(7.25),
       before + "find-end store-history record-loss stream", "branch-1-0-740000"},
      {"several segments", seg(9), seg(9.5), seg(7.25),
       before + "find-end store-history record-loss stream", "branch-1-0-740000"},
      {"at a segment's end", seg(9), seg(9), seg(9), before + "find-end store-history stream", {}},
      {"long before the switch", seg(7), seg(7.5), seg(20), before + "stream", {}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Dialogue dialogue;
    dialogue.identity.timeline = 2;
    dialogue.identity.flush_position = seg(50);
    dialogue.server_histories[2] = "1\t" + c.switchpoint.to_string() + "\tx\n";
    dialogue.archive_ends_at(1, c.start);
    dialogue.archive.resume->open = {{c.start, c.start, c.start}};
    dialogue.sound_end = c.sound_end;
    EXPECT_EQ(dialogue.steps(), c.steps);
    ASSERT_EQ(dialogue.archive.losses.size(), c.id ? 1U : 0U);
    if (!c.id) continue;
    const auto loss = dialogue.archive.losses[0];
    EXPECT_EQ(loss.id(), *c.id);
    EXPECT_EQ(loss.kind, archive::Loss::Kind::lost_branch);
    EXPECT_EQ(loss.end, c.sound_end);
    EXPECT_EQ(loss.next_timeline, 2U);
    EXPECT_EQ(dialogue.log.count("a failover lost WAL that the archive has"), 1);
    EXPECT_EQ(dialogue.log.count("pgweir ack -D DIRECTORY branch-1-0-740000"), 1);
    // At the next connection it is recorded already, and was told.
    dialogue.stream_fails(kLost, {}, c.start, true);
    static_cast<void>(dialogue.until<step::Stream>());
    EXPECT_EQ(dialogue.archive.losses.size(), 1U);
    EXPECT_EQ(dialogue.log.count("a failover lost WAL"), 1);
  }
}

TEST(SessionState, TellsOfWalThatAFailoverLostSeveralTimelinesBack) {
  Dialogue dialogue;
  dialogue.identity.timeline = 4;
  dialogue.identity.flush_position = seg(50);
  dialogue.server_histories[2] = "1\t" + seg(5.5).to_string() + "\tx\n";
  dialogue.server_histories[4] = "1\t" + seg(5.5).to_string() + "\tx\n2\t" + seg(6.5).to_string() +
                                 "\tx\n3\t" + seg(20).to_string() + "\tx\n";
  dialogue.archive_ends_at(1, seg(9));
  dialogue.sound_end = seg(9);
  static_cast<void>(dialogue.until<step::Stream>());
  ASSERT_EQ(dialogue.archive.losses.size(), 1U);
  EXPECT_EQ(dialogue.archive.losses[0].id(), "branch-1-0-580000");
  EXPECT_EQ(dialogue.archive.losses[0].end, seg(9));
  EXPECT_EQ(dialogue.archive.losses[0].next_timeline, 2U);
}

TEST(SessionState, TellsOfWalThatAFailoverLostWhileItStreamed) {
  Dialogue dialogue;
  dialogue.identity.flush_position = seg(7.5);
  dialogue.archive_ends_at(1, seg(7));
  static_cast<void>(dialogue.until<step::Stream>());
  // A standby that had sent more than it replayed is promoted.
  dialogue.server_histories[2] = "1\t" + seg(7.25).to_string() + "\tx\n";
  dialogue.identity.timeline = 2;
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.5)}};
  dialogue.sound_end = seg(7.5);
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::timeline_ended;
  outcome.next = pq::EndOfStream::Next{2, seg(7.25)};
  outcome.reached = seg(7.5);
  outcome.heard_anything = true;
  dialogue.state.on_stream_ended(outcome, dialogue.now);
  EXPECT_EQ(dialogue.steps(),
            "identify fetch-history archive find-end store-history record-loss stream");
  ASSERT_EQ(dialogue.archive.losses.size(), 1U);
  EXPECT_EQ(dialogue.archive.losses[0].id(), "branch-1-0-740000");
}

TEST(SessionState, RecordsTheHoleThatStartLeaves) {
  Options options;
  options.on_gap = OnGap::go_on;
  options.start = seg(20);
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(50);
  dialogue.archive_ends_at(1, seg(7));
  EXPECT_EQ(dialogue.steps(), "connect identify parameters archive record-loss stream");
  EXPECT_EQ(dialogue.archive.losses[0].id(), "hole-1-0-700000");
  EXPECT_EQ(dialogue.archive.losses[0].end, seg(20));
}

TEST(SessionState, WaitsForSpaceToRecordALoss) {
  Options options;
  options.on_gap = OnGap::go_on;
  options.start = seg(20);
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(50);
  dialogue.archive_ends_at(1, seg(7));
  static_cast<void>(dialogue.until<step::RecordLoss>());
  dialogue.state.failed(Error(ErrorKind::disk_full, "no space"), dialogue.now);
  EXPECT_EQ(dialogue.steps(), "wait record-loss stream");
}

TEST(SessionState, SearchesAGapOverAConnectionThatBreaks) {
  Dialogue dialogue;
  dialogue.identity.flush_position = seg(100.5);
  dialogue.archive_ends_at(1, seg(7));
  dialogue.oldest_held = seg(30);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kRemoved, "58P01", seg(7));
  for (int i = 0; i < 3; ++i) dialogue.answer(dialogue.until<step::Probe>());
  static_cast<void>(dialogue.until<step::Probe>());
  dialogue.state.failed(kLost, dialogue.now);
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::gap);
  EXPECT_NE(std::string(stop.error->what()).find("to " + seg(30).to_string()), std::string::npos);
}

TEST(SessionState, NamesTheTimelinesOfAGapOverASwitch) {
  Dialogue dialogue;
  dialogue.identity.timeline = 2;
  dialogue.identity.flush_position = seg(20.5);
  dialogue.server_histories[2] = "1\t0/A80000\tno recovery target specified\n";  // 10.5
  dialogue.archive_ends_at(1, seg(7));
  dialogue.oldest_held = seg(15);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kRemoved, "58P01", seg(7));
  const std::string text = dialogue.end().error->what();
  EXPECT_NE(text.find("000000010000000000000007 to 00000002000000000000000E"), std::string::npos)
      << text;
}

TEST(SessionState, NamesOfAGapTheSegmentThatIsMissingNotTheOneThatTheArchiveHas) {
  // The unfinished segment with the switchpoint is there. After a restore it is all of its
  // timeline.
  Dialogue dialogue;
  dialogue.identity.timeline = 2;
  dialogue.identity.flush_position = seg(20.5);
  dialogue.server_histories[2] = "1\t0/A80000\tno recovery target specified\n";  // 10.5
  dialogue.archive_ends_at(1, seg(10));
  dialogue.oldest_held = seg(15);
  static_cast<void>(dialogue.until<step::Stream>());
  dialogue.stream_fails(kRemoved, "58P01", seg(10));
  const std::string text = dialogue.end().error->what();
  EXPECT_NE(text.find("00000002000000000000000A to 00000002000000000000000E"), std::string::npos)
      << text;
}

/// Two hosts: the WAL that comes next is gone from the first, and the second does not answer.
struct GapBesideADeadHost : Dialogue {
  GapBesideADeadHost() {
    hosts = {{.name = "one", .major = 18, .standby = false},
             {.name = "two", .major = 18, .standby = false}};
    dead = {1};
    identity.flush_position = seg(100.5);
    archive_ends_at(1, seg(7));
    oldest_held = seg(30);
  }
  /// Up to the next time that anything but the gap's message comes. False where it ended.
  bool fails_once(bool heard) {
    for (;;) {
      const auto step = state.next();
      if (std::holds_alternative<step::Stop>(step)) return false;
      if (std::holds_alternative<step::Stream>(step)) break;
      answer(step);
    }
    stream_fails(kRemoved, "58P01", seg(7), heard);
    return true;
  }
};

TEST(SessionState, EndsWithAGapThatEveryHostHasThatAnswers) {
  for (const bool heard : {false, true}) {
    SCOPED_TRACE(heard);
    GapBesideADeadHost dialogue;
    int times = 0;
    while (dialogue.fails_once(heard)) ASSERT_LT(++times, 400) << "it never ends";
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), ErrorKind::gap);
    EXPECT_NE(stop.error->hint().find("--on-gap continue"), std::string::npos);
    std::chrono::milliseconds waited{};
    for (const auto wait : dialogue.waits) waited += wait;
    EXPECT_GE(waited, 10min) << "a host that is restarting may have it";
    EXPECT_LE(waited, 11min);
  }
}

TEST(SessionState, TakesWhatIsGoneFromOneHostFromAnotherThatComesLater) {
  GapBesideADeadHost dialogue;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(dialogue.fails_once(false));
  dialogue.dead.clear();
  dialogue.probes.clear();
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
  EXPECT_EQ(dialogue.connected_to, 1);
  EXPECT_TRUE(dialogue.probes.empty()) << "what another host lacks says nothing of this one";
  // The next gap is waited for anew.
  dialogue.archive_ends_at(1, seg(9));
  dialogue.stream_fails(kLost, {}, seg(9), true);
  dialogue.dead = {1};
  dialogue.waits.clear();
  while (dialogue.fails_once(false)) continue;
  std::chrono::milliseconds waited{};
  for (const auto wait : dialogue.waits) waited += wait;
  EXPECT_GE(waited, 10min);
}

TEST(SessionState, EndsWithOtherWalThatEveryHostHasThatAnswers) {
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.dead = {1};
  dialogue.archive_ends_at(1, seg(7));
  dialogue.tail = {.how = TailComparison::How::differs, .file = "f", .at = seg(6.9)};
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::conflict);
  EXPECT_NE(stop.error->hint().find("split brain"), std::string::npos);
  EXPECT_EQ(dialogue.log.count(
                "no host that responded within 10 min 0 s has WAL that continues this archive"),
            1);
  std::chrono::milliseconds waited{};
  for (const auto wait : dialogue.waits) waited += wait;
  EXPECT_GE(waited, 10min) << "the host that has it may be restarting";
  EXPECT_LE(waited, 11min);
}

TEST(SessionState, AsksSeveralHostsEverySecondWhileAFailoverMayBeUnderWay) {
  Dialogue dialogue;
  dialogue.state.on_hosts(2, false);
  const auto silent = [](int index, const char* name) {
    HostWord word;
    word.index = index;
    word.name = name;
    word.failure = Error(ErrorKind::retry, "session is read-only");
    return word;
  };
  std::chrono::milliseconds waited{};
  std::chrono::milliseconds longest{};
  bool longer = false;
  for (int i = 0; i < 1000 && waited < 20min; ++i) {
    const auto step = dialogue.state.next();
    if (std::holds_alternative<step::AskHosts>(step)) {
      dialogue.state.on_hosts_asked({silent(0, "one"), silent(1, "two")}, std::nullopt,
                                    dialogue.now);
    } else {
      const auto* wait = std::get_if<step::Wait>(&step);
      ASSERT_TRUE(wait != nullptr) << Dialogue::name(step);
      if (waited < 5min)
        longest = std::max(longest, wait->time);
      else
        longer = longer || wait->time > 2s;
      waited += wait->time;
      dialogue.answer(step);
    }
  }
  EXPECT_LE(longest, 1s);
  EXPECT_TRUE(longer) << "nobody was promoted for a long time";
  const auto told = std::count_if(
      dialogue.log.lines.begin(), dialogue.log.lines.end(), [](const std::string& line) {
        return line.starts_with("warning") && line.find("as before") != std::string::npos;
      });
  EXPECT_LE(told, 120) << "not each second";
}

/// The new primary lacks the slot, and the standby never catches up.
class NoSlotBesideAHostBehind : public Dialogue {
 public:
  explicit NoSlotBesideAHostBehind(int major) : Dialogue(with_slot()) {
    hosts = {{.name = "one", .major = major, .standby = false},
             {.name = "two", .major = major, .standby = true}};
    state.on_hosts(2, false);
    archive_ends_at(1, seg(7));
    slot.exists = false;
    archived_.system_identifier = 7;
    archived_.segment_size = kSize;
    archived_.end.timeline = 1;
    archived_.end.start = archived_.position = seg(7);
    for (const int index : {0, 1}) {
      auto& word = words_[static_cast<std::size_t>(index)];
      word.index = index;
      word.name = index == 0 ? "one" : "two";
      word.standby = index == 1;
      word.segment_size = kSize;
      word.identity = {
          .system_identifier = 7, .timeline = 1, .flush_position = index == 0 ? seg(7.5) : seg(3)};
      word.history = wal::TimelineHistory(1);
    }
    words_[0].has_wal = true;
  }
  void answer_all(const Step& step) {
    if (std::holds_alternative<step::AskHosts>(step))
      state.on_hosts_asked(words_, archived_, now);
    else
      answer(step);
  }

 private:
  ArchivedSoFar archived_;
  std::vector<HostWord> words_ = std::vector<HostWord>(2);
};

TEST(SessionState, AsksAHostWithoutASlotAgainWhileAnotherOneIsBehind) {
  // It gets its slot some seconds after its promotion.
  NoSlotBesideAHostBehind dialogue(18);
  int refused = 0;
  bool streams = false;
  for (int i = 0; i < 1000 && !streams; ++i) {
    const auto step = dialogue.state.next();
    ASSERT_FALSE(std::holds_alternative<step::Stop>(step));
    streams = std::holds_alternative<step::Stream>(step);
    if (std::holds_alternative<step::ReadSlot>(step)) dialogue.slot.exists = ++refused > 5;
    dialogue.answer_all(step);
  }
  EXPECT_TRUE(streams);
  EXPECT_EQ(dialogue.connected_to, 0);
  EXPECT_GE(dialogue.waits.size(), 5U) << "not without a pause";
}

TEST(SessionState, AsksAHostThatRejectsTheStreamNotMoreOftenThanOthers) {
  // A server before 15 says that it lacks the slot only when the stream starts.
  NoSlotBesideAHostBehind dialogue(14);
  const auto begin = dialogue.now;
  int late = 0;
  for (int i = 0; i < 20'000 && dialogue.now - begin < 10min; ++i) {
    const auto step = dialogue.state.next();
    ASSERT_FALSE(std::holds_alternative<step::Stop>(step));
    if (std::holds_alternative<step::Stream>(step)) {
      if (dialogue.now - begin > 6min) ++late;
      dialogue.stream_fails(Error(ErrorKind::refused, "the slot does not exist"), "42704");
    } else {
      dialogue.answer_all(step);
    }
  }
  EXPECT_GT(late, 40);
  EXPECT_LT(late, 100) << "every 2.5 to 5 s";
}

/// It said where the timeline ends, although it had nothing of it to send: seed 998700 of eb9f749.
TEST(SessionState, StaysBetweenTwoBranchesWithTheHostThatEndedTheTimeline) {
  for (const bool ended : {true, false}) {
    SCOPED_TRACE(ended);
    Dialogue dialogue;
    dialogue.hosts = {{.name = "one", .major = 18, .standby = true},
                      {.name = "two", .major = 18, .standby = false}};
    dialogue.state.on_hosts(2, false);
    dialogue.identity.flush_position = seg(5.5);
    dialogue.archive_ends_at(1, seg(5));
    ArchivedSoFar archived;
    archived.system_identifier = 7;
    archived.segment_size = kSize;
    archived.end.timeline = 1;
    archived.end.start = archived.position = seg(5);
    const auto host = [&](int index, const char* name, wal::TimelineId timeline,
                          const std::string& history) {
      HostWord word;
      word.index = index;
      word.name = name;
      word.standby = timeline == 1;
      word.segment_size = kSize;
      word.identity = {.system_identifier = 7, .timeline = timeline, .flush_position = seg(9)};
      word.history = wal::TimelineHistory::parse(timeline, history);
      word.has_wal = true;
      return word;
    };
    auto hosts = std::vector{host(0, "one", 1, ""), host(1, "two", 1, "")};
    hosts[1].failure = kLost;
    const auto until_stream_or_stop = [&] {
      for (int i = 0; i < 2000; ++i) {
        const auto step = dialogue.state.next();
        if (std::holds_alternative<step::Stream>(step)) return std::string("stream");
        if (const auto* stop = std::get_if<step::Stop>(&step))
          return std::string(stop->error ? stop->error->what() : "done");
        if (std::holds_alternative<step::AskHosts>(step))
          dialogue.state.on_hosts_asked(hosts, archived, dialogue.now);
        else
          dialogue.answer(step);
      }
      return std::string("it goes on for ever");
    };
    ASSERT_EQ(until_stream_or_stop(), "stream");
    StreamOutcome outcome;
    outcome.how = StreamOutcome::How::timeline_ended;
    outcome.next = pq::EndOfStream::Next{2, seg(5)};
    outcome.reached = seg(5);
    if (ended)
      dialogue.state.on_stream_ended(outcome, dialogue.now);
    else
      dialogue.stream_fails(kLost, {}, seg(5));
    hosts = {host(0, "one", 2, "1\t0/500000\tx\n"), host(1, "two", 3, "1\t0/580000\tx\n")};
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = "1\t0/500000\tx\n";
    if (ended) dialogue.state.failed(kLost, dialogue.now);
    const auto came = until_stream_or_stop();
    if (ended)
      EXPECT_EQ(came, "stream");
    else
      EXPECT_THAT(came, ::testing::HasSubstr("split brain"));
  }
}

TEST(SessionState, WaitsForTheRightHostWhereAnUnfinishedSegmentDiffersAsWell) {
  const Error other(ErrorKind::conflict, "the upstream's WAL differs from the archive's");
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.dead = {1};
  dialogue.archive_ends_at(1, seg(7));
  dialogue.archive.resume->open = {{seg(7), seg(7), seg(7.2)}};
  std::chrono::milliseconds waited{};
  for (int times = 0; waited < 9min; ++times) {
    ASSERT_LT(times, 200) << "without a pause";
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(other, {}, seg(7.1), true);
    waited = {};
    for (const auto wait : dialogue.waits) waited += wait;
  }
  dialogue.dead.clear();  // it was only being restarted
  while (dialogue.connected_to != 1) {
    static_cast<void>(dialogue.until<step::Stream>());
    if (dialogue.connected_to == 0) dialogue.stream_fails(other, {}, seg(7.1), true);
  }
  dialogue.stream_fails(kLost, {}, seg(7.3), true);
  // If it does not come, a person has to know.
  dialogue.dead = {1};
  for (int times = 0;; ++times) {
    ASSERT_LT(times, 400) << "it never ends";
    Step step = dialogue.state.next();
    while (!std::holds_alternative<step::Stream>(step) &&
           !std::holds_alternative<step::Stop>(step)) {
      dialogue.answer(step);
      step = dialogue.state.next();
    }
    if (const auto* stop = std::get_if<step::Stop>(&step)) {
      ASSERT_TRUE(stop->error);
      EXPECT_EQ(stop->error->kind(), ErrorKind::conflict);
      break;
    }
    dialogue.stream_fails(other, {}, seg(7.1), true);
  }
}

TEST(SessionState, WaitsForTheRightHostAnewAfterEachStream) {
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  dialogue.archive_ends_at(1, seg(7));
  for (int i = 0; i < 3; ++i) {
    dialogue.dead = {1};
    dialogue.tail = {.how = TailComparison::How::differs, .file = "f", .at = seg(6.9)};
    dialogue.waits.clear();
    std::chrono::milliseconds waited{};
    while (waited < 8min) {
      const auto step = dialogue.state.next();
      ASSERT_FALSE(std::holds_alternative<step::Stop>(step)) << i;
      ASSERT_FALSE(std::holds_alternative<step::Stream>(step)) << i;
      dialogue.answer(step);
      waited = {};
      for (const auto wait : dialogue.waits) waited += wait;
    }
    dialogue.dead = {0};
    dialogue.tail.how = TailComparison::How::same;
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7.1), true);
  }
}

TEST(SessionState, NeverAsksWithoutPauseForWalThatIsGone) {
  // The server says "removed" of the very segment it is writing: nothing to search for, and no
  // reason to ask again at once. Neither is there where it says to a question that it has it.
  for (const auto oldest : {seg(0), seg(8)})
    for (const auto on_gap : {OnGap::stop, OnGap::go_on}) {
      Options options;
      options.on_gap = on_gap;
      Dialogue dialogue(options);
      dialogue.archive_ends_at(1, seg(7));
      dialogue.oldest_held = oldest;
      int streams = 0;
      for (int i = 0; i < 2000; ++i) {
        const auto step = dialogue.state.next();
        if (std::holds_alternative<step::Stop>(step)) break;
        if (std::holds_alternative<step::Stream>(step)) {
          ++streams;
          dialogue.stream_fails(kRemoved, "58P01", seg(7), true);
          continue;
        }
        dialogue.answer(step);
      }
      EXPECT_LE(streams, static_cast<int>(dialogue.waits.size()) + 2);
      if (oldest == seg(0)) {
        EXPECT_GT(dialogue.waits.back(), 2s) << "less and less often";
      }
    }
}

TEST(SessionState, AsksForDamagedWalThreeTimes) {
  const Error damage(ErrorKind::damage, "the WAL that the server sent is damaged");
  Dialogue dialogue;
  for (int attempt = 0; attempt < 3; ++attempt) {
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(damage, {}, seg(7.25), true);
  }
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::damage);
}

TEST(SessionState, TriesTheNextHostIfTheWalOfOneIsDamaged) {
  const Error damage(ErrorKind::damage, "the WAL that the server sent is damaged");
  Dialogue dialogue;
  dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
  const auto fail = [&](int host, wal::Lsn at) {
    for (int attempt = 0; attempt < 3; ++attempt) {
      static_cast<void>(dialogue.until<step::Stream>());
      EXPECT_EQ(dialogue.connected_to, host);
      dialogue.stream_fails(damage, {}, at, true);
    }
  };
  fail(0, seg(7.25));
  fail(1, seg(7.5));  // it got past the damage of the first, which may have the rest
  fail(0, seg(7.5));
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->kind(), ErrorKind::damage) << "both have it";
}

TEST(SessionState, DoesNotTakeItForAGapIfAnotherHostHasTheWalAndItIsDamaged) {
  const Error damage(ErrorKind::damage, "the WAL that the server sent is damaged");
  for (const auto on_gap : {OnGap::stop, OnGap::go_on}) {
    Options options;
    options.on_gap = on_gap;
    Dialogue dialogue(options);
    dialogue.hosts.push_back({.name = "two", .major = 18, .standby = false});
    dialogue.archive_ends_at(1, seg(3));
    for (int attempt = 0; attempt < 3; ++attempt) {
      static_cast<void>(dialogue.until<step::Stream>());
      EXPECT_EQ(dialogue.connected_to, 0);
      dialogue.stream_fails(damage, {}, seg(3.5), true);
    }
    static_cast<void>(dialogue.until<step::Stream>());
    EXPECT_EQ(dialogue.connected_to, 1);
    dialogue.oldest_held = seg(5);
    dialogue.stream_fails(kRemoved, "58P01", seg(3));
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), ErrorKind::damage);
    EXPECT_TRUE(dialogue.archive.losses.empty());
  }
}

TEST(SessionState, CountsDamageAnewWhereItGotFurther) {
  const Error damage(ErrorKind::damage, "the WAL that the server sent is damaged");
  Dialogue dialogue;
  for (int attempt = 0; attempt < 10; ++attempt) {
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(damage, {}, seg(7.25) + static_cast<std::uint64_t>(attempt) * 8192, true);
  }
  static_cast<void>(dialogue.until<step::Stream>());
}

TEST(SessionState, StopsAtOnceWhenAsked) {
  {
    Dialogue dialogue;
    dialogue.state.request_stop();
    EXPECT_FALSE(dialogue.end().error);
  }
  {
    Dialogue dialogue;  // in the middle of a wait
    static_cast<void>(dialogue.until<step::Connect>());
    dialogue.state.failed(kLost, dialogue.now);
    static_cast<void>(dialogue.until<step::Wait>());
    dialogue.state.request_stop();
    EXPECT_TRUE(std::holds_alternative<step::Stop>(dialogue.state.next()));
    EXPECT_FALSE(dialogue.end().error);
  }
}

TEST(SessionState, IsDoneWhenTheStreamWasStopped) {
  Dialogue dialogue;
  static_cast<void>(dialogue.until<step::Stream>());
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::stopped;
  dialogue.state.on_stream_ended(outcome, dialogue.now);
  EXPECT_FALSE(dialogue.end().error);
}

TEST(SessionState, IsDoneOnlyWhereTheEndPositionWasReached) {
  for (const bool loop : {true, false}) {
    SCOPED_TRACE(loop);
    Options options;
    options.loop = loop;
    options.endpos = seg(7.5);
    StreamOutcome outcome;
    outcome.how = StreamOutcome::How::stopped;
    outcome.heard_anything = true;
    outcome.reached = seg(7.25);
    {
      Dialogue dialogue(options);
      static_cast<void>(dialogue.until<step::Stream>());
      dialogue.state.on_stream_ended(outcome, dialogue.now);
      if (loop) {
        EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7)) << "asked for again";
      } else {
        EXPECT_TRUE(dialogue.end().error);
      }
    }
    outcome.stop_asked = true;
    {
      Dialogue dialogue(options);
      static_cast<void>(dialogue.until<step::Stream>());
      dialogue.state.on_stream_ended(outcome, dialogue.now);
      EXPECT_FALSE(dialogue.end().error) << "as asked";
    }
    outcome.stop_asked = false;
    outcome.reached = seg(7.5);
    {
      Dialogue dialogue(options);
      static_cast<void>(dialogue.until<step::Stream>());
      dialogue.state.on_stream_ended(outcome, dialogue.now);
      EXPECT_FALSE(dialogue.end().error);
    }
  }
}

TEST(SessionState, IsDoneWhenTheArchiveReachesTheEndPositionAlready) {
  Options options;
  options.endpos = seg(6);
  Dialogue dialogue(options);
  dialogue.archive_ends_at(1, seg(7));
  EXPECT_FALSE(dialogue.end().error);
}

TEST(SessionState, IsNotDoneWhereAnEmptyArchiveWouldBeginBehindTheEndPosition) {
  for (const auto endpos : {seg(1), seg(7)}) {
    Options options;
    options.endpos = endpos;
    Dialogue dialogue(options);
    dialogue.identity.flush_position = seg(7.5);
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), ErrorKind::gap);
  }
  Options options;
  options.endpos = seg(7.25);
  Dialogue dialogue(options);
  dialogue.identity.flush_position = seg(7.5);
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(7));
}

TEST(SessionState, DoesNotTryAgainWhatAPersonHasToLookAt) {
  for (const auto kind : {ErrorKind::io, ErrorKind::conflict, ErrorKind::protocol,
                          ErrorKind::durability, ErrorKind::disk_full, ErrorKind::refused}) {
    SCOPED_TRACE(to_string(kind));
    Options options;
    options.on_disk_full = OnDiskFull::stop;
    Dialogue dialogue(options);
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(Error(kind, "trouble"), {}, seg(7), true);
    const auto stop = dialogue.end();
    ASSERT_TRUE(stop.error);
    EXPECT_EQ(stop.error->kind(), kind);
  }
}

TEST(SessionState, TellsOfOldHolesAtTheStartAndOnce) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = seg(3);
  loss.end = seg(5);
  dialogue.archive.losses.push_back(loss);
  loss.begin = seg(5);
  loss.end = seg(6);
  loss.acknowledged = {"today", "eva@db1", "known"};
  dialogue.archive.losses.push_back(loss);
  for (int i = 0; i < 3; ++i) {
    static_cast<void>(dialogue.until<step::Stream>());
    dialogue.stream_fails(kLost, {}, seg(7), true);
  }
  EXPECT_EQ(dialogue.log.count("the archive has a hole"), 2);
  EXPECT_EQ(dialogue.log.count("acknowledged by eva@db1 at today: known"), 1);
  EXPECT_EQ(dialogue.state.losses().size(), 2U);
}

TEST(SessionState, KeepsWhatItKnowsOfLossesWhereTheyCannotBeReadAgain) {
  Dialogue dialogue;
  dialogue.archive_ends_at(1, seg(7));
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = seg(3);
  loss.end = seg(5);
  dialogue.archive.losses = {loss};
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_THAT(dialogue.state.losses(), ::testing::ElementsAre(loss));

  // All of them.
  dialogue.archive.losses.clear();
  dialogue.archive.losses_known = false;
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_THAT(dialogue.state.losses(), ::testing::ElementsAre(loss));

  // One, of which only the name is left.
  auto guess = loss;
  guess.end = seg(4);
  guess.complaint = "could not read";
  dialogue.archive.losses = {guess};
  dialogue.archive.losses_known = true;
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Stream>());
  auto held = loss;
  held.complaint = guess.complaint;
  EXPECT_THAT(dialogue.state.losses(), ::testing::ElementsAre(held));

  dialogue.archive.losses.clear();
  dialogue.stream_fails(kLost, {}, seg(7), true);
  static_cast<void>(dialogue.until<step::Stream>());
  EXPECT_THAT(dialogue.state.losses(), ::testing::IsEmpty()) << "it was closed";
}

Options stock() {
  auto options = with_slot();
  options.stock_habits = true;
  return options;
}

TEST(StockHabits, TheFirstConnectionHasToSucceed) {
  Dialogue dialogue(stock());
  ASSERT_TRUE(std::holds_alternative<step::Connect>(dialogue.state.next()));
  dialogue.state.failed(kLost, dialogue.now);
  const auto stop = dialogue.end();
  ASSERT_TRUE(stop.error);
  EXPECT_EQ(stop.error->message(), kLost.message());
}

TEST(StockHabits, WhateverMayPassIsTriedAgainAfterFiveSeconds) {
  for (const auto& [error, sqlstate] :
       {std::pair{kLost, ""},
        {Error(ErrorKind::retry, "slot is active"), "55006"},
        {Error(ErrorKind::refused, "no pg_hba.conf entry"), "28000"}}) {
    SCOPED_TRACE(error.what());
    Dialogue dialogue(stock());
    for (int i = 0; i < 3; ++i) {
      dialogue.until<step::Stream>();
      dialogue.stream_fails(error, sqlstate);
    }
    dialogue.until<step::Stream>();
    EXPECT_EQ(dialogue.waits, (std::vector{5'000ms, 5'000ms, 5'000ms}));
  }
}

TEST(StockHabits, AFullDiskBetweenTwoStreamsIsTriedAgain) {
  for (const bool loop : {true, false}) {
    SCOPED_TRACE(loop);
    Options options;  // without a slot, which would begin on timeline 1
    options.stock_habits = true;
    options.loop = loop;
    Dialogue dialogue(options);
    dialogue.identity.timeline = 2;
    dialogue.server_histories[2] = kHistory2;
    dialogue.until<step::StoreHistory>();
    dialogue.state.failed(Error(ErrorKind::disk_full, "No space left on device"), dialogue.now);
    if (!loop) {
      EXPECT_EQ(dialogue.end().error->kind(), ErrorKind::disk_full);
      continue;
    }
    dialogue.until<step::Wait>();
    dialogue.until<step::StoreHistory>();
    dialogue.until<step::Stream>();
  }
}

TEST(StockHabits, WithoutALoopEachFailureIsTheEnd) {
  for (const std::string sqlstate : {"", "55006"}) {
    auto options = stock();
    options.loop = false;
    Dialogue dialogue(options);
    dialogue.until<step::Stream>();
    dialogue.stream_fails(kLost, sqlstate);
    EXPECT_TRUE(dialogue.end().error);
    EXPECT_TRUE(dialogue.waits.empty());
  }
}

TEST(StockHabits, ASlotThatIsMissingMayComeYet) {
  Dialogue dialogue(stock());
  dialogue.slot.exists = false;
  dialogue.until<step::Wait>();
  dialogue.slot.exists = true;
  dialogue.until<step::Stream>();
}

TEST(StockHabits, RemovedWalIsNeverSkipped) {
  Dialogue dialogue(stock());
  dialogue.archive_ends_at(1, seg(2));
  dialogue.oldest_held = seg(5);
  dialogue.until<step::Stream>();
  dialogue.stream_fails(kRemoved, "58P01", seg(2));
  dialogue.until<step::Wait>();
  EXPECT_EQ(dialogue.until<step::Stream>().start, seg(2));
}

/// The original tries again, too, and nothing is written meanwhile.
TEST(StockHabits, AHistoryWithTheArchivesTimelineMayComeYet) {
  for (const bool other : {false, true}) {  // at first the server has no history, or another one
    SCOPED_TRACE(other);
    Dialogue dialogue(stock());
    dialogue.archive_ends_at(2, seg(7));
    dialogue.identity.timeline = 3;
    if (other) dialogue.server_histories[3] = "1\t0/580000\tpromoted elsewhere\n";
    dialogue.until<step::Wait>();
    dialogue.server_histories[3] = "1\t0/580000\t\n2\t0/780000\t\n";
    EXPECT_EQ(dialogue.until<step::Stream>().timeline, 2u);
    EXPECT_EQ(dialogue.waits, (std::vector{5'000ms}));
  }
}

TEST(StockHabits, AConflictIsTheEnd) {
  Dialogue dialogue(stock());
  dialogue.until<step::Stream>();
  dialogue.stream_fails(Error(ErrorKind::conflict, "other WAL"));
  EXPECT_TRUE(dialogue.end().error);
}

}  // namespace
}  // namespace weir::receive::session_state_test
