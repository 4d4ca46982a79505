#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "prune/backup_size.h"
#include "prune/find_backups.h"
#include "status/report.h"
#include "web/facts.h"
#include "web/history.h"

namespace weir::web {

/// What was seen of an archive's directory at one moment. A value.
struct Look {
  status::StatusReport report;  ///< without what its receiver says
  SystemTime at;
  std::optional<History> history{};  ///< as far as it was read with the directory
};

/// Lists the directory, looks into the ends of its timelines, and for base backups
/// (status/backups.h); `stored`, unless empty, returns those of a store. `sizes` is kept from one
/// look to the next, so that each manifest is read once. `among_backups` is called with true before
/// `stored` and before files of backups are read, and with false after it: that takes long the
/// first time, and if their disk hangs, that of the archive may not. Throws Error{io} if the
/// directory cannot be listed.
[[nodiscard]] Look look_at(const std::string& directory, const std::vector<std::string>& places,
                           prune::BackupSizes& sizes,
                           const std::function<std::vector<prune::FoundBackup>()>& stored = {},
                           const std::function<void(bool)>& among_backups = {});

/// What a page can be made of; without a verdict. `look` may be nullptr: there was none yet.
/// `silent_since`: when the next look began, if it does not return.
[[nodiscard]] Facts facts_of(const Look* look, const std::string& directory, SystemTime now,
                             std::optional<SystemTime> silent_since);

}  // namespace weir::web
