#include "io/user_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/descriptor.h"
#include "base/error.h"

namespace weir::io {

namespace {

class UserFile final : public Bytes {
 public:
  UserFile(Descriptor file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const auto count = ::pread(file_.get(), bytes.data() + done, bytes.size() - done,
                                 static_cast<off_t>(offset + done));
      if (count == 0) break;
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw system_error(errno, "could not read file").with("path", path_);
      done += static_cast<std::size_t>(count);
    }
    return done;
  }
  std::uint64_t size() override {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0)
      throw system_error(errno, "could not access file").with("path", path_);
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  const Descriptor file_;
  const std::string path_;
};

}  // namespace

std::vector<UserEntry> list_user_directory(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(path.c_str()), &::closedir);
  if (!listing) throw system_error(errno, "could not open directory").with("path", path);
  std::vector<UserEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(listing.get());
    if (entry == nullptr) break;
    UserEntry found{entry->d_name};
    if (found.name == "." || found.name == "..") continue;
    if (entry->d_type == DT_REG) {
      found.type = PathType::file;
    } else if (entry->d_type == DT_DIR) {
      found.type = PathType::directory;
    } else if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) {
      found.type = type_of(path + "/" + found.name);
      if (found.type == PathType::nothing) continue;
    } else {
      found.type = PathType::other;
    }
    entries.push_back(std::move(found));
  }
  if (errno != 0) throw system_error(errno, "could not read directory").with("path", path);
  std::sort(entries.begin(), entries.end(),
            [](const UserEntry& left, const UserEntry& right) { return left.name < right.name; });
  return entries;
}

std::unique_ptr<Bytes> open_user_file(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw system_error(errno, "could not open file").with("path", path);
  return std::make_unique<UserFile>(std::move(file), path);
}

std::optional<std::uint64_t> file_size(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
    throw system_error(errno, "could not access file").with("path", path);
  }
  if (!S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

std::vector<std::string> links_that_lead_nowhere(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(path.c_str()), &::closedir);
  if (!listing) throw system_error(errno, "could not open directory").with("path", path);
  std::vector<std::string> dead;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(listing.get());
    if (entry == nullptr) break;
    const auto place = path + "/" + entry->d_name;
    struct stat status {};
    if (::lstat(place.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) continue;
    if (type_of(place) == PathType::nothing) dead.emplace_back(entry->d_name);
  }
  if (errno != 0) throw system_error(errno, "could not read directory").with("path", path);
  std::sort(dead.begin(), dead.end());
  return dead;
}

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? std::string(real.get()) : path;
}

}  // namespace weir::io
