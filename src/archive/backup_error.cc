#include "archive/backup_error.h"

#include <fmt/format.h>

namespace weir::archive {

Error no_backup_file(const std::string& file, std::string what) {
  return Error(ErrorKind::damage, std::move(what))
      .with("file", file)
      .hint(
          "Give a backup_label, a backup history file (<segment>.<offset>.backup), a "
          "backup_manifest, the base.tar of a tar backup, or the directory of a backup.");
}

Error backup_contradiction(const std::string& file, std::string_view what, const std::string& left,
                           const std::string& right) {
  return Error(ErrorKind::conflict, fmt::format("the information in a backup contradicts itself: "
                                                "{}",
                                                what))
      .with("file", file)
      .with("says", left)
      .with("and", right)
      .hint(
          "Nothing was removed. Use the unmodified file from the backup, or specify the start of "
          "the backup in another way.");
}

}  // namespace weir::archive
