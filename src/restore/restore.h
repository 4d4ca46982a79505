#pragma once

#include <string>

#include "base/log.h"
#include "io/directory.h"
#include "restore/options.h"
#include "restore/request.h"
#include "restore/result.h"

namespace weir::restore {

/// Puts one file that recovery asks for under `target_name` into `target_directory`, checked while
/// it is written, and takes it back if it turns out to be wrong. If one copy of a segment (a form
/// of it, or that of another archive) is damaged and another is sound, the sound one is taken and
/// the damage told to the log; two that are sound and differ are an error. An archive that cannot
/// be looked into is told to the log if another one has the file, and is an error if none has it.
/// One thread. Throws Error{damage, conflict, gap, io, disk_full}: nothing stands under the name
/// then.
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
