#include "receive/flush_policy.h"

#include <string>

#include "base/error.h"
#include "base/units.h"

namespace weir::receive {

std::optional<Time> sync_due_at(const FlushPolicy& policy, const FlushInputs& inputs) {
  constexpr Time kNow = Time::min();
  if (inputs.segment_complete) return kNow;
  if (inputs.unsynced_bytes == 0) return std::nullopt;
  if (inputs.urgent) return kNow;
  switch (policy.mode) {
    case FlushPolicy::Mode::continuous:
      if (inputs.behind_bytes < inputs.catch_up_bytes) return kNow;
      if (inputs.unsynced_bytes >= kCatchUpStep) return kNow;
      return inputs.oldest_unsynced + kCatchUpInterval;
    case FlushPolicy::Mode::interval:
      return inputs.oldest_unsynced + policy.interval;
    case FlushPolicy::Mode::segment:
      return std::nullopt;
  }
  return kNow;
}

FlushPolicy FlushPolicy::parse(std::string_view text) {
  if (text == "continuous") return {Mode::continuous, {}};
  if (text == "segment") return {Mode::segment, {}};
  if (const auto interval = parse_duration(text); interval && interval->count() > 0)
    return {Mode::interval, *interval};
  throw Error(ErrorKind::usage, "invalid flush policy \"" + std::string(text) + "\"")
      .hint("Use \"continuous\", a time with a unit such as \"200ms\", or \"segment\".");
}

}  // namespace weir::receive
