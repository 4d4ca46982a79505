#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weir {

// Priorities of the calling thread: on Linux each thread has its own.

/// Below other running threads, for the CPU.
inline void lower_priority(int nice = 10) {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), nice);
}

/// Below everything that is waited for, for CPU and disk.
inline void lowest_priority() {
  constexpr int kLast = 19;
  constexpr int kThread = 1;          // IOPRIO_WHO_PROCESS
  constexpr int kIdleDisk = 3 << 13;  // IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0), linux/ioprio.h
  lower_priority(kLast);
  ::syscall(SYS_ioprio_set, kThread, 0, kIdleDisk);
}

}  // namespace weir
