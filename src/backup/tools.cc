#include "backup/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "io/tree.h"
#include "wal/page.h"

namespace weir::backup {

recovery::Programs find_tools(int major, const std::optional<std::string>& bindir,
                              const std::function<bool()>& stop) {
  std::vector<std::string> directories;
  if (bindir) {
    directories.push_back(*bindir);
  } else {
    for (int each = major; each <= std::max(major, wal::kNewestKnownMajor); ++each)
      for (const auto* place : {"/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"})
        directories.push_back(fmt::format(fmt::runtime(place), each));
  }
  std::string seen;
  for (const auto& directory : directories) {
    recovery::Programs programs{.directory = directory};
    if (!io::is_program(programs.path("pg_basebackup")) ||
        !io::is_program(programs.path("pg_verifybackup")))
      continue;
    if (recovery::ask_version(programs, "pg_basebackup", stop) && programs.major >= major)
      return programs;
    seen += (seen.empty() ? "" : ", ") + fmt::format("{} in {}", programs.version, directory);
  }
  Error error(
      ErrorKind::retry,
      fmt::format("could not find pg_basebackup and pg_verifybackup of PostgreSQL {} or newer",
                  major));
  if (bindir) error.with("directory", *bindir);
  if (!seen.empty()) error.with("found", seen);
  throw error.hint(
      fmt::format("Install the client programs (Debian: postgresql-client-{}), or specify their "
                  "directory with --bindir.",
                  major));
}

}  // namespace weir::backup
