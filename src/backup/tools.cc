#include "backup/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"
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
    const auto tool = programs.path("pg_basebackup");
    if (!io::is_program(tool) || !io::is_program(programs.path("pg_verifybackup"))) continue;
    const auto asked = recovery::run_tool({tool, "--version"}, recovery::environment(), stop);
    programs.version = std::string(trimmed(asked.output));
    // "pg_basebackup (PostgreSQL) 15.18 (Debian …)", "… 19beta1"
    constexpr std::string_view kBefore = "(PostgreSQL) ";
    const auto at = programs.version.find(kBefore);
    const auto number =
        at == std::string::npos ? std::string() : programs.version.substr(at + kBefore.size());
    programs.major =
        parse_number<int>(number.substr(0, number.find_first_not_of("0123456789"))).value_or(0);
    if (asked.done() && programs.major >= major) return programs;
    seen += (seen.empty() ? "" : ", ") + fmt::format("{} in {}", programs.version, directory);
  }
  Error error(ErrorKind::retry,
              fmt::format("there is no pg_basebackup and pg_verifybackup of PostgreSQL {} or newer",
                          major));
  if (bindir) error.with("directory", *bindir);
  if (!seen.empty()) error.with("found", seen);
  throw error.hint(fmt::format(
      "Install the client programs (Debian: postgresql-client-{}), or name their directory with "
      "--bindir.",
      major));
}

}  // namespace weir::backup
