#include "archive/losses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <random>

#include "archive/compress.h"
#include "archive/own_names.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::archive::losses_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::Bytes;
using test::bytes_of;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using wal::Lsn;
using wal::SegmentName;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
const Loss::Acknowledgement kAck{"2026-11-21 10:00:00.000 UTC", "eva@db1", "the fire of 3 May"};

std::string name(std::uint64_t segno, const char* suffix = "", wal::TimelineId timeline = 1) {
  return SegmentName(timeline, segno, kSize).to_string() + suffix;
}

Loss hole(std::uint64_t begin, std::uint64_t end, wal::TimelineId timeline = 1) {
  Loss loss;
  loss.timeline = loss.next_timeline = timeline;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(begin);
  loss.end = kSize.start(end);
  loss.system_identifier = 7'000'000'000'000'000'001;
  loss.segment_size = kSize;
  loss.found = "2026-11-21 09:00:00.000 UTC";
  loss.cause = "accepted with --on-gap continue";
  loss.server = "db1:5432";
  return loss;
}

Loss minimal(std::uint64_t begin, std::uint64_t end, bool goes_on = false) {
  auto loss = hole(begin, end);
  loss.kind = Loss::Kind::minimal_wal;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(begin) + 0x158;
  loss.end = kSize.start(end) + 0x1F0;
  loss.goes_on = goes_on;
  loss.cause = "the server was started with wal_level=minimal";
  return loss;
}

Loss branch() {
  auto loss = hole(3, 5);
  loss.kind = Loss::Kind::lost_branch;
  loss.next_timeline = 2;
  loss.begin = loss.sound_end = kSize.start(3) + 0x158;
  loss.commits = 12;
  loss.prepared = 3;
  loss.counted_to = loss.end = kSize.start(4) + 0x2B0;
  return loss;
}

void record(SimDisk& disk, const Loss& loss) { record_loss(*disk.open(), loss); }

std::vector<Loss> read(SimDisk& disk) {
  const auto directory = disk.open();
  auto losses = read_losses(*directory, list_archive(*directory));
  EXPECT_EQ(losses, read_losses(*directory, list_archive_names(*directory)));
  return losses;
}

std::vector<std::string> close(SimDisk& disk) {
  const auto directory = disk.open();
  return close_losses(*directory, list_archive(*directory));
}

Loss with_missing(Loss loss) {
  loss.missing = {{loss.begin, loss.end}};
  return loss;
}

/// Finished segments, of zeros: only names and sizes are looked at.
void finish(SimDisk& disk, std::uint64_t first, std::uint64_t last, wal::TimelineId timeline = 1) {
  for (auto segno = first; segno <= last; ++segno)
    disk.put(name(segno, "", timeline), Bytes(kSize.bytes()));
}

TEST(Losses, AreReadAsTheyWereRecorded) {
  SimDisk disk;
  finish(disk, 1, 2);
  auto grown = hole(3, 6);
  grown.sound_end = kSize.start(3) + 1234;
  auto over_a_switch = hole(8, 11);
  over_a_switch.next_timeline = 2;
  EXPECT_TRUE(record_loss(*disk.open(), over_a_switch));
  EXPECT_TRUE(record_loss(*disk.open(), branch()));
  EXPECT_TRUE(record_loss(*disk.open(), grown));
  EXPECT_THAT(read(disk), ElementsAre(with_missing(grown), branch(), with_missing(over_a_switch)));
  EXPECT_EQ(read(disk)[0].id(), "hole-1-0-300000");
  EXPECT_EQ(read(disk)[1].id(), "branch-1-0-300158");
  EXPECT_EQ(read(disk)[1].first_segment().to_string(), name(3));
  EXPECT_EQ(read(disk)[1].last_segment().to_string(), name(4));
  EXPECT_EQ(read(disk)[2].last_segment().to_string(), name(10, "", 2));
  EXPECT_EQ(read(disk)[0].bytes(), 3 * kSize.bytes());
}

