#include "restore/request.h"

#include <optional>

#include "base/error.h"

namespace weir::restore {

namespace {

/// "000000010000000000000002.00000028.backup" (BackupHistoryFileName in access/xlog_internal.h)
bool is_backup_history(std::string_view name) {
  constexpr std::size_t kSegment = 24;
  constexpr std::size_t kOffset = 8;
  constexpr std::string_view kBackup = ".backup";
  return name.size() == kSegment + 1 + kOffset + kBackup.size() && name[kSegment] == '.' &&
         name.ends_with(kBackup) && wal::SegmentName::parse(name.substr(0, kSegment)) &&
         name.substr(kSegment + 1, kOffset).find_first_not_of("0123456789ABCDEF") ==
             std::string_view::npos;
}

}  // namespace

Request parse_request(std::string_view name) {
  if (const auto segment = wal::SegmentName::parse(name)) return *segment;
  if (const auto timeline = wal::parse_history_name(name)) return HistoryRequest{*timeline};
  if (is_backup_history(name)) return BackupHistoryRequest{std::string(name)};
  throw Error(ErrorKind::usage, fmt::format("\"{}\" is no name that recovery asks for", name))
      .hint(
          "Expected is what PostgreSQL puts for %f: the 24 hex digits of a WAL segment, or "
          "<timeline>.history; without a directory or a suffix. The right setting is "
          "restore_command = 'pgweir restore -D DIRECTORY %f %p'.");
}

}  // namespace weir::restore
