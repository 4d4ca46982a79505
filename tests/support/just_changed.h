#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/directory.h"

namespace weir::test {

/// A directory whose files were all changed just now.
class JustChanged : public io::Directory {
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

/// The same, and tells so by the files' identities, except for those that were changed `ago`.
class ChangedAgo final : public JustChanged, private io::Identities {
 public:
  using JustChanged::JustChanged;
  [[nodiscard]] io::Identities* identities() override { return this; }

  std::map<std::string, std::chrono::seconds> ago;

 private:
  std::optional<io::FileIdentity> of(const std::string& name) override {
    if (!find(name)) return std::nullopt;
    const auto time = std::chrono::system_clock::now().time_since_epoch() - ago[name];
    return io::FileIdentity{.changed_ns = std::chrono::nanoseconds(time).count()};
  }
  io::FileIdentity of_directory() override { return {}; }
  bool leads_to(const std::string&, const io::File&) override { return true; }
};

}  // namespace weir::test
