#include "archive/lock_file.h"

#include "base/error.h"

namespace weir::archive {

std::unique_ptr<io::File> try_lock_file(io::Directory& directory, const std::string& name) {
  auto file = directory.open(name);
  if (!file) {
    try {
      file = directory.create(name);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::conflict) throw;
      file = directory.open(name);  // another process was faster
      if (!file) return nullptr;
    }
  }
  if (!file->try_lock()) return nullptr;
  return file;
}

}  // namespace weir::archive
