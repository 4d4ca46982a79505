#include "backup/place.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>

#include "archive/lock_file.h"
#include "base/error.h"
#include "base/text.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "prune/backup_name.h"

namespace weir::backup {

std::string free_name(io::Directory& directory, std::chrono::system_clock::time_point now) {
  for (;; now += std::chrono::seconds(1)) {
    auto name = prune::backup_name(now);
    if (!directory.find(name)) return name;
  }
}

void publish(io::Directory& directory, const std::string& making, const std::string& name) {
  try {
    directory.rename_no_replace(making, name);
  } catch (const Error& error) {
    // A network's file system may know no such rename. The lock keeps others off, and a rename
    // replaces no directory but an empty one.
    if (error.kind() != ErrorKind::io || directory.find(name)) throw;
    directory.rename_replace(making, name);
  }
  directory.sync();
}

void remove(io::Directory& directory, const std::vector<std::string>& names,
            const std::function<void(const std::string& hidden)>& remove_tree) {
  std::vector<std::string> hidden;
  for (const auto& name : names) {
    hidden.push_back(std::string(kRemoving) + name);
    // An interrupted removal has left it.
    if (directory.find(hidden.back())) remove_tree(hidden.back());
    directory.rename_replace(name, hidden.back());
    // No power loss may bring an incremental one back without what it builds upon.
    directory.sync();
  }
  for (const auto& name : hidden) remove_tree(name);
}

std::vector<std::string> leftovers(io::Directory& directory) {
  std::vector<std::string> found;
  for (const auto& entry : directory.list()) {
    const std::string_view name = entry.name;
    const auto is_one = [&](std::string_view prefix) {
      return name.starts_with(prefix) && prune::time_of_backup_name(name.substr(prefix.size()));
    };
    // A link to a directory was made by another program.
    if (entry.type == io::DirectoryEntry::Type::directory &&
        (is_one(kMaking) || is_one(kRemoving)) && !io::read_link(directory.path_of(entry.name)))
      found.push_back(entry.name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

void require_no_other_tablespace(const std::string& data, const std::vector<std::string>& oids) {
  const auto directory = data + "/pg_tblspc";
  if (io::type_of(directory) != io::PathType::directory) return;  // of tar files
  for (const auto& oid : io::all_names(directory)) {
    if (std::find(oids.begin(), oids.end(), oid) != oids.end()) continue;
    const auto location = io::read_link(directory + "/" + oid);
    if (!location) continue;  // in place
    throw Error(ErrorKind::retry, "a tablespace was created while the backup began")
        .with("oid", oid)
        .with("its files were written to", *location)
        .hint("This backup does not count. Remove these files, and run the command again.");
  }
}

PlaceLock::PlaceLock(io::Directory& directory)
    : directory_(directory), file_(archive::try_lock_file(directory, std::string(kLock))) {
  if (!file_)
    throw Error(ErrorKind::retry, "another pgweir backup is running in this directory")
        .with("path", directory.path())
        .hint("Wait until it has ended. If it was killed, its pg_basebackup ends with it.");
}

void PlaceLock::require_cluster(std::uint64_t system_identifier) {
  constexpr std::size_t kMost = 32;
  std::string text(kMost, '\0');
  text.resize(file_->read_at(0, std::as_writable_bytes(std::span(text))));
  const auto own = std::to_string(system_identifier) + "\n";
  if (text == own) return;
  if (const auto other = parse_number<std::uint64_t>(trimmed(text)))
    throw Error(ErrorKind::conflict, "the directory contains backups of another cluster")
        .with("path", directory_.path())
        .with("its system identifier", *other)
        .with("the server's", system_identifier)
        .hint(fmt::format("Use one directory for each cluster. If this is meant to become the "
                          "directory of this cluster, move the other backups away and remove {}.",
                          directory_.path_of(std::string(kLock))));
  // It is new, or the power failed while this was written.
  file_->write_at(0, std::as_bytes(std::span(own)));
  file_->sync();
  directory_.sync();
}

int PlaceLock::descriptor() const { return file_->descriptor().value_or(-1); }

}  // namespace weir::backup
