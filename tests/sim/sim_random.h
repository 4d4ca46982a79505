#pragma once

#include <cstdint>

namespace weir::sim {

/// From now on random_bits() returns what follows from `seed`. Each life starts with it, so that
/// the names of temporary files, and with them the order of a listing, are the seed's.
void seed_random_bits(std::uint64_t seed);

}  // namespace weir::sim
