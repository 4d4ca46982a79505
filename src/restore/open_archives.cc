#include "restore/open_archives.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/error.h"
#include "io/bounded_shelf.h"
#include "io/posix_directory.h"

namespace weir::restore {

namespace {

using namespace std::chrono_literals;

/// With --retry-for 0 nothing is retried, but a disk gets the time to spin up.
constexpr std::chrono::milliseconds kLeastPatience = 1s;

/// It may be opened in a different working directory.
std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here ? std::string(here.get()) + "/" + path : path;
}

/// An archive directory that does not exist yet, or no longer: the store has the archive.
class NoFiles final : public io::Shelf {
 public:
  explicit NoFiles(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override { return {}; }
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string&) override {
    return std::nullopt;
  }
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string&) override {
    return nullptr;
  }

 private:
  std::string path_;
};

std::unique_ptr<io::Shelf> open_one_of_several(const std::string& path, bool may_be_absent) {
  try {
    return io::open_existing_directory(path);
  } catch (const Error& error) {
    if (error.system_code() != ENOENT) throw;
    if (may_be_absent) return std::make_unique<NoFiles>(path);
    // For a file, this error would mean that it was removed, and cause a retry. This archive does
    // not exist.
    throw Error(ErrorKind::io, error.what()).hint(error.hint());
  }
}

std::string name_of(const store::StoreOptions& options) {
  auto name = options.place.to_string() + "/" +
              store::Layout(options.layout, {options.place.bucket, ""}, options.name).wal_prefix();
  if (name.ends_with('/')) name.pop_back();
  return name;
}

}  // namespace

std::vector<std::string> Places::names() const {
  auto names = directories;
  if (store) names.push_back(name_of(*store));
  return names;
}

OpenArchives::OpenArchives(const Places& places, std::chrono::milliseconds patience, Log& log,
                           std::size_t ahead) {
  const bool beside_store = places.store.has_value();
  for (const auto& path : places.directories) {
    if (places.count() == 1)
      owned_.push_back(io::open_existing_directory(path));
    else
      owned_.push_back(std::make_unique<io::BoundedShelf>(
          path,
          [from = absolute(path), beside_store] { return open_one_of_several(from, beside_store); },
          std::max(patience, kLeastPatience)));
    shelves_.push_back(owned_.back().get());
  }
  if (!beside_store) return;
  const auto open = [this, options = *places.store, &log]() -> store::ObjectStore& {
    const std::lock_guard lock(mutex_);
    if (!store_) store_ = std::make_unique<store::OpenStore>(options, nullptr, log);
    return store_->store();
  };
  const auto& options = *places.store;
  auto stored = std::make_unique<store::NearShelf>(
      open, name_of(options), store::Layout(options.layout, options.place, options.name),
      store::Patience{patience, static_cast<std::uint64_t>(::getpid())}, ahead, options.identities,
      options.public_keys);
  stored_ = stored.get();
  shelves_.push_back(stored_);
  owned_.push_back(std::move(stored));
}

}  // namespace weir::restore
