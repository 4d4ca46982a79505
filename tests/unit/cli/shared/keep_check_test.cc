#include "cli/shared/keep_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/metrics/report_metrics.h"
#include "io/posix_directory.h"
#include "support/backup_builder.h"

namespace weir::cli::keep_check_test {
namespace {

using ::testing::HasSubstr;
using Kind = verify::FindingKind;

constexpr std::chrono::system_clock::time_point kNow{};

archive::SegmentRange range_of(bool hole) {
  const wal::SegmentName segment(1, 5, wal::SegmentSize());
  return {.first = segment, .last = segment, .hole = hole};
}

/// The value of a metric without labels but the archive's.
double value_of(const std::vector<metrics::Family>& families, std::string_view name) {
  for (const auto& family : families)
    if (family.metric.name == name) return family.samples.at(0).value;
  ADD_FAILURE() << name;
  return -1;
}

TEST(KeepCheck, RecordsLossesAsPassedButNotAnArchiveWithoutWal) {
  verify::Report report;
  report.findings = {{.kind = Kind::gap,
                      .file = "000000010000000000000003",
                      .what = "missing",
                      .loss = verify::LostRange{1, wal::Lsn(0x3000000), wal::Lsn(0x4000000)}},
                     {.kind = Kind::damage, .what = "known", .accepted = "it is"}};
  EXPECT_TRUE(last_check_of({.report = report}, true, kNow).passed);
  report.findings.push_back({.kind = Kind::gap, .what = "there is no WAL segment"});
  const auto check = last_check_of({.report = report}, true, kNow);
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.problems, 1u);
  EXPECT_EQ(check.problem, "there is no WAL segment");
}

TEST(KeepCheck, RecordsWhatTheManifestsAndTheComparisonFound) {
  const verify::Report report;
  store::ManifestReport manifest;
  verify::BesideReport compared{.path = "/a", .other = "s3://b/wals"};
  compared.names.only_one = {range_of(false)};
  const VerifyResults results{.report = report,
                              .compared = &compared,
                              .manifest = &manifest,
                              .beside = archive::LastCheck::Beside::store};
  EXPECT_TRUE(results.sound());
  EXPECT_TRUE(last_check_of(results, true, kNow).passed) << "an end that the store lacks";
  EXPECT_EQ(value_of(verify_metrics(report, results.sound(), "/a", kNow), "pgweir_verify_sound"),
            1);

  manifest.findings = {"1 object does not match the manifest", "another"};
  auto check = last_check_of(results, true, kNow);
  EXPECT_FALSE(results.sound());
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.problems, 2u);
  EXPECT_EQ(check.problem, "1 object does not match the manifest");
  EXPECT_EQ(value_of(verify_metrics(report, results.sound(), "/a", kNow), "pgweir_verify_sound"),
            0);

  manifest.findings.clear();
  compared.names.only_other = {range_of(true)};
  check = last_check_of(results, true, kNow);
  EXPECT_FALSE(results.sound());
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.problem, "000000010000000000000005: only in s3://b/wals");

  compared.names.only_other.clear();
  compared.unlike = {{.kind = verify::Unlike::Kind::damaged_other,
                      .file = "000000010000000000000004",
                      .other_file = "000000010000000000000004.zst",
                      .what = "damaged"}};
  check = last_check_of(results, true, kNow);
  EXPECT_FALSE(results.sound());
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.problems, 1u);
  EXPECT_THAT(check.problem, HasSubstr("000000010000000000000004.zst in s3://b/wals: damaged"));
}

TEST(KeepCheck, RecordsNothingAboutABackupThatIsNotConsistentYet) {
  verify::Report report;
  report.findings = {{.kind = Kind::backup, .file = "backup_label", .what = "not consistent"}};
  EXPECT_FALSE(VerifyResults{.report = report}.sound());
  EXPECT_TRUE(last_check_of({.report = report}, false, kNow).passed);
  report.findings.push_back({.kind = Kind::damage, .what = "damaged"});
  const auto check = last_check_of({.report = report}, false, kNow);
  EXPECT_FALSE(check.passed);
  EXPECT_EQ(check.problem, "damaged");
}

