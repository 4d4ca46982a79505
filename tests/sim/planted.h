#pragma once

#include <functional>
#include <optional>

#include "sim/mutant.h"
#include "wal/lsn.h"

namespace weir::sim {

/// The fault that is in the copies of the sources which plant_mutants.py has made; the sources
/// themselves know nothing of it.
inline Mutant planted = Mutant::none;
/// What a mutant does later, and where it streams from: of one process.
inline std::function<void()> planted_later;
inline std::optional<wal::Lsn> planted_start;

}  // namespace weir::sim

#define PLANTED(mutant) (::weir::sim::planted == ::weir::sim::Mutant::mutant)
