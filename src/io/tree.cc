#include "io/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "base/error.h"

namespace weir::io {

namespace {

constexpr mode_t kOwnDirectory = 0700;
constexpr mode_t kOwnFile = 0600;

[[noreturn]] void fail(const char* what, const std::string& path) {
  throw system_error(errno, what).with("path", path);
}

void write_all(int fd, const char* bytes, std::size_t count, const std::string& path) {
  while (count > 0) {
    const auto done = ::write(fd, bytes, count);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("could not write file", path);
    bytes += done;
    count -= static_cast<std::size_t>(done);
  }
}

}  // namespace

std::string make_private_directory(const std::string& prefix) {
  auto path = prefix + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) fail("could not create a directory", path);
  return path;
}

void make_directories(const std::string& path) {
  for (auto slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const auto part = path.substr(0, slash);
    if (::mkdir(part.c_str(), kOwnDirectory) != 0 && errno != EEXIST)
      fail("could not create a directory", part);
    if (slash == std::string::npos) return;
  }
}

void make_symlink(const std::string& target, const std::string& path) {
  if (::symlink(target.c_str(), path.c_str()) != 0) fail("could not create a link", path);
}

void remove_tree(const std::string& path) {
  std::error_code code;
  std::filesystem::remove_all(path, code);
  if (code)
    throw system_error(code.value(), "could not remove the created files").with("path", path);
}

std::vector<std::string> all_names(const std::string& path) {
  std::error_code code;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator each(path, code), end; !code && each != end;
       each.increment(code))
    names.push_back(each->path().filename().string());
  if (code) throw system_error(code.value(), "could not read directory").with("path", path);
  return names;
}

bool is_empty_directory(const std::string& path) { return all_names(path).empty(); }

bool may_write_into(const std::string& directory) {
  return ::access(directory.c_str(), W_OK | X_OK) == 0;
}

std::uint64_t file_system_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail("could not determine the file system", path);
  return status.st_dev;
}

void set_modes(const std::string& directory, unsigned of_directories, unsigned of_files) {
  namespace fs = std::filesystem;
  const auto set = [](const std::string& path, unsigned mode) {
    if (::chmod(path.c_str(), mode) != 0) fail("could not change the mode", path);
  };
  std::error_code code;
  set(directory, of_directories);
  for (fs::recursive_directory_iterator each(directory, code), end; !code && each != end;
       each.increment(code)) {
    const auto type = each->symlink_status().type();
    if (type == fs::file_type::directory) set(each->path(), of_directories);
    if (type == fs::file_type::regular) set(each->path(), of_files);
  }
  if (code) throw system_error(code.value(), "could not read directory").with("path", directory);
}

void move_entries(const std::string& from, const std::string& to) {
  for (const auto& name : all_names(from)) {
    const auto target = to + "/" + name;
    // An existing directory must be empty.
    if (::rename((from + "/" + name).c_str(), target.c_str()) != 0)
      fail("could not rename", target);
  }
}

void sync_file_system(const std::string& path) {
  const Descriptor place(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!place || ::syncfs(place.get()) != 0) {
    const auto reason = system_error(errno, "could not sync the file system");
    throw Error(ErrorKind::durability, reason.message()).with("path", path);
  }
}

namespace {

/// Visits what is below the directory, then itself. No link is followed.
void visit_tree(const std::string& directory,
                const std::function<void(const std::string& path, bool is_directory)>& visit) {
  std::error_code code;
  for (std::filesystem::directory_iterator each(directory, code), end; !code && each != end;
       each.increment(code)) {
    const auto type = each->symlink_status(code).type();
    if (code) break;
    if (type == std::filesystem::file_type::directory) visit_tree(each->path().string(), visit);
    if (type == std::filesystem::file_type::regular) visit(each->path().string(), false);
  }
  if (code) throw system_error(code.value(), "could not read directory").with("path", directory);
  visit(directory, true);
}

Descriptor open_to_sync(const std::string& path, bool is_directory) {
  Descriptor place(
      ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (is_directory ? O_DIRECTORY : 0)));
  if (!place) fail("could not open the file to be synced", path);
  return place;
}

}  // namespace

void sync_tree(const std::string& directory) {
  // All is on its way before the first one is waited for, as pg_basebackup does it.
  visit_tree(directory, [](const std::string& path, bool is_directory) {
    if (is_directory) return;
    const auto file = open_to_sync(path, false);
    static_cast<void>(::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
  });
  visit_tree(directory, [](const std::string& path, bool is_directory) {
    const auto place = open_to_sync(path, is_directory);
    if (::fsync(place.get()) == 0) return;
    const auto reason = system_error(errno, "could not sync");
    throw Error(ErrorKind::durability, reason.message()).with("path", path);
  });
}

std::uint64_t size_of_tree(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code code;
  for (std::filesystem::directory_iterator each(directory, code), end; !code && each != end;
       each.increment(code)) {
    std::error_code gone;
    const auto type = each->symlink_status(gone).type();
    if (type == std::filesystem::file_type::directory) bytes += size_of_tree(each->path().string());
    if (type != std::filesystem::file_type::regular) continue;
    const auto size = each->file_size(gone);
    if (!gone) bytes += size;
  }
  if (code && code != std::errc::no_such_file_or_directory)
    throw system_error(code.value(), "could not read directory").with("path", directory);
  return bytes;
}

void rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("could not rename file", to);
}

