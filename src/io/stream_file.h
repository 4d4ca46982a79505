#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace weir::io {

/// Sequential output: standard output, a pipe, a terminal, or a file that is appended to, and
/// created if it is missing. Owns the descriptor unless it is standard output. One thread.
class StreamFile {
 public:
  /// "-" is standard output. `mode` is that of a new file, regardless of the umask. Throws
  /// Error{io}.
  explicit StreamFile(const std::string& path, unsigned mode = 0600);
  StreamFile(const StreamFile&) = delete;
  StreamFile& operator=(const StreamFile&) = delete;
  ~StreamFile();

  /// Writes all. Throws Error{disk_full, io}; then a front part may have been written. Calls
  /// `advances`, unless it is empty, after each small part: a pipe may take its time.
  void write(std::string_view bytes, const std::function<void()>& advances = {});
  /// fsync; no effect unless it is a file. Throws Error{durability}.
  void sync();
  [[nodiscard]] bool is_file() const { return is_file_; }

 private:
  int fd_;
  std::string path_;
  bool is_file_ = false;
};

}  // namespace weir::io
