#include "io/memory_limit.h"

#include <charconv>

#include "io/control_groups.h"

namespace weir::io {

namespace {

/// "max", and its equivalent in version 1, mean no limit.
std::optional<std::uint64_t> limit_in(const std::string& path) {
  constexpr std::uint64_t kNone = std::uint64_t{1} << 60;
  const auto text = control_group_text(path);
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (text.empty() || error != std::errc() || bytes >= kNone) return std::nullopt;
  return bytes;
}

}  // namespace

std::optional<MemoryLimit> memory_limit(const std::string& root) {
  std::optional<MemoryLimit> least;
  for (const auto& directory : control_groups("memory", root)) {
    for (const auto* name : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
      const auto path = directory + "/" + name;
      const auto bytes = limit_in(path);
      if (bytes && (!least || *bytes < least->bytes))
        least = MemoryLimit{*bytes, path.substr(root.size())};
    }
  }
  return least;
}

}  // namespace weir::io
