#include "cli/metrics/receiver_metrics.h"

#include <gtest/gtest.h>

#include <optional>
#include <string_view>
#include <vector>

#include "receive/status_board.h"

namespace weir::cli::receiver_metrics_test {
namespace {

/// Of its first sample; nullopt: it is not there.
std::optional<double> value_of(const std::vector<metrics::Family>& families,
                               std::string_view name) {
  for (const auto& family : families)
    if (family.metric.name == name) return family.samples.at(0).value;
  return std::nullopt;
}

TEST(ReceiverMetrics, ShowThatTheSlotWasNeverChecked) {
  receive::StatusBoard board;
  ReceiverMetrics metrics("/srv/wal", board);
  board.update([](receive::ReceiverView& view) { view.slot = "weir"; });
  EXPECT_EQ(value_of(metrics.collect(true), "pgweir_slot_error"), std::nullopt);
  board.update([](receive::ReceiverView& view) { view.slot_warning = "it could not be checked"; });
  EXPECT_EQ(value_of(metrics.collect(true), "pgweir_slot_error"), 1.0);
  EXPECT_EQ(value_of(metrics.collect(true), "pgweir_slot_exists"), std::nullopt);
  board.update([](receive::ReceiverView& view) {
    view.slot_warning.reset();
    view.slot_view.emplace();
    view.slot_view->exists = true;
  });
  EXPECT_EQ(value_of(metrics.collect(true), "pgweir_slot_error"), 0.0);
  EXPECT_EQ(value_of(metrics.collect(true), "pgweir_slot_exists"), 1.0);
}

}  // namespace
}  // namespace weir::cli::receiver_metrics_test
