#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/shelf.h"
#include "store/memory_bytes.h"

namespace weir::store {

/// A fetched file as a shelf of its own, so that the code that reads archive files can read it.
class OneFileShelf final : public io::Shelf {
 public:
  /// `path`: its source, for messages.
  OneFileShelf(std::string path, std::string name, std::vector<std::byte> content)
      : path_(std::move(path)), name_(std::move(name)), content_(std::move(content)) {}

  [[nodiscard]] const std::string& path() const override { return path_; }
  [[nodiscard]] std::vector<io::DirectoryEntry> list() override { return {entry()}; }
  [[nodiscard]] std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return name == name_ ? std::optional(entry()) : std::nullopt;
  }
  [[nodiscard]] std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    return name == name_ ? std::make_unique<MemoryBytes>(std::span<const std::byte>(content_))
                         : nullptr;
  }

 private:
  [[nodiscard]] io::DirectoryEntry entry() const {
    io::DirectoryEntry entry;
    entry.name = name_;
    entry.size = entry.allocated = content_.size();
    return entry;
  }
  std::string path_;
  std::string name_;
  std::vector<std::byte> content_;
};

}  // namespace weir::store
