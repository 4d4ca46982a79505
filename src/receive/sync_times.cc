#include "receive/sync_times.h"

#include <algorithm>
#include <bit>

namespace weir::receive {

namespace {

/// The first class ends at 2 to this power, in nanoseconds; each further power has 2 to kSplit
/// classes. (Without floating point: the mathematical library would be touched for each commit.)
constexpr unsigned kFirst = 9;
constexpr unsigned kSplit = 3;

std::size_t class_of(std::chrono::nanoseconds duration, std::size_t classes) {
  // A class includes its upper end.
  const auto below = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 1) - 1);
  if (below >> kFirst == 0) return 0;
  const auto power = static_cast<unsigned>(std::bit_width(below)) - 1;
  const auto part = below >> (power - kSplit) & ((1u << kSplit) - 1);
  return std::min<std::size_t>(classes - 1, 1 + ((power - kFirst) << kSplit) + part);
}

std::chrono::nanoseconds upper_end(std::size_t number, std::size_t classes) {
  if (number == classes - 1) return std::chrono::nanoseconds::max();
  if (number == 0) return std::chrono::nanoseconds(std::int64_t{1} << kFirst);
  const auto power = kFirst + ((number - 1) >> kSplit);
  const auto part = (number - 1) & ((1u << kSplit) - 1);
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(((std::uint64_t{1} << kSplit) + part + 1) << (power - kSplit)));
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
    return std::min(upper_end(number, kClasses), summary.worst);
  };
  summary.p50 = percentile(50);
  summary.p99 = percentile(99);
  return summary;
}

}  // namespace weir::receive
