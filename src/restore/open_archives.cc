#include "restore/open_archives.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "io/bounded_shelf.h"
#include "io/posix_directory.h"

namespace weir::restore {

namespace {

using namespace std::chrono_literals;

/// With --retry-for 0 nothing is tried again, and yet a disk is given the time to spin up.
constexpr std::chrono::milliseconds kLeastPatience = 1s;

/// It may be opened when the process is elsewhere.
std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here ? std::string(here.get()) + "/" + path : path;
}

std::unique_ptr<io::Shelf> open_one_of_several(const std::string& path) {
  try {
    return io::open_existing_directory(path);
  } catch (const Error& error) {
    if (error.system_code() != ENOENT) throw;
    // That of a file means that it is gone, and to look again. This one is not there at all.
    throw Error(ErrorKind::io, error.what()).hint(error.hint());
  }
}

}  // namespace

OpenArchives::OpenArchives(const std::vector<std::string>& paths,
                           std::chrono::milliseconds patience) {
  for (const auto& path : paths) {
    if (paths.size() == 1)
      owned_.push_back(io::open_existing_directory(path));
    else
      owned_.push_back(std::make_unique<io::BoundedShelf>(
          path, [from = absolute(path)] { return open_one_of_several(from); },
          std::max(patience, kLeastPatience)));
    shelves_.push_back(owned_.back().get());
  }
}

}  // namespace weir::restore
