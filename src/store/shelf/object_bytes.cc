#include "store/shelf/object_bytes.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace weir::store {

namespace {

constexpr std::uint64_t kLargestPiece = std::uint64_t{8} << 20;

/// Empty: the newest version.
bool get_version(ObjectStore& store, const std::string& key, const std::string& version,
                 const std::optional<Range>& range, const codec::Sink& sink) {
  return version.empty() ? store.get(key, range, sink)
                         : store.versions()->get(key, version, range, sink);
}

}  // namespace

std::size_t ObjectBytes::read_at(std::uint64_t offset, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size() && offset + done < which_.size) {
    const auto at = offset + done;
    if (at < begin_ || at >= begin_ + piece_.size()) fetch(at, bytes.size() - done);
    const auto from = static_cast<std::size_t>(at - begin_);
    const auto count = std::min(piece_.size() - from, bytes.size() - done);
    std::copy_n(piece_.begin() + static_cast<std::ptrdiff_t>(from), count,
                bytes.begin() + static_cast<std::ptrdiff_t>(done));
    done += count;
  }
  return done;
}

void ObjectBytes::fetch(std::uint64_t at, std::uint64_t wanted) {
  const bool goes_on = at == begin_ + piece_.size() && !piece_.empty();
  ahead_ = goes_on ? std::min(ahead_ * 16, kLargestPiece) : kFirstPiece;
  const auto size = std::min(std::max(wanted, ahead_), which_.size - at);
  piece_ = read_part(store_, which_, {at, size}, patience_);
  begin_ = at;
}

std::optional<ObjectBytes::Which> find_object(ObjectStore& store, const std::string& key,
                                              const Patience& patience) {
  const auto head = insist(patience, [&] { return store.head(key); });
  if (!head) return std::nullopt;
  const auto version = insist(patience, [&] { return oldest_version(store, key); });
  if (version.empty()) return ObjectBytes::Which{key, head->size, ""};
  // HEAD does not return its size; a range needs its offset, so the object is read.
  std::uint64_t size = 0;
  insist(patience, [&] {
    size = 0;
    return get_version(store, key, version, std::nullopt, [&](std::span<const std::byte> piece) {
      size += piece.size();
      return true;
    });
  });
  return ObjectBytes::Which{key, size, version};
}

std::vector<std::byte> read_part(ObjectStore& store, const ObjectBytes::Which& which,
                                 const Range& range, const Patience& patience) {
  std::vector<std::byte> piece;
  insist(patience, [&] {
    piece.clear();
    const bool there =
        get_version(store, which.key, which.version, range, [&](std::span<const std::byte> more) {
          piece.insert(piece.end(), more.begin(), more.end());
          return piece.size() <= range.size;
        });
    // Removed between two requests: the reader must look it up again.
    if (!there)
      throw system_error(ENOENT, "an object was removed while it was read")
          .with("object", store.name_of(which.key));
    if (piece.size() != range.size)
      throw StoreError(Trouble::unreachable, "the store returned a different range of an object")
          .with("object", store.name_of(which.key));
    return true;
  });
  return piece;
}

std::optional<std::vector<std::byte>> read_whole(ObjectStore& store, const std::string& key,
                                                 std::uint64_t most, const Patience& patience) {
  std::vector<std::byte> content;
  const auto get = [&](const std::string& version) {
    return insist(patience, [&] {
      content.clear();
      return get_version(store, key, version, std::nullopt, [&](std::span<const std::byte> piece) {
        if (content.size() + piece.size() > most)
          throw Error(ErrorKind::damage, "an object in the store is too large")
              .with("object", store.name_of(key));
        content.insert(content.end(), piece.begin(), piece.end());
        return true;
      });
    });
  };
  if (!get("")) return std::nullopt;
  // The answer has shown whether there may be others.
  const auto oldest = insist(patience, [&] { return oldest_version(store, key); });
  if (!oldest.empty() && !get(oldest)) return std::nullopt;
  return content;
}

}  // namespace weir::store
