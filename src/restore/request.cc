#include "restore/request.h"

#include "archive/forms.h"
#include "base/error.h"

namespace weir::restore {

Request parse_request(std::string_view name) {
  if (const auto segment = wal::SegmentName::parse(name)) return *segment;
  if (const auto timeline = wal::parse_history_name(name)) return HistoryRequest{*timeline};
  if (archive::is_backup_history_name(name)) return BackupHistoryRequest{std::string(name)};
  throw Error(ErrorKind::usage,
              fmt::format("\"{}\" is not a file name that recovery requests", name))
      .hint(
          "Expected the value of %f: the 24 hexadecimal digits of a WAL segment, or "
          "<timeline>.history; without a directory or a suffix. The right setting is "
          "restore_command = 'pgweir restore -D DIRECTORY %f %p'.");
}

}  // namespace weir::restore
