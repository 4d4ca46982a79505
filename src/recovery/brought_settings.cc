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
      "a restore by hand ends there, or fails (\"requested recovery stop point is before "
      "consistent "
      "recovery point\", \"multiple recovery targets specified\"). Take the line out.";
  for (const auto* name : {"recovery_target", "recovery_target_lsn", "recovery_target_name",
                           "recovery_target_time", "recovery_target_xid"})
    tell(name, true, kTarget);
  if (value("recovery_target_timeline") != "latest")
    tell("recovery_target_timeline", true,
         "a restore by hand follows that timeline. Take the line out.");
  if (value("recovery_target_action") != "pause")
    tell("recovery_target_action", true,
         "a restore by hand to a target does that when it is reached. Take the line out.");
  if (const auto delay = value("recovery_min_apply_delay"); !delay.starts_with('0'))
    tell("recovery_min_apply_delay", true,
         "a restore by hand waits so long before each commit. Take the line out.");
  tell("restore_command", false,
       "a restore by hand that sets none fetches WAL by it. Take the line out.");
  tell("recovery_end_command", false, "a restore by hand runs it at its end. Take the line out.");
  tell("archive_cleanup_command", false,
       "a restore by hand runs it, and it removes WAL from an archive. Take the line out.");
  tell("synchronous_standby_names", true,
       "the first commit after a restore by hand waits for these standbys. Set it to ''.");
  const auto mode = value("archive_mode");
  if (const bool archives =
          !mode.empty() && mode != "off" && mode != "false" && mode != "no" && mode != "0";
      archives)
    for (const auto* name : {"archive_command", "archive_library"})
      tell(name, false,
           "after a restore by hand it archives into the place of the old server. Set "
           "archive_command to 'false' until the new place is decided.");
  tell("data_directory", true,
       "pg_ctl started on a copy of the backup would start that directory instead. Take the line "
       "out.");
  tell("external_pid_file", true, "a restore by hand writes there. Take the line out.");
  if (files.contains(kStandby)) {
    told.emplace_back(
        "the backup has standby.signal: a restore by hand becomes a standby, and never opens. "
        "Remove the file.");
    tell("primary_conninfo", false, "as a standby it streams from there. Take the line out.");
    tell("primary_slot_name", true, "as a standby it uses that slot. Take the line out.");
  }
  if (files.contains(kRecovery))
    told.emplace_back(
        "the backup has recovery.signal: it was taken while a recovery went on. A restore by hand "
        "goes on with the settings of that one, where it does not set its own.");
  for (const auto& [name, setting] : settings)
    if (name.starts_with("include"))
      told.push_back(
          fmt::format("the backup's {} reads other files, too ({}): look there for the "
                      "like, which were not looked at",
                      setting.file, name));
  return told;
}

}  // namespace weir::recovery
