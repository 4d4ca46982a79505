#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "io/shelf.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/pace.h"

namespace weir::store {

/// An archive in a store, for all that reads archives: its segments and histories under the names
/// that they have in a directory. Other names are never there. What may pass is asked for again for
/// some time; then, and for all other trouble, StoreError: what could not be looked at is never
/// told as not there (P9). Does not own what it is given. Any thread; its files, as Bytes are, one
/// each.
class StoreShelf final : public io::Shelf {
 public:
  struct Patience {
    std::chrono::milliseconds retry_for{60'000};
    std::uint64_t seed = 0;
  };
  StoreShelf(ObjectStore& store, const Layout& layout, const Patience& patience);

  [[nodiscard]] const std::string& path() const override { return path_; }
  /// Page by page: a request for each 1000 files.
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override;
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string& name) override;
  /// Reads what is asked for, and more and more ahead: who reads a file from its front to its end
  /// needs some requests only.
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override;

 private:
  [[nodiscard]] std::optional<std::string> key_of(const std::string& name) const;

  ObjectStore& store_;
  const Layout& layout_;
  const Patience patience_;
  const std::string path_;
};

}  // namespace weir::store
