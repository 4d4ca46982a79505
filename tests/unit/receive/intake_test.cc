#include "receive/intake.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/error.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::receive::intake_test {
namespace {

using wal::Lsn;

constexpr std::uint64_t kMB = 1 << 20;
constexpr std::size_t kPiece = 100'000;

class IntakeTest : public ::testing::Test {
 protected:
  IntakeTest()
      : wal(testing::WalBuilder::Options{.seed = 3}),
        directory(disk.open()),
        writer(*directory, {.segment_size = *wal::SegmentSize::of(kMB)}),
        verifier({.segment_size = *wal::SegmentSize::of(kMB)}, Lsn(kMB)),
        intake(verifier, writer) {
    writer.begin(1, Lsn(kMB), {});
  }

  sim::SimDisk disk;
  testing::WalBuilder wal;
  std::unique_ptr<io::Directory> directory;
  archive::SegmentWriter writer;
  wal::RecordVerifier verifier;
  Intake intake;
};

TEST_F(IntakeTest, WritesWhatItAccepted) {
  const auto bytes = wal.bytes(Lsn(kMB), Lsn(kMB) + kPiece);
  intake.accept(bytes);
  EXPECT_TRUE(intake.holds_something());
  EXPECT_EQ(writer.position(), Lsn(kMB));
  intake.write();
  EXPECT_FALSE(intake.holds_something());
  EXPECT_EQ(writer.position(), Lsn(kMB) + kPiece);
  EXPECT_TRUE(disk.holds("000000010000000000000001.partial", 0, bytes));
}

TEST_F(IntakeTest, WritesNothingOfAPieceThatIsDamaged) {
  const auto bytes = wal.bytes(Lsn(kMB), Lsn(kMB) + kPiece);
  std::vector<std::byte> damaged(bytes.begin(), bytes.end());
  const auto& record = wal.records()[wal.records().size() / 2];
  damaged[record.start - Lsn(kMB) + 25] ^= std::byte{1};
  try {
    intake.accept(damaged);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_NE(std::string(error.what()).find(record.start.to_string()), std::string::npos)
        << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
  EXPECT_FALSE(intake.holds_something());
  EXPECT_EQ(writer.position(), Lsn(kMB));
}

/// A server of the newest known major version may be newer than the table of versions. So its first
/// page is accepted, unless the archive has WAL of that segment already.
TEST_F(IntakeTest, TakesANewerFirstPageForDamageWhereTheArchiveHasWalOfAKnownVersion) {
  const auto bytes = wal.bytes(Lsn(kMB), Lsn(kMB) + 4096);
  std::vector<std::byte> damaged(bytes.begin(), bytes.end());
  damaged[1] ^= std::byte{0x20};
  intake.accept(damaged);
  EXPECT_TRUE(intake.holds_something());
  EXPECT_TRUE(intake.unchecked());

  wal::RecordVerifier again({.segment_size = *wal::SegmentSize::of(kMB)}, Lsn(kMB));
  Intake knows(again, writer);
  knows.expect_known_version();
  try {
    knows.accept(damaged);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_NE(std::string(error.what()).find("unexpected page magic"), std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(knows.holds_something());

  wal::RecordVerifier third({.segment_size = *wal::SegmentSize::of(kMB)}, Lsn(kMB));
  Intake sound(third, writer);
  sound.expect_known_version();
  sound.accept(bytes);
  EXPECT_TRUE(sound.holds_something());
}

TEST_F(IntakeTest, GoesOnWhereAFullDiskStoppedIt) {
  const auto bytes = wal.bytes(Lsn(kMB), Lsn(kMB) + kPiece);
  disk.set_hook([](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::write ? sim::SimDisk::Effect::fail(ENOSPC)
                                                            : sim::SimDisk::Effect::proceed();
  });
  intake.accept(bytes);
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THROW(intake.write(), Error);
    EXPECT_TRUE(intake.holds_something());
  }
  disk.set_hook({});
  intake.write();
  EXPECT_FALSE(intake.holds_something());
  EXPECT_EQ(writer.position(), Lsn(kMB) + kPiece);
  EXPECT_TRUE(disk.holds("000000010000000000000001.partial", 0, bytes));
}

TEST_F(IntakeTest, ForgetsWhatIsDropped) {
  intake.accept(wal.bytes(Lsn(kMB), Lsn(kMB) + kPiece));
  intake.drop();
  EXPECT_FALSE(intake.holds_something());
  intake.write();
  EXPECT_EQ(writer.position(), Lsn(kMB));
}

/// WAL that comes again, in pieces as a server cuts it: what is in the archive from before is
/// compared with it.
class ComesAgain : public IntakeTest {
 protected:
  ComesAgain() {
    const auto held = wal.bytes(Lsn(kMB), end());
    intake.accept(held);
    intake.write();
    writer.end();
    record = wal.records()[wal.records().size() / 2];
    again.assign(held.begin(), held.end());
    open.start = Lsn(kMB);
    open.first_record = wal.records().front().start;
    open.trusted_end = wal.complete_end(end());
    second_writer.begin(1, Lsn(kMB), {&open, 1});
  }
  static Lsn end() { return Lsn(kMB) + 5 * kPiece; }

  /// nullopt: all of it was taken.
  std::optional<Error> take(std::size_t piece) {
    try {
      for (std::size_t at = 0; at < again.size(); at += piece) {
        second.accept(std::span(again).subspan(at, std::min(piece, again.size() - at)));
        second.write();
      }
    } catch (const Error& error) {
      return error;
    }
    return std::nullopt;
  }

  testing::WalBuilder::Record record;
  std::vector<std::byte> again;
  archive::OpenSegment open;
  archive::SegmentWriter second_writer{*directory, {.segment_size = *wal::SegmentSize::of(kMB)}};
  wal::RecordVerifier second_verifier{{.segment_size = *wal::SegmentSize::of(kMB)}, Lsn(kMB)};
  Intake second{second_verifier, second_writer};
};

class ComesAgainInPieces : public ComesAgain, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(ComesAgainInPieces, AndIsTakenIfItIsTheSame) {
  EXPECT_FALSE(take(GetParam()));
  EXPECT_FALSE(second.disputes());
  EXPECT_EQ(second_writer.position(), end());
}

TEST_P(ComesAgainInPieces, AndIsDamagedIfItsChecksumIsWrong) {
  again[wal.byte_of_record(record.start, 24) - Lsn(kMB)] ^= std::byte{1};
  const auto error = take(GetParam());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::damage) << error->what();
  EXPECT_LE(second_writer.position(), record.start + 24);
  EXPECT_FALSE(second.disputes());
}

TEST_P(ComesAgainInPieces, AndIsAnotherServersIfItsChecksumIsRight) {
  testing::WalBuilder other(testing::WalBuilder::Options{.seed = 4});
  const auto theirs = other.bytes(Lsn(kMB), end());
  again.assign(theirs.begin(), theirs.end());
  const auto error = take(GetParam());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::conflict) << error->what();
  EXPECT_LT(second_writer.position(), end());
}

INSTANTIATE_TEST_SUITE_P(Intake, ComesAgainInPieces,
                         ::testing::Values(std::size_t{64}, std::size_t{1000}, std::size_t{8192},
                                           kPiece));

TEST_F(ComesAgain, AndIsAnotherServersIfItEndsBeforeItsChecksum) {
  const auto body = wal.byte_of_record(record.start, 24);
  again[body - Lsn(kMB)] ^= std::byte{1};
  again.resize(body + 1 - Lsn(kMB));
  EXPECT_FALSE(take(1000));
  EXPECT_TRUE(second.disputes());
  EXPECT_FALSE(second.holds_something());
  EXPECT_THROW(second.settle(), Error);
  EXPECT_FALSE(second.disputes());
  second.settle();
}

/// WAL that goes on behind a segment which ends with an xlog switch, in pieces.
class GoesOnBehindTheArchive : public ::testing::TestWithParam<std::size_t> {
 protected:
  static testing::WalBuilder one_switch(std::uint32_t first_record) {
    testing::WalBuilder wal(testing::WalBuilder::Options{.seed = first_record});
    wal.append_random(first_record);
    wal.append_switch();
    wal.append_random(700);
    wal.append_random(300);
    return wal;
  }

