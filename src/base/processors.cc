#include "base/processors.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace weir {

unsigned usable_processors() {
  // With some C libraries, the standard library returns the number of CPUs online.
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max(1u, static_cast<unsigned>(CPU_COUNT(&set)));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace weir
