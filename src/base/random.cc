#include "base/random.h"

#include <random>

namespace weir {

std::uint64_t random_bits() {
  // (Opening one queries the processor, which takes long in a virtual machine.)
  thread_local std::random_device random;
  const std::uint64_t high = random();
  return high << 32 | random();
}

}  // namespace weir
