#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::store {

/// What an archiver remembers of its chain of manifest lines, beside the archive: by it a chain in
/// the store that has lost lines, or was replaced, is found out. A value.
struct ManifestMemory {
  std::string id{};
  std::uint64_t lines = 0;
  std::string head{};               ///< hash of the last one
  std::vector<std::string> tail{};  ///< the lines of the newest object
  bool operator==(const ManifestMemory&) const = default;
};

}  // namespace weir::store
