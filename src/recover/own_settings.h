#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recover/options.h"
#include "recovery/promise.h"

// The settings that a recovery appends to postgresql.auto.conf, the only configuration file that is
// read last regardless of the location of postgresql.conf ("Parameter Interaction via the
// Configuration File" in PostgreSQL's documentation). Pure.

namespace weir::recover {

using Setting = std::pair<std::string, std::string>;  ///< name, value

/// The effective settings of the backup's server, according to its files.
class Effective {
 public:
  virtual ~Effective() = default;
  /// False: it cannot be determined, because postgresql.conf is elsewhere or invalid.
  [[nodiscard]] virtual bool known() const = 0;
  /// nullopt: not known, or this version has no such setting.
  [[nodiscard]] virtual std::optional<std::string> value(const std::string& name) = 0;
  /// True if the backup's postgresql.auto.conf sets it. ALTER SYSTEM RESET removes all lines of a
  /// name (replace_auto_config_value() in utils/misc/guc.c), and so this value as well.
  [[nodiscard]] virtual bool is_in_auto(const std::string& name) = 0;
};

struct OwnSettings {
  /// Harmful settings of the backup, overridden. They stay.
  std::vector<Setting> overridden{};
  /// Settings of this recovery; removed after promotion.
  std::vector<Setting> recovery{};
  std::vector<std::string> notes{};  ///< a sentence for each that a person should know
};

struct Wanted {
  const Options& options;
  const recovery::Promise& promise;
  wal::TimelineId timeline = 1;
  int major = 0;
  std::string restore_command;
  wal::ServerLimits limits{};  ///< of the backup's pg_control
};
[[nodiscard]] OwnSettings own_settings(const Wanted& wanted, Effective& effective);

/// At most one of these may be set: otherwise a server does not start.
inline constexpr std::array<const char*, 5> kTargets = {
    "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time",
    "recovery_target_xid"};

/// The content of postgresql.auto.conf with them, in place of those of an earlier call.
[[nodiscard]] std::string with_settings(std::string_view content, const OwnSettings& settings);
/// Without those of the recovery alone.
[[nodiscard]] std::string without_recovery(std::string_view content);
/// With those of the time in which the server's log is read: its messages are parsed. They would
/// change a server that stays a standby for years.
[[nodiscard]] std::string with_watching(std::string_view content);
[[nodiscard]] std::string without_watching(std::string_view content);
/// Without any: what the backup's server had.
[[nodiscard]] std::string without_own(std::string_view content);

/// The content with each line that sets `name` as a comment; nullopt if there is none.
[[nodiscard]] std::optional<std::string> commented_out(std::string_view content,
                                                       std::string_view name);

}  // namespace weir::recover
