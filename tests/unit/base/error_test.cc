#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "wal/lsn.h"

namespace weir::error_test {
namespace {

TEST(Error, PutsMessageAndContextOnOneLineAndKeepsTheHintApart) {
  const auto error = Error(ErrorKind::gap, "requested WAL segment has already been removed")
                         .with("timeline", 3)
                         .with("lsn", wal::Lsn(0x16B374D848))
                         .hint("Use a replication slot.")
                         .hint("Or start anew.");
  EXPECT_EQ(error.kind(), ErrorKind::gap);
  EXPECT_EQ(error.message(), "requested WAL segment has already been removed");
  EXPECT_EQ(error.context(), "timeline 3, lsn 16/B374D848");
  EXPECT_STREQ(error.what(),
               "requested WAL segment has already been removed (timeline 3, lsn 16/B374D848)");
  EXPECT_EQ(error.hint(), "Use a replication slot. Or start anew.");
}

TEST(Error, IsJustItsMessageWithoutContext) {
  const Error error(ErrorKind::io, "could not open file");
  EXPECT_STREQ(error.what(), "could not open file");
  EXPECT_EQ(error.context(), "");
  EXPECT_EQ(error.hint(), "");
}

TEST(Error, CanBeGivenContextWhereItPasses) {
  try {
    try {
      throw Error(ErrorKind::damage, "incorrect record checksum");
    } catch (Error& error) {
      error.with("segment", "000000010000000000000001").hint("Fetch it again.");
      throw;
    }
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "incorrect record checksum (segment 000000010000000000000001)");
    EXPECT_EQ(error.hint(), "Fetch it again.");
  }
}

/// One that some callers tell from all others.
class Special final : public ErrorAs<Special> {
 public:
  using ErrorAs::ErrorAs;
};

TEST(Error, KeepsItsTypeAndSqlstateWhenItIsThrownWithMoreContext) {
  try {
    throw Special(ErrorKind::conflict, "special").with("file", "x").hint("Look.").with("at", 1);
  } catch (const Special& error) {
    EXPECT_STREQ(error.what(), "special (file x, at 1)");
    EXPECT_EQ(error.hint(), "Look.");
  }
  Special named(ErrorKind::conflict, "special");
  try {
    throw named.with("file", "y").hint("Look.");
  } catch (const Special& error) {
    EXPECT_STREQ(error.what(), "special (file y)");
  }
  const Error plain(ErrorKind::refused, "no such slot");
  EXPECT_EQ(plain.sqlstate(), "");
  EXPECT_EQ(Error(plain).with_sqlstate("42704").with("slot", "a").sqlstate(), "42704");
}

TEST(Error, TakesBracesInTextsAsTheyAre) {
  const auto error = Error(ErrorKind::usage, "unknown option {}").with("value", "{0}");
  EXPECT_STREQ(error.what(), "unknown option {} (value {0})");
}

TEST(SystemError, TellsAFullDiskFromOtherFailures) {
  const struct {
    int code;
    ErrorKind expected;
    const char* reason;
  } cases[] = {
      {ENOSPC, ErrorKind::disk_full, "No space left on device"},
      {EDQUOT, ErrorKind::disk_full, "Disk quota exceeded"},
      {EIO, ErrorKind::io, "Input/output error"},
      {EACCES, ErrorKind::io, "Permission denied"},
      {EROFS, ErrorKind::io, "Read-only file system"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.reason);
    const auto error = system_error(test.code, "could not write").with("path", "/a b");
    EXPECT_EQ(error.kind(), test.expected);
    EXPECT_STREQ(error.what(), fmt::format("could not write: {} (path /a b)", test.reason).c_str());
  }
}

TEST(ErrorKind, HasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (const auto kind : {ErrorKind::usage, ErrorKind::retry, ErrorKind::disk_full, ErrorKind::io,
                          ErrorKind::durability, ErrorKind::conflict, ErrorKind::gap,
                          ErrorKind::damage, ErrorKind::protocol, ErrorKind::refused})
    EXPECT_TRUE(names.insert(to_string(kind)).second) << to_string(kind);
  EXPECT_EQ(names.count("unknown"), 0u);
}

TEST(CheckDeathTest, AbortsWithPlaceAndExpression) {
  EXPECT_DEATH(PGWEIR_CHECK(1 + 1 == 3),
               "broken invariant at .*error_test.cc:[0-9]+: 1 \\+ 1 == 3");
  PGWEIR_CHECK(true);
}

}  // namespace
}  // namespace weir::error_test
