#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace weir::io {

/// The memory limit of this process's control group.
struct MemoryLimit {
  std::uint64_t bytes = 0;
  std::string from;  ///< the file that sets it
};

/// The lowest limit of this process's control group and its ancestors (memory.max and memory.high
/// of version 2, memory.limit_in_bytes of version 1); nullopt if there is none, or it cannot be
/// determined. Page cache counts, too, but the kernel reclaims it before it kills a process. `root`
/// is put before every path: for tests.
[[nodiscard]] std::optional<MemoryLimit> memory_limit(const std::string& root = {});

}  // namespace weir::io
