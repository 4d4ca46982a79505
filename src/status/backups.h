#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "io/directory.h"
#include "prune/backup_size.h"
#include "prune/find_backups.h"
#include "status/report.h"

namespace weir::status {

/// Adds the base backups to the report: those that the backup history files of `archive` name
/// (nullptr: none is read), those below `places`, and `stored` ones (prune/stored_backups.h), whose
/// names are those in the store. By names and sizes; no file of a backup but
/// its label and its manifest is read. `sizes` can be kept from one call to the next. A place that
/// cannot be searched is reported in `backups_error`. Throws Error{io} if the archive cannot be
/// listed.
void look_for_backups(StatusReport& report, io::Directory* archive,
                      const std::vector<std::string>& places, prune::BackupSizes& sizes,
                      const std::vector<prune::FoundBackup>& stored = {});

/// A time that is further ahead than this is of another clock: no age can be computed.
inline constexpr std::chrono::minutes kClockTolerance{5};

// Pure, of a report with its windows:

/// What a backup that counts can be recovered to; nullptr: it does not count.
[[nodiscard]] const StatusReport::Window* window_of(const StatusReport& report,
                                                    const StatusReport::Backup& backup);
/// Why one does not count.
[[nodiscard]] std::string why_not(const StatusReport& report, const StatusReport::Backup& backup);
/// nullopt: when it began is not known, or is in the future (kClockTolerance), or the report judges
/// nothing by its age.
[[nodiscard]] std::optional<std::chrono::milliseconds> age_of(const StatusReport& report,
                                                              const StatusReport::Backup& backup);
/// "full, plain", "incremental to /backups/monday, tar"; empty: not known
[[nodiscard]] std::string kind_of(const StatusReport::Backup& backup);
/// The newest ones, a line for each.
[[nodiscard]] std::string backups_text(const StatusReport& report);

}  // namespace weir::status
