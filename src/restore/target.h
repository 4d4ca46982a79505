#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "io/directory.h"

namespace weir::restore {

/// An error of the file that recovery requests, not of the archive: another file of the segment
/// would not help.
class TargetError final : public ErrorAs<TargetError> {
 public:
  using ErrorAs::ErrorAs;
};

/// The destination of verified WAL. Appended bytes can be read.
class Output : public io::Bytes {
 public:
  /// Announces the number of bytes to come: this saves a third of the time for writing.
  virtual void expect(std::uint64_t bytes) = 0;
  /// Returns false if no more is needed.
  virtual bool append(std::span<const std::byte> bytes) = 0;
};

/// The file that recovery requests (`%p`). Written under a hidden name in the same directory, and
/// renamed into place only when complete: a file of that name is always complete. A run that was
/// killed leaves at most the hidden file, which the next one replaces. Not flushed: the server does
/// that itself with the files it keeps. One thread. Throws TargetError.
class Target final : public Output {
 public:
  /// Does not own the directory.
  Target(io::Directory& directory, std::string name);
  /// Removes the hidden file if publish() did not get to its end.
  ~Target() override;

  void expect(std::uint64_t bytes) override;
  /// Always true.
  bool append(std::span<const std::byte> bytes) override;
  void append_zeros(std::uint64_t count);
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override;
  [[nodiscard]] std::uint64_t size() override { return size_; }
  /// Name of the hidden file.
  [[nodiscard]] const std::string& temporary_name() const { return temporary_; }
  [[nodiscard]] static std::string temporary_name_of(const std::string& name) {
    return ".pgweir-restore-" + name;
  }
  /// Discards the written bytes and starts from the beginning.
  void restart();
  void publish();

 private:
  io::Directory& directory_;
  std::string name_;
  std::string temporary_;
  std::unique_ptr<io::File> file_;
  std::uint64_t size_ = 0;
};

}  // namespace weir::restore