TEST(Losses, OfMinimalWalStayOpenAlthoughEverySegmentIsThere) {
  SimDisk disk;
  finish(disk, 1, 9);
  record(disk, minimal(3, 4));
  EXPECT_THAT(read(disk), ElementsAre(minimal(3, 4)));
  EXPECT_EQ(read(disk)[0].id(), "minimal-1-0-300158");
  EXPECT_THAT(close(disk), IsEmpty()) << "it is no hole that was filled";
  EXPECT_THAT(read(disk), SizeIs(1));
  for (std::uint64_t segno = 1; segno <= 4; ++segno) disk.open()->remove(name(segno));
  EXPECT_THAT(close(disk), ElementsAre("minimal-1-0-300158")) << "the archive begins behind it";
}

TEST(Losses, OfMinimalWalKeepTheirAcknowledgementWhenTheirEndIsKnown) {
  SimDisk disk;
  finish(disk, 1, 9);
  record(disk, minimal(3, 3, true));
  EXPECT_TRUE(read(disk)[0].goes_on);
  acknowledge_loss(*disk.open(), minimal(3, 3, true), kAck);
  record(disk, minimal(3, 5));
  EXPECT_FALSE(read(disk)[0].goes_on);
  EXPECT_EQ(read(disk)[0].end, minimal(3, 5).end);
  EXPECT_EQ(read(disk)[0].acknowledged, kAck);
}

TEST(Losses, OfMinimalWalDivideWhatCanBeRecovered) {
  using Ranges = std::vector<Loss::Range>;
  const auto at = [](std::uint64_t segno) { return kSize.start(segno); };
  const wal::TimelineHistory one(1);
  const auto cut = [&](Loss::Range range, std::vector<Loss> losses) {
    return without_minimal_wal(range, one, losses);
  };
  const auto first = minimal(3, 4);
  const auto second = minimal(6, 7);
  EXPECT_EQ(cut({at(1), at(9)}, {}), (Ranges{{at(1), at(9)}}));
  EXPECT_EQ(cut({at(1), at(9)}, {hole(2, 3), branch()}), (Ranges{{at(1), at(9)}}));
  EXPECT_EQ(cut({at(1), at(9)}, {first, second}),
            (Ranges{{at(1), first.begin}, {first.end, second.begin}, {second.end, at(9)}}));
  EXPECT_EQ(cut({at(4), at(9)}, {first}), (Ranges{{first.end, at(9)}})) << "it begins inside";
  EXPECT_EQ(cut({at(5), at(9)}, {first}), (Ranges{{at(5), at(9)}})) << "it begins behind";
  EXPECT_EQ(cut({at(1), at(3)}, {first}), (Ranges{{at(1), at(3)}})) << "it ends before";
  EXPECT_EQ(cut({at(1), at(9)}, {minimal(3, 3, true)}), (Ranges{{at(1), first.begin}}));
  EXPECT_EQ(cut({at(5), at(9)}, {minimal(3, 3, true)}), (Ranges{{at(5), at(9)}}))
      << "a hole lies between, and what was written behind it nobody knows";
  // A timeline that was left before it.
  const auto two = *wal::TimelineHistory::parse(2, "1\t0/300100\tno recovery target specified\n");
  EXPECT_FALSE(lies_on(first, two));
  EXPECT_EQ(without_minimal_wal({at(1), at(9)}, two, std::vector{first}), (Ranges{{at(1), at(9)}}));
  const auto behind = *wal::TimelineHistory::parse(2, "1\t0/500000\tno recovery target\n");
  EXPECT_TRUE(lies_on(first, behind));
}

