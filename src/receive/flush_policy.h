#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::receive {

/// The engine's clock; always passed as an argument.
using Time = std::chrono::steady_clock::time_point;

/// When received WAL is flushed: `--flush continuous | <time> | segment`.
struct FlushPolicy {
  enum class Mode {
    continuous,  ///< as soon as efficient: at once when caught up, in larger steps otherwise
    interval,    ///< received bytes are flushed within `interval`
    segment,     ///< when a segment is full (and on the server's request, or at the end)
  };
  Mode mode = Mode::continuous;
  std::chrono::milliseconds interval{0};

  /// Throws Error{usage} that lists the formats.
  [[nodiscard]] static FlushPolicy parse(std::string_view text);
  bool operator==(const FlushPolicy&) const = default;
};

/// A larger lag counts as catching up: then throughput matters, and a sync per read would reduce
/// it. A server whose commits wait for us is never this far ahead.
inline constexpr std::uint64_t kCatchUpBytes = 4 * 1024 * 1024;

/// Input for the decision.
struct FlushInputs {
  std::uint64_t unsynced_bytes = 0;  ///< written, and not covered by a sync that has started
  Time oldest_unsynced;              ///< when the first of them was written
  std::uint64_t behind_bytes = 0;    ///< the server's position minus the received position
  bool segment_complete =
      false;            ///< waits to be renamed, or a buffered piece to be written to the file
  bool urgent = false;  ///< requested by the server, or the stream or the program ends
  std::uint64_t catch_up_bytes = kCatchUpBytes;
};

/// While catching up, received WAL is flushed at least this often…
inline constexpr std::chrono::milliseconds kCatchUpInterval{500};
/// …and in steps no larger than this (with large segments).
inline constexpr std::uint64_t kCatchUpStep = 64 * 1024 * 1024;

/// When the next sync should start: Time::min() for "now", nullopt for "not before something
/// changes".
[[nodiscard]] std::optional<Time> sync_due_at(const FlushPolicy& policy, const FlushInputs& inputs);

}  // namespace weir::receive
