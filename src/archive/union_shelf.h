#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/shelf.h"

namespace weir::archive {

/// Two homes of one archive as if they were one: what the first has counts, the other has the rest.
/// A file is read from where it is found; the other home is not asked for it. Does not own them. As
/// the two of them, as to threads and errors: one that cannot be looked into is an error, never
/// empty.
class UnionShelf final : public io::Shelf {
 public:
  UnionShelf(io::Shelf& first, io::Shelf& other);

  [[nodiscard]] const std::string& path() const override { return path_; }
  /// Each name once, as the first has it.
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
