#include "io/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/descriptor.h"
#include "base/error.h"

namespace weir::io {

PathType type_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return PathType::nothing;
    throw system_error(errno, "could not access path").with("path", path);
  }
  if (S_ISDIR(status.st_mode)) return PathType::directory;
  return S_ISREG(status.st_mode) ? PathType::file : PathType::other;
}

std::optional<FileAccess> look_at_access(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileAccess{.readable = ::access(path.c_str(), R_OK) == 0,
                    .mode = status.st_mode & 07777,
                    .own = status.st_uid == ::geteuid(),
                    .of_root = status.st_uid == 0};
}

std::string state_of_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  std::string state;
  for (const auto number :
       {static_cast<long long>(status.st_dev), static_cast<long long>(status.st_ino),
        static_cast<long long>(status.st_size), static_cast<long long>(status.st_mode),
        static_cast<long long>(status.st_uid), static_cast<long long>(status.st_mtim.tv_sec),
        static_cast<long long>(status.st_mtim.tv_nsec),
        static_cast<long long>(status.st_ctim.tv_sec),
        static_cast<long long>(status.st_ctim.tv_nsec)}) {
    state += std::to_string(number);
    state += ' ';
  }
  return state;
}

std::string read_front(const std::string& path, std::uint64_t most) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw system_error(errno, "could not open file").with("path", path);
  std::string content;
  std::array<char, 64 * 1024> piece;
  while (content.size() < most) {
    const auto wanted = std::min<std::uint64_t>(piece.size(), most - content.size());
    const auto count = ::read(file.get(), piece.data(), wanted);
    if (count == 0) break;
    if (count < 0) {
      if (errno == EINTR) continue;
      throw system_error(errno, "could not read file").with("path", path);
    }
    content.append(piece.data(), static_cast<std::size_t>(count));
  }
  return content;
}

std::string read_small_file(const std::string& path, std::uint64_t most) {
  auto content = read_front(path, most + 1);
  if (content.size() > most)
    throw Error(ErrorKind::io, "the file is too large")
        .with("path", path)
        .with("largest size in bytes", most);
  return content;
}

void replace_small_file(const std::string& path, std::string_view content, unsigned mode,
                        Replace how) {
  const auto slash = path.rfind('/');
  const auto name = slash == std::string::npos ? 0 : slash + 1;
  const auto temporary =
      path.substr(0, name) + "." + path.substr(name) + "." + std::to_string(::getpid()) + ".tmp";
  const auto failed = [&](int code, const char* what) {
    ::unlink(temporary.c_str());
    return system_error(code, what).with("path", path);
  };
  // Left by a process of the same number, or a link that another user of the directory has created.
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) throw system_error(errno, "could not write file").with("path", path);
  ::fchmod(fd, mode);  // regardless of the umask
  while (!content.empty()) {
    const auto count = ::write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int code = errno;
      ::close(fd);
      throw failed(code, "could not write file");
    }
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  if (how == Replace::durably && ::fsync(fd) != 0) {
    const auto reason = failed(errno, "could not sync file");
    ::close(fd);
    throw Error(ErrorKind::durability, reason.message()).with("path", path);
  }
  if (::close(fd) != 0) throw failed(errno, "could not write file");
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    throw failed(errno, "could not rename the file written");
  if (how == Replace::soon) return;
  const Descriptor directory(
      ::open(name == 0 ? "." : path.substr(0, name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) {
    const auto reason = system_error(errno, "could not sync the directory of the file");
    throw Error(ErrorKind::durability, reason.message()).with("path", path);
  }
}

bool is_leftover_of(std::string_view name, std::string_view file) {
  return name.starts_with("." + std::string(file) + ".") && name.ends_with(".tmp");
}

}  // namespace weir::io
