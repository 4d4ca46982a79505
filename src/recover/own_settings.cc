#include "recover/own_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "recovery/settings.h"
#include "wal/server_version.h"

namespace weir::recover {

namespace {

using recovery::quoted_setting;
using recovery::Target;

constexpr std::string_view kOverridden =
    "# pgweir recover: overrides settings of the backup's server";
constexpr std::string_view kRecovery =
    "# pgweir recover: settings of this recovery, to be removed afterwards";
constexpr std::string_view kWatching =
    "# pgweir recover: settings until the recovery has ended, to be removed then";
constexpr std::string_view kEnd = "# pgweir recover: end";

struct Neutral {
  const char* name;
  const char* value;
  const char* what;  ///< it would do
};
constexpr const char* kOther = "it belongs to an earlier recovery";
constexpr std::array<Neutral, 17> kNeutral = {{
    {"recovery_target", "", kOther},
    {"recovery_target_lsn", "", kOther},
    {"recovery_target_name", "", kOther},
    {"recovery_target_time", "", kOther},
    {"recovery_target_xid", "", kOther},
    {"recovery_target_timeline", "latest", kOther},
    {"recovery_target_action", "pause", kOther},
    {"recovery_target_inclusive", "on", kOther},
    {"recovery_min_apply_delay", "0", "each commit would wait"},
    {"restore_command", "", "WAL would be fetched from elsewhere"},
    {"recovery_end_command", "", "it would run at the end of the recovery"},
    {"archive_cleanup_command", "", "it would remove WAL from an archive"},
    {"primary_conninfo", "", "it refers to the old server"},
    {"primary_slot_name", "", "it is a slot of the old server"},
    {"promote_trigger_file", "", "a file there would end the recovery early"},
    {"synchronous_standby_names", "", "the first commit would wait for standbys"},
    // StandbySlotsHaveCaughtup() in replication/slot.c.
    {"synchronized_standby_slots", "", "failover slots would wait for slots of standbys"},
}};

bool is_off(const std::string& value) { return value == "off" || value.empty(); }

class Make {
 public:
  Make(const Wanted& wanted, Effective& effective)
      : wanted_(wanted), version_(wanted.major), effective_(effective) {}

  OwnSettings run() {
    for (const auto& each : kNeutral) override_one(each);
    stop_archiving();
    if (!effective_.known()) tell_unknown();
    raise_limits();
    if (wanted_.options.standby)
      follow();
    else
      recover();
    set("restore_command", wanted_.restore_command);
    std::vector<std::string> files = {"hba_file", "ident_file"};
    if (const auto ssl = effective_.value("ssl"); ssl && !is_off(*ssl))
      files.insert(files.end(), {"ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file"});
    for (const auto& name : files)
      if (const auto value = effective_.value(name); value && !is_own(*value))
        note(
            fmt::format("{} is '{}', outside of the directory, and was not changed", name, *value));
    return std::move(made_);
  }

 private:
  void set(std::string name, std::string value) {
    made_.recovery.emplace_back(std::move(name), std::move(value));
  }
  void note(std::string text) { made_.notes.push_back(std::move(text)); }
  [[nodiscard]] bool is_kept(std::string_view name) const {
    const auto& kept = wanted_.options.keep_settings;
    return std::find(kept.begin(), kept.end(), name) != kept.end();
  }
  [[nodiscard]] bool is_own(const std::string& path) const {
    return !path.starts_with('/') || path.starts_with(wanted_.options.into + "/");
  }

  [[nodiscard]] bool exists(std::string_view name) const {
    if (name == "promote_trigger_file") return version_.has_promote_trigger_file();
    if (name == "synchronized_standby_slots") return version_.has_synchronized_standby_slots();
    return true;
  }

  void override_one(const Neutral& each) {
    if (is_kept(each.name)) return;
    const auto value = effective_.value(each.name);
    if (effective_.known()) {
      if (!value || *value == each.value) return;
      note(fmt::format(
          "{} of the backup is overridden with '{}': {}. {}", each.name, each.value, each.what,
          effective_.is_in_auto(each.name)
              ? fmt::format("Its value is in postgresql.auto.conf of the backup: ALTER "
                            "SYSTEM SET {} restores it",
                            each.name)
              : fmt::format("ALTER SYSTEM RESET {} restores it", each.name)));
    } else if (!exists(each.name)) {
      return;
    }
    made_.overridden.emplace_back(each.name, each.value);
  }

  /// Regardless of the command: it would write history and segments of the new timeline to the old
  /// server's archive. 'false' loses nothing, and is visible in pg_stat_archiver.
  void stop_archiving() {
    if (is_kept("archive_command")) return;
    const auto mode = effective_.value("archive_mode");
    if (effective_.known() && mode && is_off(*mode)) return;
    made_.overridden.emplace_back("archive_command", "false");
    if (version_.has_archive_library()) made_.overridden.emplace_back("archive_library", "");
    if (effective_.known())
      note(fmt::format(
          "archive_mode is on, and archive_command is overridden with 'false': WAL is retained "
          "until you configure archiving. {} archive_command (and archive_library), and a reload, "
          "restore it",
          effective_.is_in_auto("archive_command") || effective_.is_in_auto("archive_library")
              ? "The value is in postgresql.auto.conf of the backup: ALTER SYSTEM SET"
              : "ALTER SYSTEM RESET"));
  }

