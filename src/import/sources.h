#pragma once

#include <map>
#include <string>
#include <vector>

#include "import/offers.h"
#include "io/directory.h"

namespace weir::importing {

/// Finds the files that a user's argument refers to: a file; a directory with files; or another
/// program's layout, whose directories are read as one:
///
/// - Barman: wals/0123456789ABCDEF/NAME, compressed without a suffix (so the first bytes decide);
///   the server's directory (then incoming and streaming are read, too), wals, or one of the
///   subdirectories may be named;
/// - pgBackRest: archive/STANZA/15-1/0123456789ABCDEF/NAME-SHA1[.gz|.lz4|.zst]; the stanza's
///   directory, 15-1, or one of the subdirectories;
/// - WAL-G: wal_005/NAME.lz4; the directory above it, too;
/// - a server's data directory or a base backup: pg_wal.
///
/// No other directory is read. Files that look like WAL and cannot be read are reported, with what
/// to do: formats that other programs decompress, broken links, directories named like a segment.
class Sources {
 public:
  /// `archive` is none of its own sources. It outlives this object.
  Sources(io::Directory& archive, std::vector<LeftOut>& left_out)
      : archive_(archive), left_out_(left_out) {}

  /// Adds the files that the argument refers to. Throws Error{usage} for the archive itself,
  /// Error{io}.
  void add(const std::string& path);

  std::vector<Source> take() { return std::move(sources_); }

 private:
  class Layout;

  void add_directory(const std::string& path);
  void add_file(const std::string& path);
  [[nodiscard]] std::shared_ptr<io::Shelf> open(const std::string& path);
  [[nodiscard]] bool is_archive(io::Shelf& shelf);
  void no_source(const std::string& path, std::string what, std::string hint = {});

  io::Directory& archive_;
  std::vector<LeftOut>& left_out_;
  std::vector<Source> sources_;
  std::vector<LeftOut> unasked_;  ///< of the other files in the directory of a named file
  /// Directories of named files: read once, by path.
  std::map<std::string, std::shared_ptr<Layout>> layouts_;
};

}  // namespace weir::importing
