#include "archive/leftovers.h"

#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "base/random.h"

namespace weir::archive {

namespace {

// Excludes the names that the receiver uses and cleans up: both may be working on the same segment.
constexpr std::string_view kConvertPrefix = ".pgweir-convert-";
constexpr std::string_view kConvertSuffix = ".tmp";

/// nullopt: this file system knows no locks.
std::optional<bool> try_lock(io::File& file) {
  try {
    return file.try_lock();
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Two processes may work on one target: neither may rename the file that the other is writing.
std::string unique_name(std::string_view target) {
  return fmt::format("{}{:016x}-{}{}", kConvertPrefix, random_bits(), target, kConvertSuffix);
}

}  // namespace

LockedFile create_locked(io::Directory& directory, std::string_view target) {
  for (;;) {
    LockedFile made;
    made.name = unique_name(target);
    made.file = directory.create(made.name);
    try {
      made.lock = directory.open(made.name);
      if (made.lock && try_lock(*made.lock) == false) made.lock = nullptr;
      // Before it was locked another run may have removed it as a leftover.
      if (made.lock && directory.find(made.name)) return made;
    } catch (const Error&) {
      try {
        directory.remove(made.name);
      } catch (const Error&) {
        // The first error is reported; remove_leftovers() removes the file.
      }
      throw;
    }
  }
}

void remove_leftovers(io::Directory& directory,
                      std::chrono::system_clock::time_point written_before) {
  for (const auto& entry : directory.list()) {
    if (!is_leftover(entry.name)) continue;
    const auto file = directory.open(entry.name);
    if (!file) continue;
    if (try_lock(*file).value_or(entry.modified < written_before)) directory.remove(entry.name);
  }
}

bool is_locked(io::File& file) { return try_lock(file) == false; }

bool is_leftover(std::string_view name) {
  return name.starts_with(kConvertPrefix) && name.ends_with(kConvertSuffix);
}

}  // namespace weir::archive
