#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/directory.h"
#include "store/layout.h"
#include "store/object_store.h"

namespace weir::store {

/// One thing that was looked at.
struct StoreFinding {
  enum class Level { good, warning, bad };
  Level level = Level::good;
  std::string text;
  std::string hint{};
};
struct StoreCheck {
  std::vector<StoreFinding> findings{};
  [[nodiscard]] bool all_good() const;
};

/// Tries all that pgweir needs of a store, with an object that is thrown away: PUT, the condition
/// of a PUT, GET, LIST, DELETE; and looks whose WAL lies there. A step that fails is a finding, the
/// rest is left out. `random`: a part of the object's key.
void check_store(ObjectStore& store, const Layout& layout, std::uint64_t random,
                 StoreCheck& result);
/// What the bucket is set to do with the archive by itself: rules that remove or freeze its
/// objects, versions, a lock. What may not be read is told, and no failure.
void check_settings(ObjectStore& store, const Layout& layout, StoreCheck& result);
/// Holds an archive against the store, by names and sizes: what was sent has to be there. Throws
/// Error for an archive that cannot be read.
void compare_archive(io::Shelf& archive, ObjectStore& store, const Layout& layout,
                     const std::string& store_name, StoreCheck& result);

}  // namespace weir::store