TEST(Losses, AreRecordedOrNotAfterAPowerLossAtAnyCall) {
  std::mt19937_64 random(4711);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t call = 1;; ++call) {
      SCOPED_TRACE(call);
      SimDisk disk;
      finish(disk, 1, 2);
      disk.lose_power_at(call);
      bool recorded = false;
      bool acknowledged = false;
      try {
        const auto directory = disk.open();
        record_loss(*directory, hole(3, 5));
        recorded = true;
        acknowledge_loss(*directory, hole(3, 5), kAck);
        acknowledged = true;
      } catch (const MachineDown&) {
      }
      disk.set_hook({});
      if (round == 0)
        disk.crash_losing_everything();
      else
        disk.crash(random);
      const auto after = read(disk);
      if (recorded) {
        ASSERT_THAT(after, SizeIs(1));
      }
      for (const auto& loss : after) {
        EXPECT_FALSE(loss.complaint) << *loss.complaint;
        EXPECT_EQ(loss.end, kSize.start(5));
        if (acknowledged) {
          EXPECT_EQ(loss.acknowledged, kAck);
        }
      }
      const auto directory = disk.open();
      clean_up(*directory, list_archive(*directory));
      EXPECT_EQ(read(disk).size(), after.size()) << "only temporary files may go";
      for (const auto& left : disk.names()) EXPECT_FALSE(left.ends_with(".tmp")) << left;
      if (acknowledged) break;
    }
  }
}

TEST(Losses, AreRecordedAgainWhereARecordWasRenamedAndNotSynced) {
  SimDisk disk;
  finish(disk, 1, 2);
  disk.fail_every(SimDisk::Operation::sync_directory, EIO);
  EXPECT_EQ(error_of([&] { record(disk, hole(3, 5)); }).kind(), ErrorKind::durability);
  disk.set_hook({});
  EXPECT_FALSE(record_loss(*disk.open(), hole(3, 5))) << "the name is there";
  disk.crash_losing_everything();
  EXPECT_THAT(read(disk), SizeIs(1));
}

TEST(Losses, AreNotMadeShorterByWhoeverSeesASegmentOfThemOnly) {
  // An accepted hole from 3 to 8; then the audit of a store misses segment 3.
  SimDisk disk;
  finish(disk, 1, 2);
  EXPECT_TRUE(record_loss(*disk.open(), hole(3, 8)));
  EXPECT_FALSE(record_loss(*disk.open(), hole(3, 4), Longer::kept));
  EXPECT_THAT(read(disk), ElementsAre(with_missing(hole(3, 8))));
  EXPECT_TRUE(record_loss(*disk.open(), hole(3, 9), Longer::kept)) << "it has grown";
  EXPECT_TRUE(record_loss(*disk.open(), hole(3, 4))) << "the receiver knows where it ends";
  EXPECT_THAT(read(disk), ElementsAre(with_missing(hole(3, 4))));
}

TEST(Losses, LeaveNothingBehindOnAFullDisk) {
  SimDisk disk;
  finish(disk, 1, 2);
  disk.set_capacity(disk.used_bytes());
  EXPECT_EQ(error_of([&] { record(disk, hole(3, 5)); }).kind(), ErrorKind::disk_full);
  EXPECT_THAT(disk.names(), ElementsAre(name(1), name(2)));
  disk.set_capacity(std::nullopt);
  record(disk, hole(3, 5));
  EXPECT_THAT(read(disk), SizeIs(1));
}

TEST(Losses, AreAcknowledgedByAFileOfTheirOwn) {
  SimDisk disk;
  finish(disk, 1, 2);
  record(disk, hole(3, 5));
  const auto before = disk.content(loss_record_name("hole-1-0-300000"));
  acknowledge_loss(*disk.open(), hole(3, 5), kAck);
  disk.crash_losing_everything();
  EXPECT_EQ(disk.content(loss_record_name("hole-1-0-300000")), before);
  EXPECT_EQ(read(disk)[0].acknowledged, kAck);
  EXPECT_EQ(read_acknowledgement(*disk.open(), hole(3, 5)), kAck);
  EXPECT_EQ(read_acknowledgement(*disk.open(), hole(4, 5)), std::nullopt);

  // Recorded again at the next start: still the same loss.
  EXPECT_FALSE(record_loss(*disk.open(), hole(3, 5)));
  EXPECT_EQ(read(disk)[0].acknowledged, kAck);
  // A hole that has grown is another one.
  EXPECT_TRUE(record_loss(*disk.open(), hole(3, 6)));
  EXPECT_EQ(read(disk)[0].end, kSize.start(6));
  EXPECT_EQ(read(disk)[0].acknowledged, std::nullopt);
}

