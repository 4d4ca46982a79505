#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "io/directory.h"
#include "mutant.h"

namespace weir::sim {

/// A directory with the fault of one mutant in it. `directory` may be shared by several of them.
class MutantDirectory final : public io::Directory {
 public:
  MutantDirectory(io::Directory& directory, Mutant mutant)
      : directory_(directory), mutant_(mutant) {}

  const std::string& path() const override { return directory_.path(); }
  std::unique_ptr<io::File> create(const std::string& name) override {
    return wrap(directory_.create(name));
  }
  std::unique_ptr<io::File> open(const std::string& name) override {
    return wrap(directory_.open(name));
  }
  std::unique_ptr<io::File> open_for_reading(const std::string& name) override {
    return wrap(directory_.open_for_reading(name));
  }
  void rename_no_replace(const std::string& from, const std::string& to) override {
    directory_.rename_no_replace(from, to);
  }
  void rename_replace(const std::string& from, const std::string& to) override {
    directory_.rename_replace(from, to);
  }
  void remove(const std::string& name) override { directory_.remove(name); }
  void sync() override {
    if (mutant_ != Mutant::raw_removed_first && mutant_ != Mutant::pruned_names_not_synced &&
        mutant_ != Mutant::loss_not_synced)
      directory_.sync();
  }
  std::vector<io::DirectoryEntry> list() override { return directory_.list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return directory_.find(name);
  }
  bool try_lock() override {
    return mutant_ == Mutant::archive_not_locked || directory_.try_lock();
  }
  std::uint64_t free_bytes() override { return directory_.free_bytes(); }

 private:
  class MutantFile final : public io::File {
   public:
    MutantFile(std::unique_ptr<io::File> file, Mutant mutant)
        : file_(std::move(file)), mutant_(mutant) {}
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      file_->write_at(offset, bytes);
    }
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
      return file_->read_at(offset, bytes);
    }
    void allocate(std::uint64_t size) override { file_->allocate(size); }
    void sync() override {
      if (mutant_ == Mutant::compressed_not_synced) return;
      // The second result is believed, and on Linux it is a good one.
      for (int tries = 0;; ++tries) {
        try {
          return file_->sync();
        } catch (const Error&) {
          if (mutant_ != Mutant::sync_tried_again || tries == 3) throw;
        }
      }
    }
    void close() override {
      try {
        file_->close();
      } catch (const Error&) {
        if (mutant_ != Mutant::close_error_ignored) throw;
      }
    }
    std::uint64_t size() override { return file_->size(); }

   private:
    std::unique_ptr<io::File> file_;
    const Mutant mutant_;
  };

  std::unique_ptr<io::File> wrap(std::unique_ptr<io::File> file) const {
    return file ? std::make_unique<MutantFile>(std::move(file), mutant_) : nullptr;
  }

  io::Directory& directory_;
  const Mutant mutant_;
};

}  // namespace weir::sim
