#include "web/watch.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weir::web {

void lower_priority() {
  constexpr int kNice = 19;
  constexpr int kThread = 1;          // IOPRIO_WHO_PROCESS
  constexpr int kIdleDisk = 3 << 13;  // IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0), linux/ioprio.h
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  ::syscall(SYS_ioprio_set, kThread, 0, kIdleDisk);
}

}  // namespace weir::web
