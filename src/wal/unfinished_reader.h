#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "wal/lsn.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::wal {

/// Reads a .partial and, after its records end, searches for signs that WAL had been written beyond
/// that position, which make the apparent end damage. A page with the right address is such a sign;
/// zeros and the old content of a recycled file are not. Pure.
class UnfinishedReader {
 public:
  UnfinishedReader(RecordVerifier& verifier, Lsn start) : verifier_(verifier), start_(start) {}

  void take(std::span<const std::byte> wal);
  void finish();

  [[nodiscard]] const std::optional<Damage>& damage() const { return damage_; }
  [[nodiscard]] bool written_behind() const { return written_behind_; }
  /// Where the WAL continues, if only pages of zeros precede it.
  [[nodiscard]] std::optional<Lsn> goes_on_behind_zeros() const { return goes_on_behind_zeros_; }
  [[nodiscard]] std::uint64_t given() const { return at_; }
  [[nodiscard]] const std::optional<PageHeader>& first_page() const { return first_page_; }

 private:
  void page();
  void look_behind(std::span<const std::byte> page, Lsn address);

  RecordVerifier& verifier_;
  Lsn start_;
  std::array<std::byte, kPageSize> page_{};
  std::size_t fill_ = 0;
  std::uint64_t at_ = 0;
  std::optional<Damage> damage_;
  std::optional<PageHeader> first_page_;
  bool written_behind_ = false;
  std::optional<Lsn> goes_on_behind_zeros_;
  // Pages after the damage:
  std::uint64_t zeros_ = 0;
  bool others_ = false;  ///< neither zeros nor WAL of this position
};

}  // namespace weir::wal
