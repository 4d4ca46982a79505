#include "recovery/brought_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/text.h"
#include "io/small_file.h"

namespace weir::recovery {

namespace {

constexpr const char* kMain = "postgresql.conf";
constexpr const char* kAuto = "postgresql.auto.conf";
constexpr const char* kRecovery = "recovery.signal";
constexpr const char* kStandby = "standby.signal";
constexpr std::array<const char*, 4> kFiles = {kMain, kAuto, kRecovery, kStandby};

struct Setting {
  std::string value;
  std::string file;
};
using Settings = std::map<std::string, Setting, std::less<>>;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

/// 'it''s', or the text up to a space or a comment.
std::string value_of(std::string_view text) {
  std::string value;
  if (!text.starts_with('\'')) {
    while (!text.empty() && !is_space(text.front()) && text.front() != '#') {
      value += text.front();
      text.remove_prefix(1);
    }
    return value;
  }
  for (std::size_t at = 1; at < text.size(); ++at) {
    const bool escaped = (text[at] == '\'' && text.substr(at + 1).starts_with('\'')) ||
                         (text[at] == '\\' && at + 1 < text.size());
    if (text[at] == '\'' && !escaped) break;
    if (escaped) ++at;
    value += text[at];
  }
  return value;
}

/// Adds the settings of the file; names in lower case. Includes are kept under their keywords,
/// distinguished by their values.
void parse_into(Settings& settings, std::string_view content, const std::string& file) {
  const auto trim = [](std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    return text;
  };
  while (!content.empty()) {
    auto line = content.substr(0, content.find('\n'));
    content.remove_prefix(std::min(line.size() + 1, content.size()));
    line = trim(line);
    std::string name;
    while (!line.empty() && !is_space(line.front()) && line.front() != '=' && line.front() != '#') {
      const char c = line.front();
      name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      line.remove_prefix(1);
    }
    if (name.empty()) continue;
    line = trim(line);
    if (line.starts_with('=')) line = trim(line.substr(1));
    auto value = value_of(line);
    if (name.starts_with("include")) name += " " + value;
    settings[name] = {std::move(value), file};
  }
}

}  // namespace

bool is_settings_file(std::string_view name) {
  return std::find(kFiles.begin(), kFiles.end(), name) != kFiles.end();
}

SettingsFiles read_settings_files(const std::string& backup) {
  constexpr std::uint64_t kMost = std::uint64_t{4} << 20;
  SettingsFiles files;
  for (const auto* name : kFiles)
    if (const auto path = backup + "/" + name; io::type_of(path) == io::PathType::file)
      files[name] = io::read_front(path, kMost);
  return files;
}

std::vector<std::string> settings_that_act(const SettingsFiles& files) {
  Settings settings;
  for (const auto* name : {kMain, kAuto})
    if (const auto file = files.find(name); file != files.end())
      parse_into(settings, file->second, name);
  std::vector<std::string> told;
  const auto value = [&](std::string_view name) {
    const auto at = settings.find(name);
    return at == settings.end() ? std::string() : at->second.value;
  };
  /// `shown`: the value is, which no secret is in.
  const auto tell = [&](std::string_view name, bool shown, std::string_view what) {
    if (value(name).empty()) return;
    const auto& setting = settings.find(name)->second;
    told.push_back(fmt::format("the backup's {} sets {}{}: {}", setting.file, name,
                               shown ? " = '" + setting.value + "'" : "", what));
  };
  constexpr std::string_view kTarget =
      "a manual restore ends there, or fails (\"requested recovery stop point is before consistent "
      "recovery point\", \"multiple recovery targets specified\"). Remove the line.";
  for (const auto* name : {"recovery_target", "recovery_target_lsn", "recovery_target_name",
                           "recovery_target_time", "recovery_target_xid"})
    tell(name, true, kTarget);
  if (value("recovery_target_timeline") != "latest")
    tell("recovery_target_timeline", true,
         "a manual restore follows that timeline. Remove the line.");
  if (value("recovery_target_action") != "pause")
    tell("recovery_target_action", true,
         "a manual restore does that when it reaches its target. Remove the line.");
  if (const auto delay = value("recovery_min_apply_delay"); !delay.starts_with('0'))
    tell("recovery_min_apply_delay", true,
         "a manual restore waits that long before each commit. Remove the line.");
  tell("restore_command", false,
       "a manual restore that does not set it fetches WAL with this command. Remove the line.");
  tell("recovery_end_command", false, "a manual restore runs it at its end. Remove the line.");
  tell("archive_cleanup_command", false,
       "a manual restore runs it, and it removes WAL from an archive. Remove the line.");
  tell("synchronous_standby_names", true,
       "the first commit after a manual restore waits for these standbys. Set it to ''.");
  tell("synchronized_standby_slots", true,
       "after a manual restore, logical replication from failover slots waits for these slots. Set "
       "it to ''.");
  const auto mode = value("archive_mode");
  if (const bool archives =
          !mode.empty() && mode != "off" && mode != "false" && mode != "no" && mode != "0";
      archives)
    for (const auto* name : {"archive_command", "archive_library"})
      tell(name, false,
           "after a manual restore, the server archives to the location of the old server. Set "
           "archive_command to 'false' until you have chosen a new location.");
  tell("data_directory", true,
       "pg_ctl on a copy of the backup would start a server in that directory instead. Remove the "
       "line.");
  tell("external_pid_file", true, "a manual restore writes there. Remove the line.");
  if (files.contains(kStandby)) {
    told.emplace_back(
        "the backup contains standby.signal: a manual restore becomes a standby, and recovery "
        "never ends. Remove the file.");
    tell("primary_conninfo", false, "a standby streams from there. Remove the line.");
    tell("primary_slot_name", true, "a standby uses that slot. Remove the line.");
  }
  if (files.contains(kRecovery))
    told.emplace_back(
        "the backup contains recovery.signal: it was taken during a recovery. A manual restore "
        "uses the settings of that recovery unless it sets its own.");
  for (const auto& [name, setting] : settings)
    if (name.starts_with("include"))
      told.push_back(
          fmt::format("the backup's {} includes other files ({}), which were not checked: check "
                      "them for settings of this kind",
                      setting.file, name));
  return told;
}

}  // namespace weir::recovery
