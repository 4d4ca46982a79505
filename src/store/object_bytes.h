#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/shelf.h"
#include "store/insist.h"
#include "store/object_store.h"

namespace weir::store {

/// The content of an object, fetched where it is read: what is asked for, and more and more ahead,
/// so who reads from its front to its end needs some requests only. Does not own the store. One
/// thread.
class ObjectBytes final : public io::Bytes {
 public:
  /// Many want no more than the first page of a file.
  static constexpr std::uint64_t kFirstPiece = 64 * 1024;

  struct Which {
    std::string key;
    std::uint64_t size = 0;
    std::string version{};  ///< empty: the newest
  };
  /// `front`: its first bytes, if somebody has them.
  ObjectBytes(ObjectStore& store, Which which, const Patience& patience,
              std::vector<std::byte> front = {})
      : store_(store), which_(std::move(which)), patience_(patience), piece_(std::move(front)) {}

  [[nodiscard]] std::uint64_t size() override { return which_.size; }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override;

 private:
  void fetch(std::uint64_t at, std::uint64_t wanted);

  ObjectStore& store_;
  const Which which_;
  const Patience patience_;
  std::vector<std::byte> piece_;
  std::uint64_t begin_ = 0;
  std::uint64_t ahead_ = kFirstPiece;
};

/// Which bytes are under a key, as far as readers are concerned: the oldest version's. nullopt:
/// there is no such object. Throws StoreError.
[[nodiscard]] std::optional<ObjectBytes::Which> find_object(ObjectStore& store,
                                                            const std::string& key,
                                                            const Patience& patience);

/// That part of it. Throws Error{io} (ENOENT) where it was removed, StoreError.
[[nodiscard]] std::vector<std::byte> read_part(ObjectStore& store, const ObjectBytes::Which& which,
                                               const ObjectStore::Range& range,
                                               const Patience& patience);

/// All of an object, at once, by one request if the bucket keeps no versions. nullopt: there is no
/// such object. Throws Error{damage} for one that is larger than `most`, StoreError.
[[nodiscard]] std::optional<std::vector<std::byte>> read_whole(ObjectStore& store,
                                                               const std::string& key,
                                                               std::uint64_t most,
                                                               const Patience& patience);

}  // namespace weir::store