TEST(KeepCheck, RecordsNothingAboutAnotherArchiveAgainstThisOne) {
  using Unlike = verify::Unlike::Kind;
  const verify::Report report;
  verify::BesideReport compared{.path = "/a", .other = "/b"};
  compared.names.only_one = {range_of(true)};
  compared.unlike = {{.kind = Unlike::damaged_other,
                      .file = "000000010000000000000004",
                      .other_file = "000000010000000000000004",
                      .what = "damaged"}};
  const VerifyResults results{
      .report = report, .compared = &compared, .beside = archive::LastCheck::Beside::archive};
  EXPECT_FALSE(results.sound());
  auto check = last_check_of(results, true, kNow);
  EXPECT_TRUE(check.passed) << check.problem;
  EXPECT_EQ(check.beside, archive::LastCheck::Beside::archive);
  // Which of two valid ones is right is not known.
  for (const auto kind : {Unlike::differ, Unlike::damaged_one, Unlike::damaged_both}) {
    compared.unlike[0].kind = kind;
    EXPECT_FALSE(last_check_of(results, true, kNow).passed) << to_string(kind);
  }
  compared.unlike.clear();
  compared.names.only_other = {range_of(true)};
  EXPECT_FALSE(last_check_of(results, true, kNow).passed);
}

TEST(KeepCheck, DrillToAnEarlierTargetDoesNotHideThatOneToTheEndFailed) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  constexpr auto kDrill = archive::LastCheck::Kind::drill;
  constexpr std::chrono::system_clock::time_point kThen(std::chrono::seconds(1'795'305'600));
  const auto passed_after = [&](drill::Outcome outcome, bool whole) {
    drill::Report report;
    report.outcome = outcome;
    keep_check(directory->path(), kDrill, last_check_of(report, whole, kThen));
    return archive::read_last_check(*directory, kDrill)->passed;
  };
  EXPECT_FALSE(passed_after(drill::Outcome::failed, true));
  EXPECT_FALSE(passed_after(drill::Outcome::recovered, false));
  EXPECT_TRUE(passed_after(drill::Outcome::recovered, true));
  EXPECT_TRUE(passed_after(drill::Outcome::recovered, false));
  EXPECT_FALSE(passed_after(drill::Outcome::failed, false));
}

/// Of an old primary, which wrote on after the failover: its own timeline is intact.
TEST(KeepCheck, DrillOfALeftBranchDoesNotHideThatOneToTheEndFailed) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  constexpr auto kDrill = archive::LastCheck::Kind::drill;
  constexpr std::chrono::system_clock::time_point kThen(std::chrono::seconds(1'795'305'600));
  drill::Report report;
  report.outcome = drill::Outcome::failed;
  keep_check(directory->path(), kDrill, last_check_of(report, true, kThen));
  report.outcome = drill::Outcome::recovered;
  report.of_left_branch = true;
  keep_check(directory->path(), kDrill, last_check_of(report, true, kThen));
  EXPECT_FALSE(archive::read_last_check(*directory, kDrill)->passed);
  report.of_left_branch = false;
  keep_check(directory->path(), kDrill, last_check_of(report, true, kThen));
  EXPECT_TRUE(archive::read_last_check(*directory, kDrill)->passed);
}

TEST(KeepCheck, WarnsThatAnEarlierResultIsShown) {
  const test::TemporaryDirectory place;
  ::testing::internal::CaptureStderr();
  keep_check(place.path("missing"), archive::LastCheck::Kind::verify, {});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("pgweir: warning: the result is not recorded, and \"pgweir status\" shows "
                        "an earlier one: "));
}

}  // namespace
}  // namespace weir::cli::keep_check_test
