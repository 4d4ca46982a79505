#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weir::store {

/// What an archiver keeps of its chain of manifest lines in the archive directory, to detect that
/// the chain in the store has lost lines or was replaced. A value.
struct ManifestMemory {
  std::string id{};
  std::uint64_t lines = 0;
  std::string head{};               ///< hash of the last one
  std::vector<std::string> tail{};  ///< lines of the newest object
  /// The store replaces no objects: the tail is put once it is full.
  bool only_full = false;
  bool operator==(const ManifestMemory&) const = default;
};

}  // namespace weir::store
