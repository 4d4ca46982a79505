#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::io {

class File;

/// The content of a stored object, with random access. One thread at a time.
class Bytes {
 public:
  virtual ~Bytes() = default;
  Bytes() = default;
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  /// Reads up to bytes.size() bytes; fewer only at the end. Returns the count.
  [[nodiscard]] virtual std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) = 0;
  [[nodiscard]] virtual std::uint64_t size() = 0;
};

/// Identifies a file and its state: as long as it is the same, so are the bytes, as far as the
/// kernel can detect.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

struct DirectoryEntry {
  enum class Type { file, directory, other };
  std::string name;
  Type type = Type::file;
  std::uint64_t size = 0;       ///< bytes (st_size), files only
  std::uint64_t allocated = 0;  ///< bytes on disk (st_blocks * 512), files only
  std::chrono::system_clock::time_point modified;
};

/// A file as described by a listing itself.
struct DirectoryName {
  std::string name;
  DirectoryEntry::Type type = DirectoryEntry::Type::file;
};

/// A feature: identifies files, regardless of their names.
class Identities {
 public:
  virtual ~Identities() = default;
  /// nullopt if there is no such file.
  [[nodiscard]] virtual std::optional<FileIdentity> of(const std::string& name) = 0;
  /// Identity of the directory itself; device and inode only.
  [[nodiscard]] virtual FileIdentity of_directory() = 0;
  /// False if that name leads to no file any more, or to another one. Sees nothing of the file but
  /// which one it is.
  [[nodiscard]] virtual bool leads_to(const std::string& name, const File& file) = 0;
};

/// Files to be read, by plain names (a name with a slash is a broken invariant): all that the
/// readers of an archive need. Implemented by a directory (directory.h), and by stores of files
/// that are not directories. Calls may come from several threads. Errors name the path. Throws
/// Error{io}: an object that could not be read is never reported as empty or missing.
class Shelf {
 public:
  virtual ~Shelf() = default;
  Shelf() = default;
  Shelf(const Shelf&) = delete;
  Shelf& operator=(const Shelf&) = delete;

  /// For messages.
  [[nodiscard]] virtual const std::string& path() const = 0;
  /// Likewise, of a file.
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return path().ends_with('/') ? path() + name : path() + "/" + name;
  }

  /// Returns every entry except for "." and "..", in no particular order. Entries that are removed
  /// meanwhile are omitted.
  [[nodiscard]] virtual std::vector<DirectoryEntry> list() = 0;
  /// As list(), but without accessing the files themselves: a third of the time with 100,000 files,
  /// and less on a network file system.
  [[nodiscard]] virtual std::vector<DirectoryName> names() {
    std::vector<DirectoryName> names;
    for (auto& entry : list()) names.push_back({std::move(entry.name), entry.type});
    return names;
  }
  [[nodiscard]] virtual std::optional<DirectoryEntry> find(const std::string& name) = 0;
  /// nullptr if there is no such file.
  [[nodiscard]] virtual std::unique_ptr<Bytes> open_bytes(const std::string& name) = 0;

  /// A feature that not every one has: nullptr then.
  [[nodiscard]] virtual Identities* identities() { return nullptr; }
};

/// nullopt if there is no such file, or the shelf does not support it.
[[nodiscard]] inline std::optional<FileIdentity> identity_of(Shelf& shelf,
                                                             const std::string& name) {
  auto* const identities = shelf.identities();
  return identities == nullptr ? std::nullopt : identities->of(name);
}
/// nullopt if the shelf does not support it.
[[nodiscard]] inline std::optional<FileIdentity> identity_of_directory(Shelf& shelf) {
  auto* const identities = shelf.identities();
  return identities == nullptr ? std::nullopt : std::optional(identities->of_directory());
}

}  // namespace weir::io
