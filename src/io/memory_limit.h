#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace weir::io {

/// What a control group allows this process.
struct MemoryLimit {
  std::uint64_t bytes = 0;
  std::string from;  ///< the file that says so
};

/// The lowest limit of this process's control group and those above it (memory.max and memory.high
/// of version 2, memory.limit_in_bytes of version 1); nullopt without one, and where it cannot be
/// told. Page cache counts, too, but is given back by the kernel before a process is killed.
/// `root` is put before every path: for tests.
[[nodiscard]] std::optional<MemoryLimit> memory_limit(const std::string& root = {});

}  // namespace weir::io
