#include "drill/sandbox.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "io/small_file.h"
#include "io/user_tree.h"

namespace weir::drill {

namespace {

constexpr std::string_view kPrefix = "pgweir-drill-";
constexpr const char* kMark = "/.pgweir-drill";
constexpr std::string_view kMarkText = "This directory is a sandbox of pgweir drill.\n";

std::string require_place(const std::string& place) {
  if (io::type_of(place) != io::PathType::directory)
    throw Error(ErrorKind::usage, "the directory for the sandbox does not exist")
        .with("path", place);
  // A server's settings refer to it, so it must be an absolute path.
  return io::real_path(place);
}

}  // namespace

Sandbox::Sandbox(const std::string& place)
    : path_(io::make_private_directory(require_place(place) + "/" + std::string(kPrefix))) {
  try {
    lock_.emplace(path_ + kMark, kMarkText);
    directory_ = io::directory_descriptor(path_);
  } catch (...) {
    ::rmdir(path_.c_str());  // check-includes: a directory that was just made and is empty
    throw;
  }
}

Sandbox::~Sandbox() {
  try {
    remove();
  } catch (const Error&) {
    // Reported by the explicit call of remove(); a later drill tries again.
  }
}

void Sandbox::remove() {
  if (path_.empty()) return;
  io::remove_tree(path_);
  path_.clear();
}

std::string Sandbox::socket_directory() const {
  // sun_path of <sys/un.h>, with its terminator; "/.s.PGSQL.5432" follows the directory.
  constexpr std::size_t kLongest = 107 - 14;
  if (path_.size() <= kLongest) return path_;
  return fmt::format("/proc/{}/fd/{}", ::getpid(), directory_.get());
}

std::vector<std::string> Sandbox::remove_leftovers(const std::string& place) {
  std::vector<std::string> removed;
  const auto directory = require_place(place);
  for (const auto& name : io::own_directories(directory, kPrefix)) {
    const auto path = directory + "/" + name;
    // A directory that is just being created has no mark yet.
    const auto lock = io::LockFile::take_over(path + kMark);
    if (!lock || io::read_front(path + kMark, kMarkText.size() + 1) != kMarkText) continue;
    io::remove_tree(path);
    removed.push_back(name);
  }
  return removed;
}

}  // namespace weir::drill
