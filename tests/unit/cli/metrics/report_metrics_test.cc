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
