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

/// A finished segment that was read out of the archive and found sound, all but the records
/// that cross its borders.
struct Fetched {
  archive::SegmentFileName source;
  std::size_t archive = 0;    ///< that it is of, by its place among several
  io::FileIdentity identity;  ///< of that file: the same before and after it was read
  wal::SegmentSize size;
  wal::Lsn first_record;   ///< that begins in it, 0/0 if none does
  wal::Lsn newest_record;  ///< the last one that begins in it, 0/0 if none does
  bool ends_inside_record = false;
  /// Offset: what lies behind is of no meaning. 0: nothing was looked into.
  std::uint64_t records_end = 0;
  wal::Lsn previous_record;  ///< what the first one says of the one before
  /// The file of the segment before with which the record over the border was found to fit.
  std::optional<archive::SegmentFileName> before;
  std::size_t before_archive = 0;
  io::FileIdentity before_identity;
  /// Archives that did not answer, one bit for each: to be told when the segment is handed over.
  std::uint64_t silent = 0;

  [[nodiscard]] Copy copy() const { return {archive, source}; }
};

/// Reads the segment's first copy into `output`, checking it; of several archives, every other copy
/// as well. nullopt if there is none, or if `output` wants no more. Throws Error, also where
/// restore_file() would only have warned of a copy, or taken another one: then that is who has to
/// tell.
[[nodiscard]] std::optional<Fetched> fetch_segment(Shelves archives, wal::SegmentName segment,
                                                   Output& output, const Options& options);

/// Looks whether the record over the border fits what was fetched of the segment before; notes it
/// in `fetched` if so. False if it does not fit.
[[nodiscard]] bool compare_with_before(Shelves archives, Fetched& fetched, io::Bytes& content,
                                       const Fetched& before, io::Bytes& content_before);

/// Gives a file that was fetched earlier, maybe by another process, its name in the target
/// directory, if the archive still says the same: the source is the same file in the same state,
/// and the record over the border fits what the server has. False if not, and then nothing stands
/// under the name: restore_file() has to do it. Throws Error likewise.
[[nodiscard]] bool accept_fetched(Shelves archives, const Fetched& fetched, io::File& content,
                                  io::Directory& target_directory, const std::string& target_name,
                                  const Options& options);

}  // namespace weir::restore