TEST(Losses, AreAcknowledgedAlthoughAReceiverTidiesUpMeanwhile) {
  for (std::uint64_t call = 1; call <= 8; ++call) {
    SCOPED_TRACE(call);
    SimDisk disk;
    finish(disk, 1, 2);
    record(disk, hole(3, 5));
    disk.reset_calls();
    const auto receiver = disk.open();
    bool tidied = false;
    disk.set_hook([&](const SimDisk::Call& each) {
      if (each.number == call && !tidied) {
        tidied = true;
        for (const auto& left : disk.names())
          if (left.ends_with(".tmp")) disk.erase(left);
      }
      return SimDisk::Effect::proceed();
    });
    acknowledge_loss(*disk.open(), hole(3, 5), kAck);
    disk.set_hook({});
    disk.crash_losing_everything();
    EXPECT_EQ(read(disk)[0].acknowledged, kAck);
  }
}

TEST(Losses, ThatCannotBeReadAreToldAllTheSame) {
  const auto wal = [] {
    weir::testing::WalBuilder::Options options;
    options.segment_size = kSize;
    options.start = kSize.start(1);
    weir::testing::WalBuilder builder(options);
    builder.grow_to(kSize.start(2));
    const auto bytes = builder.bytes(kSize.start(1), kSize.start(2));
    return Bytes(bytes.begin(), bytes.end());
  }();
  const auto whole = [&] {
    SimDisk disk;
    record(disk, hole(3, 5));
    return disk.content(loss_record_name("hole-1-0-300000"));
  }();
  for (std::size_t length = 0; length < whole.size() - 2; length += 7) {
    SCOPED_TRACE(length);
    SimDisk disk;
    disk.put(name(1), wal);
    finish(disk, 6, 6);
    disk.put(loss_record_name("hole-1-0-300000"), Bytes(whole.begin(), whole.begin() + length));
    const auto losses = read(disk);
    ASSERT_THAT(losses, SizeIs(1));
    ASSERT_TRUE(losses[0].complaint);
    EXPECT_EQ(losses[0].begin, kSize.start(3));
    EXPECT_EQ(losses[0].end, kSize.start(6)) << "where the next file begins";
    EXPECT_EQ(losses[0].id(), "hole-1-0-300000");
    // To be recorded again, whole.
    EXPECT_TRUE(record_loss(*disk.open(), hole(3, 5)));
    EXPECT_FALSE(read(disk)[0].complaint);
  }
  SimDisk disk;
  finish(disk, 1, 2);
  record(disk, hole(3, 5));
  disk.put(loss_acknowledgement_name("hole-1-0-300000"), bytes_of("{\"time\": \"to"));
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_THAT(*read(disk)[0].complaint, HasSubstr("acknowledgement cannot be read"));
  EXPECT_EQ(read(disk)[0].end, kSize.start(5));
  EXPECT_FALSE(read(disk)[0].acknowledged);
  acknowledge_loss(*disk.open(), hole(3, 5), kAck);
  EXPECT_FALSE(read(disk)[0].complaint);

  // An I/O error of the record's file.
  disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::read && call.name.ends_with("300000")
               ? SimDisk::Effect::fail(EIO)
               : SimDisk::Effect::proceed();
  });
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_TRUE(read(disk)[0].complaint);
}

TEST(Losses, AreOfSomeCluster) {
  const auto name = loss_record_name("hole-1-0-300000");
  SimDisk disk;
  finish(disk, 1, 2);
  record(disk, hole(3, 5));
  const auto content = disk.content(name);
  const std::string text(reinterpret_cast<const char*>(content.data()), content.size());
  const std::string key = "\"system_identifier\": \"";
  const auto begin = text.find(key) + key.size();
  const auto end = text.find('"', begin);
  EXPECT_FALSE(read(disk)[0].complaint);
  for (const std::string wrong : {"", "x", "12x", "-1", "18446744073709551616"}) {
    SCOPED_TRACE(wrong);
    auto damaged = text;
    disk.put(name, bytes_of(damaged.replace(begin, end - begin, wrong)));
    ASSERT_THAT(read(disk), SizeIs(1));
    EXPECT_EQ(read(disk)[0].complaint, "the record is damaged");
    EXPECT_EQ(read(disk)[0].begin, kSize.start(3)) << "by its name";
  }
}

