#include "io/foreign_writer.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/text.h"

namespace weir::io {

namespace {

namespace fs = std::filesystem;

std::string program_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

/// Parses a line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 fd:01:131073 0 EOF", device and
/// inode last. A process that waits for a lock has "->" after the number.
std::optional<pid_t> holder_of_lock(const std::string& directory) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return std::nullopt;
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, advisory, access, process, place;
    words >> number >> kind >> advisory >> access >> process >> place;
    if (kind != "FLOCK") continue;
    unsigned int major_number = 0;
    unsigned int minor_number = 0;
    unsigned long long inode = 0;
    // NOLINTNEXTLINE(cert-err34-c): three numbers or not
    if (std::sscanf(place.c_str(), "%x:%x:%llu", &major_number, &minor_number, &inode) != 3)
      continue;
    const auto id = parse_number<pid_t>(process);
    if (inode == status.st_ino && major_number == major(status.st_dev) &&
        minor_number == minor(status.st_dev) && id && *id != ::getpid())
      return id;
  }
  return std::nullopt;
}

/// The modes of the links in /proc/…/fd are those that the files were opened with.
bool writes(const fs::path& process, const std::string& prefix,
            const std::function<bool(std::string_view)>& counts) {
  std::error_code ignored;  // it has exited, or belongs to another user
  for (fs::directory_iterator file(process / "fd", ignored), end; !ignored && file != end;
       file.increment(ignored)) {
    struct stat status {};
    if (::lstat(file->path().c_str(), &status) != 0 || (status.st_mode & S_IWUSR) == 0) continue;
    const auto target = fs::read_symlink(file->path(), ignored).string();
    if (ignored) {
      ignored.clear();
      continue;
    }
    if (target.starts_with(prefix) && counts(std::string_view(target).substr(prefix.size())))
      return true;
  }
  return false;
}

}  // namespace

std::optional<ForeignWriter> find_lock_holder(const std::string& directory) {
  const auto process = holder_of_lock(directory);
  if (!process) return std::nullopt;
  return ForeignWriter{*process, program_of(*process)};
}

std::optional<ForeignWriter> find_foreign_writer(
    const std::string& directory, const std::function<bool(std::string_view)>& counts) {
  if (auto holder = find_lock_holder(directory)) return holder;
  std::error_code ignored;
  const auto prefix = fs::canonical(directory, ignored).string() + "/";
  for (fs::directory_iterator process("/proc", ignored), end; !ignored && process != end;
       process.increment(ignored)) {
    const auto id = parse_number<pid_t>(process->path().filename().string());
    if (id && *id != ::getpid() && writes(process->path(), prefix, counts))
      return ForeignWriter{*id, program_of(*id)};
  }
  return std::nullopt;
}

}  // namespace weir::io
