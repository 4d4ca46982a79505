#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "archive/listing.h"
#include "io/directory.h"
#include "restore/copy.h"
#include "restore/options.h"
#include "restore/result.h"
#include "restore/target.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// A complete segment that was read from the archive and found valid, except for the records that
/// cross its boundaries.
struct Fetched {
  archive::SegmentFileName source;
  std::size_t archive = 0;    ///< that it is of, by its place among several
  io::FileIdentity identity;  ///< of that file: the same before and after it was read
  wal::SegmentSize size;
  wal::Lsn first_record;   ///< that starts in it, 0/0 if there is none
  wal::Lsn newest_record;  ///< the last one that starts in it, 0/0 if there is none
  bool ends_inside_record = false;
  /// Offset: later bytes have no meaning. 0: not checked.
  std::uint64_t records_end = 0;
  wal::Lsn previous_record;  ///< the prev-link of the first one
  /// The file of the segment before with which the record over the boundary was found to fit.
  std::optional<archive::SegmentFileName> before;
  std::size_t before_archive = 0;
  io::FileIdentity before_identity;
  /// Archives that did not respond, one bit for each; reported when the segment is delivered.
  std::uint64_t silent = 0;

  [[nodiscard]] Copy copy() const { return {archive, source}; }
};

/// Reads the segment's first copy into `output`, verifying it; with several archives, every other
/// copy as well. Returns nullopt if there is none, or if `output` needs no more. Throws Error, even
/// if restore_file() would only have warned about a copy, or used another one: then restore_file()
/// must report it.
[[nodiscard]] std::optional<Fetched> fetch_segment(Shelves archives, wal::SegmentName segment,
                                                   Output& output, const Options& options);

/// Looks whether the record over the boundary fits what was fetched of the segment before; notes it
/// in `fetched` if so. False if it does not fit.
[[nodiscard]] bool compare_with_before(Shelves archives, Fetched& fetched, io::Bytes& content,
                                       const Fetched& before, io::Bytes& content_before);

/// Renames a file that was fetched earlier, perhaps by another process, into the target directory
/// if the archive is unchanged: the source is the same file in the same state, and the record that
/// spans the boundary matches the server's WAL. Returns false if not; then the name does not exist,
/// and restore_file() must restore it. Throws Error likewise.
[[nodiscard]] bool accept_fetched(Shelves archives, const Fetched& fetched, io::File& content,
                                  io::Directory& target_directory, const std::string& target_name,
                                  const Options& options);

}  // namespace weir::restore