TEST(Losses, AreReadAllTheSameWhereTheDiskFailsForAMoment) {
  SimDisk disk;
  finish(disk, 1, 2);
  record(disk, hole(3, 5));
  record(disk, branch());
  acknowledge_loss(*disk.open(), branch(), kAck);
  const auto directory = disk.open();
  const auto listing = list_archive_names(*directory);
  const auto recorded = read_losses(*directory, listing);
  ASSERT_THAT(recorded, SizeIs(2));
  const auto calls_before = disk.calls();
  static_cast<void>(read_losses(*directory, listing));
  const auto calls = disk.calls() - calls_before;
  for (std::uint64_t call = 1; call <= calls; ++call) {
    SCOPED_TRACE(call);
    disk.fail_at(disk.calls() + call, EIO);
    EXPECT_EQ(read_losses(*directory, listing), recorded);
  }
}

TEST(Losses, AreNotClosedByAGuess) {
  SimDisk disk;
  weir::testing::WalBuilder wal({.segment_size = kSize, .start = kSize.start(1)});
  for (std::uint64_t segno = 1; segno <= 3; ++segno)
    disk.put(name(segno), wal.bytes(kSize.start(segno), kSize.start(segno + 1)));
  // By its name alone it would end with segment 2, which is there.
  const auto loss = hole(2, 9);
  record(disk, loss);
  disk.set_hook([&](const SimDisk::Call& call) {
    return call.name == loss_record_name(loss.id()) ? SimDisk::Effect::fail(EIO)
                                                    : SimDisk::Effect::proceed();
  });
  EXPECT_THAT(close(disk), IsEmpty());
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_TRUE(read(disk)[0].complaint);
  disk.set_hook({});
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_FALSE(read(disk)[0].complaint);
  EXPECT_EQ(read(disk)[0].end, loss.end);
}

TEST(Losses, AreClosedWhenTheirRangeHasComeAfterAll) {
  SimDisk disk;
  finish(disk, 1, 2);
  disk.put(name(5, ".partial"), Bytes(kSize.bytes()));
  record(disk, hole(3, 5));
  acknowledge_loss(*disk.open(), hole(3, 5), kAck);
  disk.put(name(3, ".zst"), verify::packed(codec::Method::zstd, Bytes(kSize.bytes())));
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_THAT(read(disk)[0].missing, ElementsAre(Loss::Range{kSize.start(4), kSize.start(5)}));
  EXPECT_EQ(read(disk)[0].first_segment().to_string(), name(4));
  EXPECT_THAT(close(disk), IsEmpty());

  disk.put(name(4, ".partial"), Bytes(kSize.bytes()));
  EXPECT_THAT(read(disk), SizeIs(1)) << "unfinished is not enough";
  finish(disk, 4, 4, 2);
  EXPECT_THAT(read(disk), SizeIs(1)) << "of another timeline";
  disk.put(name(4), Bytes(kSize.bytes() / 2));
  const auto directory = disk.open();
  EXPECT_THAT(read_losses(*directory, list_archive(*directory)), SizeIs(1)) << "half a segment";
  finish(disk, 4, 4);
  EXPECT_THAT(read(disk), IsEmpty());
  EXPECT_THAT(close(disk), ElementsAre("hole-1-0-300000"));
  disk.crash_losing_everything();
  for (const auto& left : disk.names()) EXPECT_FALSE(left.starts_with(".")) << left;
}

