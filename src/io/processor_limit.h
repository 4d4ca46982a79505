#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace weir::io {

/// Number of CPUs that this process may use at once: its affinity mask, not the whole host. At
/// least 1.
[[nodiscard]] unsigned usable_processors();

/// CPU time that a control group allows this process, as a number of CPUs: the lowest quota of its
/// own group and its ancestors (cpu.max of version 2, cpu.cfs_quota_us of version 1), such as 0.5;
/// nullopt if there is none, or it cannot be determined. `root` is put before every path: for
/// tests.
[[nodiscard]] std::optional<double> processor_limit(const std::string& root = {});

/// Number of threads that can run concurrently: the CPUs of this process's affinity mask, limited
/// by the CPU time of its control group. At least 1.
[[nodiscard]] unsigned worthwhile_threads(const std::string& root = {});

/// Time that the calling thread has spent waiting for a CPU while it could have run, since it
/// began; 0 if the kernel does not provide it. Any thread.
[[nodiscard]] std::chrono::nanoseconds run_delay();

}  // namespace weir::io
