#include "cli/metrics/report_metrics.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace weir::cli::report_metrics_test {
namespace {

/// Of its first sample; nullopt: it is not there.
std::optional<double> value_of(const std::vector<metrics::Family>& families,
                               std::string_view name) {
  for (const auto& family : families)
    if (family.metric.name == name) return family.samples.at(0).value;
  return std::nullopt;
}

TEST(StatusMetrics, HaveTheLevelOfTheCheckWithItsThresholds) {
  status::StatusReport report;
  report.receiver.emplace();
  report.receiver->state = "streaming";
  report.receiver->stream.emplace();
  report.receiver->stream->flush = wal::Lsn(0x2000000);
  report.receiver->stream->server_end = wal::Lsn(0x3000000);
  EXPECT_EQ(value_of(status_metrics(report, {}, {}), "pgweir_status_level"), 0.0);
  status::Limits limits;
  limits.max_lag = std::uint64_t{1} << 20;
  EXPECT_EQ(value_of(status_metrics(report, limits, {}), "pgweir_status_level"), 2.0);
}

TEST(StatusMetrics, KnowNeitherDiskNorReceiverOfAStoreAlone) {
  status::StatusReport report;
  report.directory = "s3://bucket/wal";
  report.store = status::StoreSide{.place = report.directory};
  const auto families = status_metrics(report, {}, {});
  EXPECT_TRUE(value_of(families, "pgweir_status_holes"));
  EXPECT_FALSE(value_of(families, "pgweir_status_free_bytes"));
  EXPECT_FALSE(value_of(families, "pgweir_status_receiver_running"));
}

TEST(StatusMetrics, DateTheLastVerificationUnlessAPartPassed) {
  status::StatusReport report;
  const auto dated = [&](bool passed, bool whole) {
    report.last_verify = archive::LastCheck{.passed = passed, .whole = whole};
    const auto families = status_metrics(report, {}, {});
    EXPECT_EQ(value_of(families, "pgweir_status_last_check_passed"), passed ? 1.0 : 0.0);
    return value_of(families, "pgweir_status_last_check_timestamp_seconds").has_value();
  };
  EXPECT_TRUE(dated(true, true));
  EXPECT_TRUE(dated(false, true));
  EXPECT_TRUE(dated(false, false)) << "in effect until one of the whole archive succeeds";
  EXPECT_FALSE(dated(true, false));
  report.last_verify.reset();
  report.last_drill = archive::LastCheck{.passed = true, .whole = false};
  EXPECT_TRUE(
      value_of(status_metrics(report, {}, {}), "pgweir_status_last_check_timestamp_seconds"));
}

TEST(Metrics, AreUtf8EvenIfTheArchivesPathIsNot) {
  status::StatusReport report;
  report.directory = "/srv/lat\xe4in";
  const auto families = status_metrics(report, {}, {});
  ASSERT_FALSE(families.empty());
  for (const auto& family : families)
    for (const auto& sample : family.samples)
      EXPECT_EQ(sample.labels.at(0).second, "/srv/lat\\xe4in") << family.metric.name;
}

}  // namespace
}  // namespace weir::cli::report_metrics_test
