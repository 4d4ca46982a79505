#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/directory.h"

namespace weir::test {

/// A directory whose files were all changed just now.
class JustChanged final : public io::Directory {
 public:
  explicit JustChanged(std::unique_ptr<io::Directory> of) : of_(std::move(of)) {}

  [[nodiscard]] const std::string& path() const override { return of_->path(); }
  std::vector<io::DirectoryEntry> list() override {
    auto entries = of_->list();
    for (auto& entry : entries) entry.modified = std::chrono::system_clock::now();
    return entries;
  }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    auto entry = of_->find(name);
    if (entry) entry->modified = std::chrono::system_clock::now();
    return entry;
  }
  std::unique_ptr<io::File> create(const std::string& name) override { return of_->create(name); }
  std::unique_ptr<io::File> open(const std::string& name) override { return of_->open(name); }
  std::unique_ptr<io::File> open_for_reading(const std::string& name) override {
    return of_->open_for_reading(name);
  }
  void rename_no_replace(const std::string& from, const std::string& to) override {
    of_->rename_no_replace(from, to);
  }
  void rename_replace(const std::string& from, const std::string& to) override {
    of_->rename_replace(from, to);
  }
  void remove(const std::string& name) override { of_->remove(name); }
  void sync() override { of_->sync(); }
  bool try_lock() override { return of_->try_lock(); }
  std::uint64_t free_bytes() override { return of_->free_bytes(); }

 private:
  const std::unique_ptr<io::Directory> of_;
};

}  // namespace weir::test
