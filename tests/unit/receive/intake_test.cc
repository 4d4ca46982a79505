#include "receive/intake.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/error.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::receive {
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

}  // namespace
}  // namespace weir::receive