  void tell_unknown() {
    std::string names;
    for (const auto& [name, value] : made_.overridden) names += (names.empty() ? "" : ", ") + name;
    if (names.empty()) return;
    note(
        "the settings of the backup's server are unknown, so that all that could do harm are "
        "overridden in postgresql.auto.conf: " +
        names +
        ". If archive_mode is on, WAL is retained until you configure archiving. ALTER "
        "SYSTEM RESET removes such a line, and a line of the backup's postgresql.auto.conf with "
        "it");
  }

  /// A hot standby with a lower limit pauses forever at the record of a higher one; 13 stops
  /// (RecoveryRequiresIntParameter() in access/transam/xlogrecovery.c).
  void raise_limits() {
    for (std::size_t i = 0; i < wal::kServerLimits.size(); ++i) {
      const std::string name = wal::kServerLimits[i];
      const auto needed = std::max(wanted_.limits[i], wanted_.promise.limits[i]);
      const auto value = effective_.value(name);
      const auto number = value ? parse_number<std::uint32_t>(*value) : std::nullopt;
      if (needed == 0 || (number && *number >= needed)) continue;
      made_.overridden.emplace_back(name, std::to_string(needed));
      if (number)
        note(fmt::format("{} is raised from {} to {}, as on the server that wrote the WAL", name,
                         *number, needed));
    }
  }

  void follow() {
    set("primary_conninfo", *wanted_.options.standby);
    if (wanted_.options.standby_slot) set("primary_slot_name", *wanted_.options.standby_slot);
    set("recovery_target_timeline", "latest");
  }

  void recover() {
    const auto& target = wanted_.options.target;
    const auto setting = recovery::target_setting(target, wanted_.promise.last_record);
    // The other ones first: after it an empty one would be a second target
    // (assign_recovery_target_lsn() and the like in access/transam/xlogrecovery.c).
    for (const std::string name : kTargets)
      if (name != setting.name) set(name, "");
    set(setting.name, setting.value);
    set("recovery_target_inclusive", target.exclusive ? "off" : "on");
    set("recovery_target_timeline", std::to_string(wanted_.timeline));
    const auto action = wanted_.options.action;
    set("recovery_target_action", action == Action::promote ? "promote"
                                  : action == Action::pause ? "pause"
                                                            : "shutdown");
    // Without it a pause is a shutdown ("Recovery Target" in PostgreSQL's documentation).
    if (action == Action::pause) {
      if (const auto hot = effective_.value("hot_standby"); !hot || is_off(*hot)) {
        set("hot_standby", "on");
        if (hot) note("hot_standby is on during this recovery, so that the server can pause");
      }
    }
    // Prefetching would request WAL after the target, which may be missing.
    if (version_.has_recovery_prefetch() && target.kind != Target::Kind::latest)
      set("recovery_prefetch", "off");
  }

  const Wanted& wanted_;
  const wal::ServerVersion version_;
  Effective& effective_;
  OwnSettings made_;
};

std::string lines_of(const std::vector<Setting>& settings) {
  std::string text;
  for (const auto& [name, value] : settings)
    text += fmt::format("{} = {}\n", name, quoted_setting(value));
  return text;
}

/// Returns the content without the two lines and the text between them. If ALTER SYSTEM has removed
/// the comments (it rewrites the file) nothing is found.
std::string without(std::string_view content, std::string_view begin, std::string_view end) {
  std::string text;
  bool inside = false;
  while (!content.empty()) {
    const auto line = content.substr(0, content.find('\n'));
    content.remove_prefix(std::min(line.size() + 1, content.size()));
    inside = inside || line == begin;
    if (!inside) text += std::string(line) + "\n";
    inside = inside && line != end;
  }
  return text;
}

}  // namespace

OwnSettings own_settings(const Wanted& wanted, Effective& effective) {
  return Make(wanted, effective).run();
}

std::string with_settings(std::string_view content, const OwnSettings& settings) {
  auto text = without_own(content);
  if (!settings.overridden.empty())
    text += fmt::format("{}\n{}{}\n", kOverridden, lines_of(settings.overridden), kEnd);
  return text + fmt::format("{}\n{}{}\n", kRecovery, lines_of(settings.recovery), kEnd);
}

std::string without_recovery(std::string_view content) {
  return without(without_watching(content), kRecovery, kEnd);
}

std::string with_watching(std::string_view content) {
  return without_watching(content) +
         fmt::format("{}\n{}{}\n", kWatching,
                     lines_of({{"lc_messages", "C"}, {"log_destination", "stderr"}}), kEnd);
}

std::string without_watching(std::string_view content) { return without(content, kWatching, kEnd); }

std::string without_own(std::string_view content) {
  return without(without_recovery(content), kOverridden, kEnd);
}

std::optional<std::string> commented_out(std::string_view content, std::string_view name) {
  std::string text;
  bool found = false;
  while (!content.empty()) {
    const auto line = content.substr(0, content.find('\n'));
    content.remove_prefix(std::min(line.size() + 1, content.size()));
    auto rest = line;
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t')) rest.remove_prefix(1);
    std::string word;
    for (; !rest.empty() && word.size() < name.size(); rest.remove_prefix(1))
      word += rest.front() >= 'A' && rest.front() <= 'Z'
                  ? static_cast<char>(rest.front() - 'A' + 'a')
                  : rest.front();
    const bool is_it = word == name && !rest.empty() &&
                       (rest.front() == ' ' || rest.front() == '\t' || rest.front() == '=');
    found = found || is_it;
    text += (is_it ? "# pgweir recover: " : "") + std::string(line) + "\n";
  }
  return found ? std::optional(text) : std::nullopt;
}

}  // namespace weir::recover