  /// What becomes of the end of `sent` where the archive has what comes before in `archived`.
  std::optional<Error> take(const testing::WalBuilder& archived,
                            std::span<const std::byte> sent) const {
    sim::SimDisk disk;
    const auto directory = disk.open();
    archive::SegmentWriter writer(*directory, {.segment_size = *wal::SegmentSize::of(kMB)});
    wal::RecordVerifier verifier({.segment_size = *wal::SegmentSize::of(kMB)}, Lsn(kMB));
    EXPECT_FALSE(verifier.feed(archived.bytes().first(kMB)));
    writer.begin(1, Lsn(2 * kMB), {});
    Intake intake(verifier, writer);
    std::optional<Error> error;
    try {
      for (std::size_t at = 0; at < sent.size(); at += GetParam()) {
        intake.accept(sent.subspan(at, std::min(GetParam(), sent.size() - at)));
        EXPECT_NE(intake.holds_something(), intake.disputes());
        intake.write();
      }
      intake.settle();
      return std::nullopt;
    } catch (const Error& thrown) {
      error = thrown;
    }
    // Nothing that counts as a record.
    if (error->kind() == ErrorKind::conflict) {
      EXPECT_LT(writer.position(), Lsn(2 * kMB) + 40 + 24);
    }
    EXPECT_FALSE(intake.disputes());
    return error;
  }
};

TEST_P(GoesOnBehindTheArchive, AndIsTakenIfItContinuesIt) {
  const auto wal = one_switch(500);
  EXPECT_FALSE(take(wal, wal.bytes().subspan(kMB)));
}

TEST_P(GoesOnBehindTheArchive, AndIsAnotherServersIfItNamesAnotherRecordBeforeIt) {
  const auto other = one_switch(900);
  const auto error = take(one_switch(500), other.bytes().subspan(kMB));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::conflict) << error->what();
  EXPECT_NE(error->hint().find("split brain"), std::string::npos);
}

