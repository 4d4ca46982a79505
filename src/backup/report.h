#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backup/options.h"
#include "backup/standing.h"
#include "base/error.h"
#include "wal/lsn.h"

namespace weir::backup {

struct Report {
  int status = 0;  ///< the exit status
  bool made = false;
  bool dry_run = false;
  std::string name;  ///< empty: none was chosen
  std::string path;  ///< of a backup that does not count its hidden one, if it is left
  bool incremental = false;
  std::string base;  ///< of an incremental one: the backup that it builds upon
  Format format = Format::plain;
  std::string server;
  std::string archive;
  std::optional<wal::Lsn> begin;
  std::optional<wal::Lsn> end;
  std::optional<wal::TimelineId> timeline;
  std::uint64_t bytes = 0;
  std::chrono::milliseconds elapsed{};
  std::vector<std::string> removed;  ///< names of backups; of a dry run what would be
  std::size_t wal_files = 0;         ///< likewise
  std::uint64_t wal_bytes = 0;
  std::vector<std::string> notes;
  std::vector<std::string> problems;
  std::vector<std::string> hints;
  /// The backups after the rules; unset: they were not looked at any more.
  std::optional<std::vector<Standing>> standing;

  /// "made", "made, others in doubt", "made, rules not applied", "unusable", "not made", "refused",
  /// "usage", "dry run"
  [[nodiscard]] std::string_view outcome() const;
  /// Tells a problem; the first one decides the status.
  void fail(int how, std::string problem, std::string hint = {});
  void fail(int how, const Error& error);
};

[[nodiscard]] std::string report_text(const Report& report);
[[nodiscard]] std::string report_json(const Report& report);

/// The list of the backups; `now` for their age.
[[nodiscard]] std::string list_text(const std::vector<Standing>& standing,
                                    std::chrono::system_clock::time_point now);
[[nodiscard]] std::string list_json(const std::vector<Standing>& standing,
                                    std::chrono::system_clock::time_point now);

}  // namespace weir::backup
