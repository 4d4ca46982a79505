#include "sim_random.h"

#include <random>

#include "base/random.h"

namespace weir {

namespace {

std::mt19937_64& bits() {
  static std::mt19937_64 all;
  return all;
}

}  // namespace

// In the place of src/base/random.cc.
std::uint64_t random_bits() { return bits()(); }

void sim::seed_random_bits(std::uint64_t seed) { bits().seed(seed); }

}  // namespace weir