TEST_P(GoesOnBehindTheArchive, AndIsDamagedIfItsLinkOrItsChecksumIs) {
  const auto wal = one_switch(500);
  for (const std::size_t offset : {0, 8, 40 + 8, 40 + 20, 40 + 30}) {
    SCOPED_TRACE(offset);
    std::vector<std::byte> damaged(wal.bytes().begin() + kMB, wal.bytes().end());
    damaged[offset] ^= std::byte{1};
    const auto error = take(wal, damaged);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::damage) << error->what();
  }
}

TEST_P(GoesOnBehindTheArchive, AndIsDamagedAsLongAsNobodyKnows) {
  const auto other = one_switch(900);
  const auto error = take(one_switch(500), other.bytes().subspan(kMB, 200));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::damage) << error->what();
}

TEST_P(GoesOnBehindTheArchive, AndIsDamagedIfOnlyTheRestOfARecordIs) {
  testing::WalBuilder wal(testing::WalBuilder::Options{.switch_every = 0, .abort_every = 0});
  while (Lsn(2 * kMB) - wal.end() > 8'192) wal.append_random(400);
  wal.append_up_to(Lsn(2 * kMB - 200));
  wal.append_random(1'001);
  wal.append_random(300);
  EXPECT_FALSE(take(wal, wal.bytes().subspan(kMB)));
  for (const std::size_t offset : {16, 60}) {  // the length of it in the page header, its body
    SCOPED_TRACE(offset);
    std::vector<std::byte> damaged(wal.bytes().begin() + kMB, wal.bytes().end());
    damaged[offset] ^= std::byte{2};
    const auto error = take(wal, damaged);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::damage) << error->what();
  }
  // And another server's, where the record before it ends elsewhere.
  const auto error = take(wal, one_switch(900).bytes().subspan(kMB));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::conflict) << error->what();
}

INSTANTIATE_TEST_SUITE_P(Intake, GoesOnBehindTheArchive,
                         ::testing::Values(std::size_t{1}, std::size_t{64}, std::size_t{1000},
                                           kPiece));

}  // namespace
}  // namespace weir::receive::intake_test
