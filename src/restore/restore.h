#pragma once

#include <string>

#include "base/error.h"
#include "base/log.h"
#include "io/directory.h"
#include "restore/options.h"
#include "restore/request.h"
#include "restore/result.h"

namespace weir::restore {

/// The segment's file has a wrong size, and was written to a moment ago: another program's
/// archive_command may be copying directly to the final name.
class BeingWritten final : public ErrorAs<BeingWritten> {
 public:
  using ErrorAs::ErrorAs;
};

/// Restores one file that recovery requests as `target_name` in `target_directory`, verified while
/// it is written, and removes it if it turns out to be invalid. If one copy of a segment (another
/// file of it, or in another archive) is damaged and another is valid, the valid one is used and
/// the damage is logged; two valid ones that differ are an error. An archive that cannot be read is
/// logged if another one has the file, and is an error if none has it. One thread. Throws
/// Error{damage, conflict, gap, io, disk_full}, BeingWritten (of damage): then the name does not
/// exist.
[[nodiscard]] Result restore_file(Shelves archives, const Request& request,
                                  io::Directory& target_directory, const std::string& target_name,
                                  const Options& options, Log& log);
[[nodiscard]] inline Result restore_file(io::Shelf& archive, const Request& request,
                                         io::Directory& target_directory,
                                         const std::string& target_name, const Options& options,
                                         Log& log) {
  io::Shelf* const only = &archive;
  return restore_file(Shelves(&only, 1), request, target_directory, target_name, options, log);
}

}  // namespace weir::restore
