#include "web/look.h"

#include "io/place.h"
#include "io/posix_directory.h"
#include "status/backups.h"

namespace weir::web {

Facts facts_of(const Look* look, const std::string& directory, SystemTime now,
               std::optional<SystemTime> silent_since) {
  Facts facts;
  facts.now = now;
  facts.looked = look != nullptr ? look->at : now;
  facts.version = PGWEIR_VERSION;
  if (look != nullptr) {
    facts.report = look->report;
    facts.history = look->history;
  } else {
    facts.report.directory = directory;
  }
  facts.report.silent_since = silent_since;
  return facts;
}

Look look_at(const std::string& directory, const std::vector<std::string>& places,
             prune::BackupSizes& sizes,
             const std::function<std::vector<prune::FoundBackup>()>& stored,
             const std::function<void(bool)>& among_backups) {
  const auto tell = [&](bool among) {
    if (among_backups) among_backups(among);
  };
  Look look;
  look.at = std::chrono::system_clock::now();
  const auto opened = io::open_existing_directory(directory);
  look.report = status::make_report(*opened);
  look.report.disk_bytes = io::inspect_place(directory).bytes;
  status::look_for_backups(look.report, opened.get(), {}, sizes, {});
  tell(true);
  try {
    status::look_for_backups(look.report, nullptr, places, sizes,
                             stored ? stored() : std::vector<prune::FoundBackup>());
  } catch (...) {
    tell(false);
    throw;
  }
  tell(false);
  return look;
}

}  // namespace weir::web
