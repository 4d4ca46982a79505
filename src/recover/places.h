#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "recover/choose.h"
#include "recover/options.h"
#include "recover/report.h"
#include "recovery/backup.h"

namespace weir::recover {

/// The destination of a tablespace.
struct Place {
  recovery::Tablespace of;
  std::string path;  ///< absolute
};

/// The tablespaces of the backup with their destinations: as in --tablespace-mapping, else the
/// original location. Throws Error{usage} for a mapping without a tablespace.
[[nodiscard]] std::vector<Place> places_of(const Choice& choice, const Options& options);

/// Some links in the backup's pg_tblspc are relative, as `pgweir backup` makes them.
[[nodiscard]] bool has_relative_links(const std::vector<Place>& places);

/// A directory in a tablespace's location from before its first file to the end of the recovery's
/// preparation. Without it, nothing shows that the files are of this recovery: their path may lead
/// to another file system now.
[[nodiscard]] std::string mark_in(const std::string& location, const std::string& id);

/// Checks every place, and creates nothing: each is absent or empty, outside of the archives, of
/// the backups and of the others, writable, and has the space. `own`: directories whose files were
/// created by an earlier call with the same words; empty: there was none. Throws Error{conflict}
/// (another place must be chosen), Error{disk_full}.
void require_places(const Choice& choice, const std::vector<Place>& places, const Options& options,
                    const std::set<std::string>& own);

/// A path as a part of "OLD=NEW" of --tablespace-mapping.
[[nodiscard]] std::string escaped(const std::string& path);

/// "OLD=NEW" of --tablespace-mapping, as pg_basebackup reads it: "\=" is a sign of the name. Throws
/// Error{usage}.
[[nodiscard]] std::pair<std::string, std::string> parse_mapping(const std::string& text);

}  // namespace weir::recover