TEST(Losses, AreClosedOrOpenAfterAPowerLossAtAnyCall) {
  // Who brought the segment was killed between its rename and the sync of its name; or it is "cp",
  // which syncs nothing.
  std::mt19937_64 random(4712);
  const Bytes arrived(kSize.bytes(), std::byte{7});
  for (int round = 0; round < 20; ++round) {
    bool over = false;
    for (std::uint64_t call = 1; !over; ++call) {
      SCOPED_TRACE(::testing::Message() << "round " << round << ", call " << call);
      SimDisk disk;
      finish(disk, 1, 2);
      finish(disk, 4, 4);
      record(disk, hole(3, 4));
      {
        const auto directory = disk.open();
        const auto file = directory->create("arrived");
        file->write_at(0, arrived);
        if (round % 2 == 0) file->sync();
        directory->rename_no_replace("arrived", name(3));
      }
      disk.reset_calls();
      disk.lose_power_at(call);
      try {
        close(disk);
        over = true;
      } catch (const MachineDown&) {
      }
      disk.set_hook({});
      disk.crash(random);
      EXPECT_TRUE((disk.exists(name(3)) && disk.content(name(3)) == arrived) ||
                  disk.exists(loss_record_name("hole-1-0-300000")))
          << "the hole is not recorded";
    }
  }
}

TEST(Losses, StayRecordedWhileASegmentThatFillsThemCannotBeOpened) {
  SimDisk disk;
  finish(disk, 1, 4);
  finish(disk, 6, 8);
  record(disk, hole(3, 5));
  record(disk, hole(7, 8));
  disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == SimDisk::Operation::open && call.name == name(4)
               ? SimDisk::Effect::fail(EACCES)
               : SimDisk::Effect::proceed();
  });
  EXPECT_THAT(close(disk), ElementsAre("hole-1-0-700000"));
  EXPECT_TRUE(disk.exists(loss_record_name("hole-1-0-300000")));
  disk.set_hook({});
  EXPECT_THAT(close(disk), ElementsAre("hole-1-0-300000"));
}

TEST(Losses, OverASwitchAreClosedBySegmentsOfTheRightTimeline) {
  SimDisk disk;
  finish(disk, 1, 2);
  auto loss = hole(3, 6);
  loss.next_timeline = 2;
  record(disk, loss);
  disk.put("00000002.history", bytes_of("1\t0/400100\tx\n"));
  finish(disk, 3, 4);
  finish(disk, 5, 5, 2);
  ASSERT_THAT(read(disk), SizeIs(1));
  EXPECT_THAT(read(disk)[0].missing, ElementsAre(Loss::Range{kSize.start(4), kSize.start(5)}))
      << "the segment with the switchpoint is the new timeline's";
  finish(disk, 4, 4, 2);
  EXPECT_THAT(read(disk), IsEmpty());
}

TEST(Losses, AreClosedWhereTheArchiveBeginsBehindThem) {
  SimDisk disk;
  record(disk, hole(3, 5));
  record(disk, branch());
  record(disk, hole(7, 8));
  EXPECT_THAT(read(disk), SizeIs(3)) << "without a segment nothing is known";
  disk.put(name(3, ".partial"), Bytes(kSize.bytes()));
  finish(disk, 6, 6);
  EXPECT_THAT(read(disk), SizeIs(3));
  disk.erase(name(3, ".partial"));
  EXPECT_THAT(read(disk), SizeIs(1));
  EXPECT_THAT(close(disk), ElementsAre("hole-1-0-300000", "branch-1-0-300158"));
  EXPECT_THAT(close(disk), IsEmpty());
  EXPECT_THAT(disk.names(), ElementsAre(loss_record_name("hole-1-0-700000"), name(6)));
}

