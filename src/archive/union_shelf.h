#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/shelf.h"

namespace weir::archive {

/// The two directories of one archive combined into one: the first has precedence, the second
/// supplies the rest. A file is read from the directory where it was found first. Does not own
/// them. Threads and errors as for the two directories: if one of them cannot be read, this is an
/// error, not an empty directory.
class UnionShelf final : public io::Shelf {
 public:
  UnionShelf(io::Shelf& first, io::Shelf& other);

  [[nodiscard]] const std::string& path() const override { return path_; }
  /// Each name once, as in the first directory.
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override;
  [[nodiscard]] std::vector<io::DirectoryName> names() override;
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string& name) override;
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override;

 private:
  io::Shelf& first_;
  io::Shelf& other_;
  const std::string path_;
};

}  // namespace weir::archive
