#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::receive {

/// The engine's clock; only ever passed in.
using Time = std::chrono::steady_clock::time_point;

/// When received WAL is made durable: `--flush continuous | <time> | segment`.
struct FlushPolicy {
  enum class Mode {
    continuous,  ///< as soon as it pays: at once when caught up, in larger steps when behind
    interval,    ///< no received byte stays unsynced for longer than `interval`
    segment,     ///< when a segment is full (and when the server asks, or at the end)
  };
  Mode mode = Mode::continuous;
  std::chrono::milliseconds interval{0};

  /// Throws Error{usage} that names the forms.
  [[nodiscard]] static FlushPolicy parse(std::string_view text);
  bool operator==(const FlushPolicy&) const = default;
};

/// More than this behind counts as catching up: then throughput matters, and a sync per read would
/// only slow it. A server whose commits wait for us is never this far ahead.
inline constexpr std::uint64_t kCatchUpBytes = 4 * 1024 * 1024;

/// What the decision rests on.
struct FlushInputs {
  std::uint64_t unsynced_bytes = 0;  ///< written, and not covered by a sync that has begun
  Time oldest_unsynced;              ///< when the first of them was written
  std::uint64_t behind_bytes = 0;    ///< what the server has beyond what we received
  bool segment_complete =
      false;            ///< it waits for its name, or a piece of it in memory for the file
  bool urgent = false;  ///< the server asked, or the stream or the program ends
  std::uint64_t catch_up_bytes = kCatchUpBytes;
};

/// While catching up, what was received is durable at least this often…
inline constexpr std::chrono::milliseconds kCatchUpInterval{500};
/// …and in steps no larger than this (with large segments).
inline constexpr std::uint64_t kCatchUpStep = 64 * 1024 * 1024;

/// When the next sync should begin: Time::min() for "now", nullopt for "not before something
/// changes".
[[nodiscard]] std::optional<Time> sync_due_at(const FlushPolicy& policy, const FlushInputs& inputs);

}  // namespace weir::receive
