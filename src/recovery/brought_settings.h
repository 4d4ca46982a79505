#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace weir::recovery {

/// Files of a backup that configure its server, by their names in the data directory: the two
/// configuration files, and the signal files. A drill does not use them, but a restore by hand
/// does.
using SettingsFiles = std::map<std::string, std::string, std::less<>>;

/// True if the file of that name is one of them.
[[nodiscard]] bool is_settings_file(std::string_view name);

/// Reads those of a backup in plain format. Throws Error{io}.
[[nodiscard]] SettingsFiles read_settings_files(const std::string& backup);

/// Returns the effects of these files on a server that is started on the unchanged backup, each
/// with what to remove: one sentence each. Values that may contain a secret are not shown.
/// (postgresql.auto.conf is read last, and the last line of a name counts: guc-file.l.)
[[nodiscard]] std::vector<std::string> settings_that_act(const SettingsFiles& files);

}  // namespace weir::recovery
