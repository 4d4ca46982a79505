#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "io/directory.h"

namespace weir::sim {

/// The fault of Mutant::sync_tried_again: a sync that fails is called again, and where the second
/// one succeeds (as it does on Linux) the first is forgotten.
class RetryingFile final : public io::File {
 public:
  explicit RetryingFile(std::unique_ptr<io::File> file) : file_(std::move(file)) {}
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    file_->write_at(offset, bytes);
  }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    return file_->read_at(offset, bytes);
  }
  void allocate(std::uint64_t size) override { file_->allocate(size); }
  void sync() override {
    for (int tries = 0;; ++tries) {
      try {
        return file_->sync();
      } catch (const Error&) {
        if (tries == 3) throw;
      }
    }
  }
  void close() override { file_->close(); }
  std::uint64_t size() override { return file_->size(); }

 private:
  std::unique_ptr<io::File> file_;
};

class RetryingDirectory final : public io::Directory {
 public:
  explicit RetryingDirectory(std::unique_ptr<io::Directory> directory)
      : directory_(std::move(directory)) {}
  const std::string& path() const override { return directory_->path(); }
  std::unique_ptr<io::File> create(const std::string& name) override {
    return wrap(directory_->create(name));
  }
  std::unique_ptr<io::File> open(const std::string& name) override {
    return wrap(directory_->open(name));
  }
  std::unique_ptr<io::File> open_for_reading(const std::string& name) override {
    return wrap(directory_->open_for_reading(name));
  }
  void rename_no_replace(const std::string& from, const std::string& to) override {
    directory_->rename_no_replace(from, to);
  }
  void rename_replace(const std::string& from, const std::string& to) override {
    directory_->rename_replace(from, to);
  }
  void remove(const std::string& name) override { directory_->remove(name); }
  void sync() override { directory_->sync(); }
  std::vector<io::DirectoryEntry> list() override { return directory_->list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return directory_->find(name);
  }
  bool try_lock() override { return directory_->try_lock(); }
  std::uint64_t free_bytes() override { return directory_->free_bytes(); }

 private:
  static std::unique_ptr<io::File> wrap(std::unique_ptr<io::File> file) {
    return file ? std::make_unique<RetryingFile>(std::move(file)) : nullptr;
  }
  std::unique_ptr<io::Directory> directory_;
};

}  // namespace weir::sim
