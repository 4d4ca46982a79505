#include "cli/shared/file_mode.h"

#include "io/small_file.h"

namespace weir::cli {

void take_file_mode(io::Directory& archive, const archive::Listing& listing) {
  for (auto entry = listing.segments.rbegin(); entry != listing.segments.rend(); ++entry) {
    const auto access = io::look_at_access(archive.path_of(entry->name.to_string()));
    if (!access) continue;  // a receiver has renamed it since
    if ((access->mode & 0040) != 0) io::set_file_mode(archive, 0640);
    return;
  }
}

}  // namespace weir::cli
