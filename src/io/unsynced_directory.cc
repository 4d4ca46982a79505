#include "io/unsynced_directory.h"

#include <utility>

namespace weir::io {

namespace {

class UnsyncedFile final : public File {
 public:
  explicit UnsyncedFile(std::unique_ptr<File> file) : file_(std::move(file)) {}

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    file_->write_at(offset, bytes);
  }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    return file_->read_at(offset, bytes);
  }
  void allocate(std::uint64_t size) override { file_->allocate(size); }
  void sync() override {}
  void close() override { file_->close(); }
  std::uint64_t size() override { return file_->size(); }
  void truncate(std::uint64_t size) override { file_->truncate(size); }
  std::uint64_t identity() override { return file_->identity(); }
  bool try_lock() override { return file_->try_lock(); }

 private:
  std::unique_ptr<File> file_;
};

class UnsyncedDirectory final : public Directory {
 public:
  explicit UnsyncedDirectory(Directory& directory) : directory_(directory) {}

  const std::string& path() const override { return directory_.path(); }
  std::unique_ptr<File> create(const std::string& name) override {
    return wrap(directory_.create(name));
  }
  std::unique_ptr<File> open(const std::string& name) override {
    return wrap(directory_.open(name));
  }
  std::unique_ptr<File> open_for_reading(const std::string& name) override {
    return wrap(directory_.open_for_reading(name));
  }
  void rename_no_replace(const std::string& from, const std::string& to) override {
    directory_.rename_no_replace(from, to);
  }
  void rename_replace(const std::string& from, const std::string& to) override {
    directory_.rename_replace(from, to);
  }
  void remove(const std::string& name) override { directory_.remove(name); }
  void sync() override {}
  std::vector<DirectoryEntry> list() override { return directory_.list(); }
  std::vector<DirectoryName> names() override { return directory_.names(); }
  std::optional<DirectoryEntry> find(const std::string& name) override {
    return directory_.find(name);
  }
  bool try_lock() override { return directory_.try_lock(); }
  FileModes* file_modes() override { return directory_.file_modes(); }
  DirtyPages* dirty_pages() override { return directory_.dirty_pages(); }
  std::uint64_t free_bytes() override { return directory_.free_bytes(); }

 private:
  static std::unique_ptr<File> wrap(std::unique_ptr<File> file) {
    if (!file) return nullptr;
    return std::make_unique<UnsyncedFile>(std::move(file));
  }

  Directory& directory_;
};

}  // namespace

std::unique_ptr<Directory> without_syncs(Directory& directory) {
  return std::make_unique<UnsyncedDirectory>(directory);
}

}  // namespace weir::io
