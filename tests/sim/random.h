#pragma once

#include <cstdint>
#include <random>

namespace weir::sim {

/// All chance of a run; a seed decides everything. (Without the standard distributions, which
/// differ between libraries.)
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// 0 … bound - 1; 0 for bound 0.
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : engine_() % bound; }
  /// from … to.
  std::uint64_t between(std::uint64_t from, std::uint64_t to) {
    return from + below(to - from + 1);
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  bool coin() { return one_in(2); }
  /// 1 … most, small ones as likely as large ones.
  std::uint64_t any_size(std::uint64_t most) {
    std::uint64_t bits = 0;
    while ((most >> bits) > 1) ++bits;
    const auto top = std::uint64_t{1} << below(bits + 1);
    const auto size = top + below(top);
    return size < most ? size : most;
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace weir::sim
