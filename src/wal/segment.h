#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"

namespace weir::wal {

/// A cluster's wal_segment_size in bytes: a power of two from 1 MB to 1 GB
/// (IsValidWalSegSize in access/xlog_internal.h).
class SegmentSize {
 public:
  constexpr SegmentSize() = default;  ///< PostgreSQL's default, 16 MB

  [[nodiscard]] static std::optional<SegmentSize> of(std::uint64_t bytes);

  [[nodiscard]] constexpr std::uint64_t bytes() const { return bytes_; }

  /// Number of the segment that contains the byte at `lsn`.
  [[nodiscard]] constexpr std::uint64_t segno(Lsn lsn) const { return lsn.byte() / bytes_; }
  /// First byte of the segment that contains the byte at `lsn`.
  [[nodiscard]] constexpr Lsn start_of(Lsn lsn) const { return Lsn(lsn.byte() & ~(bytes_ - 1)); }
  [[nodiscard]] constexpr Lsn start(std::uint64_t segno) const { return Lsn(segno * bytes_); }
  [[nodiscard]] constexpr std::uint64_t offset(Lsn lsn) const { return lsn.byte() & (bytes_ - 1); }

  constexpr auto operator<=>(const SegmentSize&) const = default;

 private:
  constexpr explicit SegmentSize(std::uint64_t bytes) : bytes_(bytes) {}
  std::uint64_t bytes_ = 16 * 1024 * 1024;
};

/// Digits of the timeline, the first part of a segment's name (XLogFileName(),
/// access/xlog_internal.h).
inline constexpr std::size_t kTimelineDigits = 8;

/// The name of a WAL segment file: 24 hex digits, timeline, then the segment number split into
/// "log" and "seg" (XLogFileName in access/xlog_internal.h). The number depends on the segment
/// size, so the digits are kept and interpreted with a size when needed.
class SegmentName {
 public:
  constexpr SegmentName(TimelineId timeline, std::uint64_t segno, SegmentSize size)
      : timeline_(timeline),
        log_(static_cast<std::uint32_t>(segno / per_log(size))),
        seg_(static_cast<std::uint32_t>(segno % per_log(size))) {}

  /// Returns nullopt unless `text` is 24 upper-case hex digits. fits() detects numbers that do not
  /// exist with the cluster's segment size.
  [[nodiscard]] static std::optional<SegmentName> parse(std::string_view text);

  [[nodiscard]] constexpr TimelineId timeline() const { return timeline_; }
  [[nodiscard]] constexpr bool fits(SegmentSize size) const { return seg_ < per_log(size); }
  [[nodiscard]] constexpr std::uint64_t segno(SegmentSize size) const {
    return std::uint64_t{log_} * per_log(size) + seg_;
  }
  [[nodiscard]] constexpr Lsn start(SegmentSize size) const { return size.start(segno(size)); }
  [[nodiscard]] std::string to_string() const;

  constexpr auto operator<=>(const SegmentName&) const = default;

 private:
  constexpr SegmentName(TimelineId timeline, std::uint32_t log, std::uint32_t seg)
      : timeline_(timeline), log_(log), seg_(seg) {}
  static constexpr std::uint64_t per_log(SegmentSize size) {
    return std::uint64_t{0x100000000} / size.bytes();
  }

  TimelineId timeline_;
  std::uint32_t log_;
  std::uint32_t seg_;
};

/// "00000002.history"
[[nodiscard]] std::string history_name(TimelineId timeline);

/// The timeline of "00000002.history"; nullopt for any other text.
[[nodiscard]] std::optional<TimelineId> parse_history_name(std::string_view text);

}  // namespace weir::wal

template <>
struct fmt::formatter<weir::wal::SegmentName> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(const weir::wal::SegmentName& name, Context& context) const {
    return fmt::formatter<std::string>::format(name.to_string(), context);
  }
};
