#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "io/shelf.h"
#include "restore/options.h"
#include "store/open_store.h"
#include "store/shelf/near_shelf.h"

namespace weir::restore {

/// Location of the archive of one command: in directories, and in an object store as their second
/// copy. At least one of them.
struct Places {
  std::vector<std::string> directories{};
  std::optional<store::StoreOptions> store{};

  [[nodiscard]] std::size_t count() const { return directories.size() + (store ? 1 : 0); }
  /// In the order in which they are queried.
  [[nodiscard]] std::vector<std::string> names() const;
  /// For Options::store.
  [[nodiscard]] std::optional<std::size_t> place_of_store() const {
    return store ? std::optional(directories.size()) : std::nullopt;
  }
};

/// The archives of one command, by their paths. A single directory is opened at once, and
/// operations on it block. Several are opened on first use (so the constructor never throws), and
/// none of them blocks the others for longer than `patience`: io::BoundedShelf. If a store is used,
/// a missing directory counts as empty. The store, too, is opened on first use: prefetched files
/// need neither a connection nor a library. One thread.
class OpenArchives {
 public:
  /// `ahead`: see NearShelf.
  OpenArchives(const Places& places, std::chrono::milliseconds patience, Log& log,
               std::size_t ahead = 1);

  [[nodiscard]] Shelves shelves() const { return shelves_; }
  /// nullptr: none of them is a store.
  [[nodiscard]] store::NearShelf* stored() const { return stored_; }

 private:
  std::mutex mutex_;
  std::unique_ptr<store::OpenStore> store_;
  std::vector<std::unique_ptr<io::Shelf>> owned_;
  std::vector<io::Shelf*> shelves_;
  store::NearShelf* stored_ = nullptr;
};

}  // namespace weir::restore
