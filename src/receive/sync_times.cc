#include "receive/sync_times.h"

#include <algorithm>
#include <cmath>

namespace weir::receive {

namespace {

constexpr double kFirstUs = 1;
constexpr double kWider = 1.2;

std::size_t class_of(std::chrono::nanoseconds duration, std::size_t classes) {
  const double us = std::chrono::duration<double, std::micro>(duration).count();
  if (us <= kFirstUs) return 0;
  const auto number = std::ceil(std::log(us / kFirstUs) / std::log(kWider));
  return std::min(classes - 1, static_cast<std::size_t>(number));
}

std::chrono::nanoseconds upper_end(std::size_t number) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(
      std::ceil(kFirstUs * std::pow(kWider, static_cast<double>(number)) * 1000)));
}

}  // namespace

void SyncTimes::add(std::chrono::nanoseconds duration, Time now) {
  const auto number = slice_of(now);
  auto& slice = slices_[static_cast<std::size_t>(number) % kSlices];
  if (slice.number != number) slice = Slice{.number = number};
  slice.worst = std::max(slice.worst, duration);
  ++slice.counts[class_of(duration, kClasses)];
}

std::optional<SyncTimes::Summary> SyncTimes::summary(Time now) const {
  Summary summary;
  std::array<std::uint64_t, kClasses> counts{};
  const auto oldest = slice_of(now) - static_cast<std::int64_t>(kSlices) + 1;
  for (const auto& slice : slices_) {
    if (slice.number < oldest) continue;
    summary.worst = std::max(summary.worst, slice.worst);
    for (std::size_t i = 0; i < kClasses; ++i) counts[i] += slice.counts[i];
  }
  for (const auto count : counts) summary.count += count;
  if (summary.count == 0) return std::nullopt;
  // The smallest duration not exceeded by at least this percentage.
  const auto percentile = [&](std::uint64_t percent) {
    const auto wanted = (summary.count * percent + 99) / 100;
    std::uint64_t seen = 0;
    std::size_t number = 0;
    while ((seen += counts[number]) < wanted) ++number;
    return std::min(upper_end(number), summary.worst);
  };
  summary.p50 = percentile(50);
  summary.p99 = percentile(99);
  return summary;
}

}  // namespace weir::receive
