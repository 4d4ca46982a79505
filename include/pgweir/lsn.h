#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

/// Position in the WAL stream (PostgreSQL's XLogRecPtr, access/xlogdefs.h), written "16/B374D848".
/// Names the next byte: a flush position of X means that every byte before X is durable.
class Lsn {
 public:
  constexpr Lsn() = default;  ///< 0/0 is PostgreSQL's InvalidXLogRecPtr: no position known
  constexpr explicit Lsn(std::uint64_t byte) : byte_(byte) {}

  /// nullopt unless `text` is two groups of 1 to 8 hex digits around a slash. PostgreSQL 19 pads
  /// the second group with zeros, older ones do not: both are read.
  [[nodiscard]] static std::optional<Lsn> parse(std::string_view text);

  [[nodiscard]] constexpr std::uint64_t byte() const { return byte_; }
  [[nodiscard]] constexpr bool valid() const { return byte_ != 0; }
  [[nodiscard]] std::string to_string() const;

  constexpr auto operator<=>(const Lsn&) const = default;
  friend constexpr Lsn operator+(Lsn at, std::uint64_t bytes) { return Lsn(at.byte_ + bytes); }
  /// Bytes from `from` to `to`; the caller knows that from <= to.
  friend constexpr std::uint64_t operator-(Lsn to, Lsn from) { return to.byte_ - from.byte_; }

 private:
  std::uint64_t byte_ = 0;
};

/// PostgreSQL's TimeLineID: 1 for a new cluster, a new one at each promotion.
using TimelineId = std::uint32_t;

}  // namespace weir
