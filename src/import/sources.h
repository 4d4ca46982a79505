#pragma once

#include <map>
#include <string>
#include <vector>

#include "import/offers.h"
#include "io/directory.h"

namespace weir::importing {

/// Finds what a user's words lead to: a file; a directory with files; or what another program has
/// laid out, of which all folders are read as one directory:
///
/// - Barman: wals/0123456789ABCDEF/NAME, compressed without a suffix (so the first bytes tell); the
///   server's directory, wals, or one of the folders may be named;
/// - pgBackRest: archive/STANZA/15-1/0123456789ABCDEF/NAME-SHA1[.gz|.lz4|.zst]; the stanza's
///   directory, 15-1, or one of the folders;
/// - WAL-G: wal_005/NAME.lz4; the directory above it, too.
///
/// No other folder is looked into. What looks like WAL and cannot be read is told, with what to do:
/// forms that others unpack, links that lead nowhere, folders under a segment's name.
class Sources {
 public:
  /// `archive` is none of its own sources. It outlives this object.
  Sources(io::Directory& archive, std::vector<LeftOut>& left_out)
      : archive_(archive), left_out_(left_out) {}

  /// Adds what that word leads to. Throws Error{usage} for the archive itself, Error{io}.
  void add(const std::string& path);

  std::vector<Source> take() { return std::move(sources_); }

 private:
  class Layout;

  void add_directory(const std::string& path);
  void add_file(const std::string& path);
  [[nodiscard]] std::shared_ptr<io::Shelf> open(const std::string& path);
  void no_source(const std::string& path, std::string what, std::string hint = {});

  io::Directory& archive_;
  std::vector<LeftOut>& left_out_;
  std::vector<Source> sources_;
  std::vector<LeftOut> unasked_;  ///< of what lies beside a file that was named
  /// Of directories of which files were named: read once, by path.
  std::map<std::string, std::shared_ptr<Layout>> layouts_;
};

}  // namespace weir::importing
