#include "archive/upkeep.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/error.h"

namespace weir::archive {

namespace {

std::string_view word(Upkeep::Kind kind) {
  return kind == Upkeep::Kind::prune ? "prune" : "import";
}

/// A process that has exited has no lock any more.
bool at_work(io::Directory& directory, Upkeep::Kind kind) {
  const auto end = fmt::format("-{}.tmp", word(kind));
  for (const auto& entry : directory.list()) {
    if (!is_leftover(entry.name) || !entry.name.ends_with(end)) continue;
    const auto file = directory.open(entry.name);
    if (file && is_locked(*file)) return true;
  }
  return false;
}

}  // namespace

Upkeep::Upkeep(io::Directory& directory, Kind kind) : directory_(directory) {
  try {
    own_ = create_locked(directory, word(kind));
  } catch (const Error& error) {
    if (kind != Kind::prune || error.kind() != ErrorKind::disk_full) throw;
  }
  // Both announce themselves before either checks, so at most one of two that start together
  // continues.
  const auto other = kind == Kind::prune ? Kind::import : Kind::prune;
  try {
    if (at_work(directory, other))
      throw Error(ErrorKind::retry, kind == Kind::prune ? "an import into the archive is running"
                                                        : "a prune of the archive is running")
          .with("directory", directory.path())
          .hint("Nothing was changed. Run the command again when the other one has ended.");
  } catch (...) {
    release();
    throw;
  }
}

Upkeep::~Upkeep() { release(); }

void Upkeep::release() noexcept {
  if (own_.name.empty()) return;
  try {
    directory_.remove(own_.name);
  } catch (...) {
    // It has no meaning without its lock.
  }
  own_ = {};
}

}  // namespace weir::archive
