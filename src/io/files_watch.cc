#include "io/files_watch.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <cerrno>
#include <deque>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/error.h"
#include "io/place.h"

namespace weir::io {

namespace {

namespace fs = std::filesystem;

/// As the kernel itself has it (MAXSYMLINKS).
constexpr int kMostLinks = 40;
constexpr auto kGone = IN_DELETE_SELF | IN_MOVE_SELF;
constexpr auto kNames = IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR | kGone;
constexpr auto kContent = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | kGone;

enum class Kind { nothing, file, directory, link };

/// nullopt if it cannot be determined.
std::optional<Kind> kind_of(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0)
    return errno == ENOENT ? std::optional(Kind::nothing) : std::nullopt;
  if (S_ISLNK(status.st_mode)) return Kind::link;
  return S_ISDIR(status.st_mode) ? Kind::directory : Kind::file;
}

bool is_seen_here(const fs::path& directory) {
  try {
    return !changes_elsewhere(directory);
  } catch (const Error&) {
    return false;
  }
}

/// Adds watches along one file's path, each before the watched object is read.
class Way {
 public:
  Way(int events, const fs::path& path) : events_(events) {
    std::error_code error;
    const auto whole = fs::absolute(path, error);
    if (!error) put_first(whole.relative_path());
  }

  /// Returns false if a change on it could be missed.
  [[nodiscard]] bool follow() {
    if (rest_.empty()) return false;
    while (!rest_.empty()) {
      const auto name = std::exchange(rest_.front(), {});
      rest_.pop_front();
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        at_ = at_.parent_path();  // no link is in it
        continue;
      }
      const auto next = at_ / name;
      auto kind = kind_of(next);
      if (kind != Kind::directory) {
        if (!watch_names()) return false;
        kind = kind_of(next);
      }
      if (!kind) return false;
      switch (*kind) {
        case Kind::nothing:
          return true;  // it must be created there first
        case Kind::file:
          return rest_.empty() && watch_content(next);
        case Kind::directory:
          at_ = next;
          break;
        case Kind::link:
          if (!take_link(next)) return false;
          break;
      }
    }
    return false;  // a directory is not a file
  }

 private:
  bool watch_names() const {
    return is_seen_here(at_) && ::inotify_add_watch(events_, at_.c_str(), kNames) >= 0;
  }

  /// If the file was removed meanwhile, the watch of its name has seen that.
  bool watch_content(const fs::path& file) const {
    return ::inotify_add_watch(events_, file.c_str(), kContent) >= 0 || errno == ENOENT;
  }

  bool take_link(const fs::path& link) {
    std::error_code error;
    const auto target = fs::read_symlink(link, error);
    if (error || ++links_ > kMostLinks) return false;
    if (target.is_absolute()) at_ = "/";
    put_first(target.relative_path());
    return true;
  }

  void put_first(const fs::path& names) {
    auto at = rest_.begin();
    for (const auto& name : names) at = std::next(rest_.insert(at, name));
  }

  const int events_;
  fs::path at_ = "/";
  std::deque<fs::path> rest_;
  int links_ = 0;
};

}  // namespace

std::unique_ptr<FilesWatch> FilesWatch::begin(const std::vector<std::string>& paths) {
  Descriptor events(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!events) return nullptr;
  for (const auto& path : paths)
    if (!Way(events.get(), path).follow()) return nullptr;
  return std::unique_ptr<FilesWatch>(new FilesWatch(std::move(events)));
}

}  // namespace weir::io
