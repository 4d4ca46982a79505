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

/// The content of an object, fetched as it is read, with increasing read-ahead, so a sequential
/// reader needs few requests. Does not own the store. One thread.
class ObjectBytes final : public io::Bytes {
 public:
  /// Many readers need only the first page of a file.
  static constexpr std::uint64_t kFirstPiece = 64 * 1024;

  struct Which {
    std::string key;
    std::uint64_t size = 0;
    std::string version{};  ///< empty: the newest
  };
  /// `front`: its first bytes, if known.
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

/// Which version under a key readers use: the oldest. Returns nullopt if there is no such object.
/// Throws StoreError.
[[nodiscard]] std::optional<ObjectBytes::Which> find_object(ObjectStore& store,
                                                            const std::string& key,
                                                            const Patience& patience);

/// Reads this range. Throws Error{io} (ENOENT) if it was removed, StoreError.
[[nodiscard]] std::vector<std::byte> read_part(ObjectStore& store, const ObjectBytes::Which& which,
                                               const Range& range, const Patience& patience);

/// Reads an object at once, by one request if the bucket is not versioned. Returns nullopt if there
/// is no such object. Throws Error{damage} if it is larger than `most`, StoreError.
[[nodiscard]] std::optional<std::vector<std::byte>> read_whole(ObjectStore& store,
                                                               const std::string& key,
                                                               std::uint64_t most,
                                                               const Patience& patience);

}  // namespace weir::store
