#include "cli/runtime/memory.h"

#include <malloc.h>

namespace weir::cli {

void use_one_arena() { ::mallopt(M_ARENA_MAX, 1); }

}  // namespace weir::cli
