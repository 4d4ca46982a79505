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
/// that position, which make the apparent end damage: a later page with the right address; on the
/// same page a later record with a correct checksum, or a complete one with a wrong one. Zeros and
/// the old content of a recycled file are no such signs. Pure.
class UnfinishedReader {
 public:
  UnfinishedReader(RecordVerifier& verifier, Lsn start) : verifier_(verifier), start_(start) {}

  void take(std::span<const std::byte> wal);
  void finish();

  /// So far; the rest is known after finish().
  [[nodiscard]] const std::optional<Damage>& damage() const { return damage_; }
  [[nodiscard]] bool written_behind() const { return written_to_.valid(); }
  /// WAL had been written at least up to there; 0/0 without such a sign.
  [[nodiscard]] Lsn written_to() const { return written_to_; }
  /// Where the WAL continues, if only pages of zeros precede it.
  [[nodiscard]] std::optional<Lsn> goes_on_behind_zeros() const { return goes_on_behind_zeros_; }
  [[nodiscard]] std::uint64_t given() const { return at_; }
  [[nodiscard]] const std::optional<PageHeader>& first_page() const { return first_page_; }

 private:
  void page();
  void look_behind(std::span<const std::byte> page, Lsn address);
  [[nodiscard]] bool is_complete_record(std::span<const std::byte> page, Lsn address) const;

  RecordVerifier& verifier_;
  Lsn start_;
  std::array<std::byte, kPageSize> page_{};
  std::size_t fill_ = 0;
  std::uint64_t at_ = 0;
  std::optional<Damage> damage_;
  std::optional<PageHeader> first_page_;
  bool looked_behind_ = false;
  Lsn written_to_;
  std::optional<Lsn> goes_on_behind_zeros_;
  // Pages after the damage:
  std::uint64_t zeros_ = 0;
  bool others_ = false;  ///< neither zeros nor WAL of this position
};

}  // namespace weir::wal
