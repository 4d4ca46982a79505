#pragma once

#include "io/directory.h"
#include "random.h"
#include "sim_store.h"

namespace weir::sim {

/// P19, after a power loss: of what the mark of an archive has a line of a manifest tells, and the
/// chain is what the archive remembers of it. Throws Violation.
void check_manifests(SimStore& store, io::Directory& archive);

/// P19, at the end: nothing is found that must not be; and when somebody has changed an object, or
/// has taken one away, or put back a manifest, that is found. Throws Violation.
void check_changed_store(SimStore& store, io::Directory& archive, Random& random, Story& story);

}  // namespace weir::sim