std::optional<User> find_user(const std::string& name) {
  const passwd* const entry = ::getpwnam(name.c_str());
  if (entry == nullptr) return std::nullopt;
  return User{name, entry->pw_uid, entry->pw_gid};
}

User this_user() {
  const passwd* const entry = ::getpwuid(::geteuid());
  return {entry == nullptr ? std::to_string(::geteuid()) : entry->pw_name, ::geteuid(),
          ::getegid()};
}

void give_directory(const std::string& path, const User& user) {
  if (::chown(path.c_str(), user.id, user.group) != 0) fail("could not change the owner", path);
}

void become_for_now(const User& user) {
  if (::initgroups(user.name.c_str(), user.group) != 0 || ::setegid(user.group) != 0 ||
      ::seteuid(user.id) != 0)
    fail("could not become the user", user.name);
}

void become_root_again() {
  if (::seteuid(0) != 0 || ::setegid(0) != 0) fail("could not become the user", "root");
}

void become(const User& user) {
  if (::initgroups(user.name.c_str(), user.group) != 0 || ::setgid(user.group) != 0 ||
      ::setuid(user.id) != 0)
    fail("could not become the user", user.name);
}

std::vector<std::string> own_directories(const std::string& path, std::string_view prefix) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(path.c_str()), &::closedir);
  if (!listing) fail("could not open directory", path);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(listing.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    struct stat status {};
    if (!name.starts_with(prefix) ||
        ::fstatat(::dirfd(listing.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    if (S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() &&
        (status.st_mode & 07777) == kOwnDirectory)
      names.push_back(name);
  }
  if (errno != 0) fail("could not read directory", path);
  return names;
}

std::vector<std::string> dead_links(const std::string& path) {
  std::error_code code;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator each(path, code), end; !code && each != end;
       each.increment(code)) {
    struct stat status {};
    if (each->is_symlink() && ::stat(each->path().c_str(), &status) != 0)
      names.push_back(each->path().filename().string());
  }
  if (code) throw system_error(code.value(), "could not read directory").with("path", path);
  return names;
}

std::uint64_t free_bytes(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) fail("could not determine the file system", path);
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

std::optional<std::string> read_link(const std::string& path) {
  std::string target(PATH_MAX, '\0');
  const auto length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0 && errno == EINVAL) return std::nullopt;
  if (length < 0) fail("could not read link", path);
  target.resize(static_cast<std::size_t>(length));
  return target;
}

std::uint64_t size_of_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail("could not access file", path);
  return static_cast<std::uint64_t>(status.st_size);
}

bool is_program(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

Descriptor directory_descriptor(const std::string& path) {
  Descriptor directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) fail("could not open directory", path);
  return directory;
}

Descriptor open_log(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kOwnFile));
  if (!file) fail("could not create file", path);
  return file;
}

bool can_share_blocks(const std::string& file, const std::string& probe) {
  const Descriptor source(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const Descriptor target(::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnFile));
  if (!target) return false;
  const bool shared = source && ::ioctl(target.get(), FICLONE, source.get()) == 0;
  ::unlink(probe.c_str());
  return shared;
}

LockFile::LockFile(const std::string& path, std::string_view content)
    : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnFile)) {
  if (!file_) fail("could not create file", path);
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) fail("could not lock file", path);
  write_all(file_.get(), content.data(), content.size(), path);
}

std::optional<LockFile> LockFile::take_over(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) fail("could not open file", path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return LockFile(std::move(file));
  if (errno != EWOULDBLOCK) fail("could not lock file", path);
  return std::nullopt;
}

std::optional<LockFile> LockFile::of_directory(const std::string& path) {
  Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) fail("could not open directory", path);
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) return LockFile(std::move(directory));
  if (errno != EWOULDBLOCK) fail("could not lock directory", path);
  return std::nullopt;
}

void FileCopier::copy(const std::string& from, const std::string& to) {
  constexpr std::size_t kPiece = std::size_t{4} << 20;
  const Descriptor source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source) fail("could not open file", from);
  const Descriptor target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnFile));
  if (!target) fail("could not create file", to);
  const auto require_going = [&] {
    if (stop_()) throw Error(ErrorKind::retry, "stopped while the backup was copied");
  };
  require_going();
  // (For each file separately: a tablespace may be on a different file system.)
  if (::ioctl(target.get(), FICLONE, source.get()) == 0) {
    const auto size = size_of_file(to);
    bytes_ += size;
    shared_bytes_ += size;
    return;
  }
  bool in_kernel = true;
  std::unique_ptr<char[]> buffer;
  for (;;) {
    ssize_t count = 0;
    if (in_kernel) {
      count = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, kPiece, 0);
      // Not supported across file systems, and for files in /proc or the like.
      if (count < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                        errno == EOPNOTSUPP || errno == EPERM)) {
        in_kernel = false;
        continue;
      }
    } else {
      if (!buffer) buffer = std::make_unique<char[]>(kPiece);
      count = ::read(source.get(), buffer.get(), kPiece);
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int code = errno;
      throw system_error(code, "could not copy file").with("path", from).with("to", to);
    }
    if (count == 0) return;
    if (!in_kernel) write_all(target.get(), buffer.get(), static_cast<std::size_t>(count), to);
    bytes_ += static_cast<std::uint64_t>(count);
    require_going();
  }
}

}  // namespace weir::io
