#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace weir::sim {

/// All chance of a run; a seed decides everything. The generator is xoshiro256** (Blackman and
/// Vigna): begun in no time, which matters where a run takes less than a millisecond.
class Random {
 public:
  using result_type = std::uint64_t;

  explicit Random(std::uint64_t seed) {
    // SplitMix64, as its authors say to.
    for (auto& word : state_) {
      seed += 0x9E3779B97F4A7C15;
      auto mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
      word = mixed ^ (mixed >> 31);
    }
  }

  static constexpr std::uint64_t min() { return 0; }
  static constexpr std::uint64_t max() { return std::numeric_limits<std::uint64_t>::max(); }
  std::uint64_t operator()() {
    const auto result = std::rotl(state_[1] * 5, 7) * 9;
    const auto shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// 0 … bound - 1; 0 for bound 0.
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : (*this)() % bound; }
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

 private:
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace weir::sim
