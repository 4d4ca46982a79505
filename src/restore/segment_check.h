#pragma once

#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "archive/wal_reader.h"
#include "base/log.h"
#include "io/shelf.h"
#include "restore/archives.h"
#include "restore/copy.h"
#include "restore/fetched.h"
#include "restore/options.h"
#include "restore/seam.h"
#include "restore/target.h"
#include "restore/union_reader.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// Reads one complete copy of a segment and verifies it, or throws: in itself, and with the record
/// that continues from the segment before. (For its other copies: agreement.h.) One request, one
/// thread. Does not own its arguments. `target_name` in `target_directory` is the file that
/// recovery requests: this file and its neighbors are read. Throws Error{damage, conflict, io}.
class SegmentCheck {
 public:
  enum class Haste {
    none,         ///< no process waits: with one thread
    all,          ///< with a second thread if the host has another CPU
    also_before,  ///< and the archive's segment before will be needed: it is read at the same time
  };

  SegmentCheck(Archives& archives, io::Shelf& target_directory, std::string target_name,
               const Options& options, Log& log)
      : archives_(archives),
        target_directory_(target_directory),
        target_name_(std::move(target_name)),
        options_(options),
        log_(log) {}

  /// Everything that one segment's file shows. The WAL goes to `output` while it is verified; it
  /// must not be used if this throws. Returns nullopt if `output` needs no more.
  [[nodiscard]] std::optional<Fetched> read(const Copy& copy, Output& output, Haste haste);

  /// Checks the record that spans the boundary from the segment before. Only WAL that the server
  /// has can be part of it: if the segment before is not in its pg_wal, its recovery starts after
  /// the record that crosses the boundary. If pgweir is run by hand, the archives' own copies are
  /// used: a single match is sufficient. `content` reads what read() passed.
  void check_seam_of(const Fetched& segment, archive::WalSource& content);

  /// Checks a record that fills much of the segment and continues after it, as far as the archive
  /// has it.
  void check_long_record_of(const Fetched& segment, archive::WalSource& content);

 private:
  [[nodiscard]] std::optional<wal::TimelineHistory> history_of(wal::TimelineId timeline,
                                                               std::size_t archive);
  bool restored_last_time(wal::Lsn start);
  std::optional<archive::WalSource::Read> read_before(wal::SegmentName segment,
                                                      std::uint64_t offset,
                                                      std::span<std::byte> into);
  bool before_is_packed(const Copy& copy, wal::SegmentSize size);
  void begin_reading_before(const Copy& copy, wal::SegmentSize size, wal::Lsn previous_record,
                            const wal::TimelineHistory* history);
  /// How the results of a check that reads other segments of the archives are combined: those of
  /// the archive `first`, of each other one, and of all together.
  enum class Agreed {
    by_one,  ///< one match is sufficient
    by_all,  ///< and one that does not is too much
  };
  template <typename Check>
  SeamResult ask_archives(std::size_t first, const UnionReader::Options& along, Agreed agreed,
                          Check check);

  Archives& archives_;
  io::Shelf& target_directory_;
  std::string target_name_;
  const Options& options_;
  Log& log_;

  /// The end of the segment before, from the page on in which the record over the boundary starts.
  struct Before {
    wal::SegmentName segment;
    std::size_t archive = 0;
    std::uint64_t offset = 0;
    std::shared_future<std::vector<std::byte>> bytes;
  };
  std::optional<Before> before_;
};

}  // namespace weir::restore