/// Where the end of minimal WAL is not known, it goes on in all WAL that continues it.
TEST(Losses, OfMinimalWalThatGoesOnAreClosedWhereNoTimelineContinuesIt) {
  const auto history = [](SimDisk& disk, const std::string& content) {
    disk.put(wal::history_name(2), test::as_bytes(content));
  };
  for (const bool acknowledged : {false, true}) {
    SimDisk disk;
    record(disk, minimal(3, 3, true));
    if (acknowledged) acknowledge_loss(*disk.open(), minimal(3, 3, true), kAck);
    finish(disk, 5, 6);
    EXPECT_THAT(close(disk), IsEmpty()) << "its own timeline";
    finish(disk, 5, 8, 2);
    history(disk, "1\t0/300100\tno recovery target specified\n");
    EXPECT_THAT(close(disk), IsEmpty()) << "the abandoned branch is still there";
    for (const std::uint64_t segno : {5, 6}) disk.erase(name(segno));
    disk.erase(wal::history_name(2));
    EXPECT_THAT(close(disk), IsEmpty()) << "without a history it may continue it";
    history(disk, "rubbish");
    EXPECT_THAT(close(disk), IsEmpty());
    history(disk, "1\t0/500100\tno recovery target specified\n");
    EXPECT_THAT(close(disk), IsEmpty()) << "it was left later";
    EXPECT_THAT(read(disk), SizeIs(1));
    history(disk, "1\t0/300100\tno recovery target specified\n");
    EXPECT_THAT(read(disk), IsEmpty());
    EXPECT_THAT(close(disk), ElementsAre("minimal-1-0-300158"));
    EXPECT_THAT(disk.open()->names(), SizeIs(5)) << "four segments and a history";
  }
}

TEST(Losses, OfAMillionSegmentsAreNotCountedOneByOne) {
  SimDisk disk;
  finish(disk, 1, 1);
  record(disk, hole(2, std::uint64_t{1} << 40));
  EXPECT_THAT(read(disk), SizeIs(1));
}

TEST(Losses, TakeTheMarkOfAnEarlierVersionForARecord) {
  weir::testing::WalBuilder::Options options;
  options.segment_size = kSize;
  options.start = kSize.start(1);
  weir::testing::WalBuilder builder(options);
  builder.grow_to(kSize.start(2));
  const auto bytes = builder.bytes(kSize.start(1), kSize.start(2));
  SimDisk disk;
  const auto mark = hole_mark_name(SegmentName(1, 4, kSize));
  disk.put(name(1), Bytes(bytes.begin(), bytes.end()));
  disk.put(mark, {});
  EXPECT_THAT(read(disk), IsEmpty()) << "the segment behind it was never begun";
  disk.put(name(4, ".partial"), Bytes(kSize.bytes()));
  ASSERT_THAT(read(disk), SizeIs(1));
  const auto loss = read(disk)[0];
  EXPECT_EQ(loss.id(), "hole-1-0-200000");
  EXPECT_EQ(loss.end, kSize.start(4));
  EXPECT_EQ(loss.segment_size, kSize);
  EXPECT_THAT(close(disk), IsEmpty());
  EXPECT_TRUE(disk.exists(mark)) << "nothing else tells it yet";
  record(disk, loss);
  EXPECT_THAT(close(disk), IsEmpty());
  EXPECT_FALSE(disk.exists(mark));
  EXPECT_THAT(read(disk), SizeIs(1));
}

TEST(Losses, HaveNamesThatNobodyElseUses) {
  SimDisk disk;
  finish(disk, 1, 1);
  const auto content = [&] {
    SimDisk other;
    record(other, hole(3, 5));
    return other.content(loss_record_name("hole-1-0-300000"));
  }();
  for (const char* strange :
       {".pgweir-loss-", ".pgweir-loss-hole-1", ".pgweir-loss-hole-0-0-300000",
        ".pgweir-loss-hole-01-0-300000", ".pgweir-loss-hole-1-0-3000000000",
        ".pgweir-loss-hole-1-0-300000.ack.ack", ".pgweir-loss-hole-1-0-300000~",
        ".pgweir-loss-tear-1-0-300000", ".pgweir-loss-hole-1-0-300000.ack"})
    disk.put(strange, content);
  EXPECT_THAT(read(disk), IsEmpty());
  const auto before = disk.names();
  EXPECT_THAT(close(disk), IsEmpty());
  auto after = before;
  std::erase(after, ".pgweir-loss-hole-1-0-300000.ack");
  EXPECT_EQ(disk.names(), after) << "only the acknowledgement of nothing goes";
}

}  // namespace
}  // namespace weir::archive::losses_test
