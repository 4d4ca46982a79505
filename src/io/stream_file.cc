#include "io/stream_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace weir::io {

namespace {

int open_to_append(const char* path, int more, unsigned mode) {
  int fd;
  do {
    fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | more, 0600);
    if (fd >= 0 && more != 0 && ::fchmod(fd, mode) != 0) {
      const int reason = errno;
      ::close(fd);
      errno = reason;
      return -1;
    }
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

StreamFile::StreamFile(const std::string& path, unsigned mode)
    : fd_(path == "-" ? STDOUT_FILENO : -1), path_(path == "-" ? "standard output" : path) {
  if (fd_ < 0) {
    fd_ = open_to_append(path.c_str(), O_EXCL, mode);
    // An existing file keeps its mode.
    if (fd_ < 0 && errno == EEXIST) fd_ = open_to_append(path.c_str(), 0, mode);
    if (const int code = errno; fd_ < 0)
      throw system_error(code, "could not open the output file")
          .with_stock_text(fmt::format("could not open log file \"{}\": {}", path,
                                       std::generic_category().message(code)))
          .with("path", path)
          .hint(
              "Check that its directory exists and that the user that runs pgweir can write "
              "there.");
  }
  struct stat status {};
  is_file_ = ::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode);
}

void StreamFile::write(std::string_view bytes, const std::function<void()>& advances) {
  // As much as a pipe holds. A call with more would block until the reader has taken almost all.
  constexpr std::size_t kPart = 64 * 1024;
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd_, bytes.data(), std::min(bytes.size(), kPart));
    if (count > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
      if (advances) advances();
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {  // the other side has set the pipe to non-blocking
      pollfd fd{fd_, POLLOUT, 0};
      static_cast<void>(::poll(&fd, 1, -1));
      continue;
    }
    throw system_error(count < 0 ? errno : EIO, "could not write").with("path", path_);
  }
}

void StreamFile::sync() {
  if (!is_file_) return;
  int result;
  do {
    result = ::fsync(fd_);
  } while (result != 0 && errno == EINTR);
  if (result != 0)
    throw Error(ErrorKind::durability,
                "could not sync file: " + std::generic_category().message(errno))
        .with("path", path_)
        .hint(
            "Written data may be lost, so nothing more is confirmed to the server. Check the "
            "disk and the kernel log.");
}

StreamFile::~StreamFile() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
}

}  // namespace weir::io
