#include "store/store_shelf.h"

#include <algorithm>
#include <span>
#include <thread>
#include <utility>

#include "base/error.h"
#include "store/store_files.h"

namespace weir::store {

namespace {

using Clock = std::chrono::steady_clock;

/// Many want no more than the first page of a file.
constexpr std::uint64_t kFirstPiece = 64 * 1024;
constexpr std::uint64_t kLargestPiece = std::uint64_t{8} << 20;

template <typename Request>
auto insist(const StoreShelf::Patience& patience, Request request) -> decltype(request()) {
  RetryPolicy retry(patience.seed);
  const auto until = Clock::now() + patience.retry_for;
  for (;;) {
    try {
      return request();
    } catch (const StoreError& error) {
      const auto now = Clock::now();
      if (!may_pass(error.trouble()) || now >= until) throw;
      std::this_thread::sleep_for(std::min<Clock::duration>(retry.next(), until - now));
    }
  }
}

class ObjectBytes final : public io::Bytes {
 public:
  ObjectBytes(ObjectStore& store, std::string key, std::uint64_t size,
              const StoreShelf::Patience& patience)
      : store_(store), key_(std::move(key)), size_(size), patience_(patience) {}

  [[nodiscard]] std::uint64_t size() override { return size_; }

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size() && offset + done < size_) {
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

 private:
  void fetch(std::uint64_t at, std::uint64_t wanted) {
    const bool goes_on = at == begin_ + piece_.size() && !piece_.empty();
    ahead_ = goes_on ? std::min(ahead_ * 16, kLargestPiece) : kFirstPiece;
    const auto size = std::min(std::max(wanted, ahead_), size_ - at);
    std::vector<std::byte> piece;
    insist(patience_, [&] {
      piece.clear();
      const bool there =
          store_.get(key_, ObjectStore::Range{at, size}, [&](std::span<const std::byte> more) {
            piece.insert(piece.end(), more.begin(), more.end());
            return piece.size() <= size;
          });
      // Removed between two requests: whoever reads has to look again.
      if (!there)
        throw Error(ErrorKind::io, "an object was removed while it was read")
            .with("object", store_.name_of(key_));
      if (piece.size() != size)
        throw StoreError(Trouble::unreachable, "the store gave another part of an object")
            .with("object", store_.name_of(key_));
      return true;
    });
    piece_ = std::move(piece);
    begin_ = at;
  }

  ObjectStore& store_;
  const std::string key_;
  const std::uint64_t size_;
  const StoreShelf::Patience patience_;
  std::vector<std::byte> piece_;
  std::uint64_t begin_ = 0;
  std::uint64_t ahead_ = kFirstPiece;
};

}  // namespace

StoreShelf::StoreShelf(ObjectStore& store, const Layout& layout, const Patience& patience)
    : store_(store),
      layout_(layout),
      patience_(patience),
      path_(store.name_of(layout.wal_prefix())) {}

std::optional<std::string> StoreShelf::key_of(const std::string& name) const {
  if (const auto file = archive::SegmentFileName::parse(name))
    return file->partial ? std::nullopt : std::optional(layout_.key(*file));
  if (const auto timeline = wal::parse_history_name(name)) return layout_.history_key(*timeline);
  return std::nullopt;
}

std::vector<io::DirectoryEntry> StoreShelf::list() {
  return insist(patience_, [&] {
    std::vector<io::DirectoryEntry> entries;
    for_each_file(store_, layout_, [&](const StoredFile& file) {
      io::DirectoryEntry entry;
      entry.name = file.name;
      entry.size = entry.allocated = file.object.size;
      entries.push_back(std::move(entry));
      return true;
    });
    return entries;
  });
}

std::optional<io::DirectoryEntry> StoreShelf::find(const std::string& name) {
  const auto key = key_of(name);
  if (!key) return std::nullopt;
  const auto head = insist(patience_, [&] { return store_.head(*key); });
  if (!head) return std::nullopt;
  io::DirectoryEntry entry;
  entry.name = name;
  entry.size = entry.allocated = head->size;
  return entry;
}

std::unique_ptr<io::Bytes> StoreShelf::open_bytes(const std::string& name) {
  const auto entry = find(name);
  if (!entry) return nullptr;
  return std::make_unique<ObjectBytes>(store_, *key_of(name), entry->size, patience_);
}

}  // namespace weir::store
