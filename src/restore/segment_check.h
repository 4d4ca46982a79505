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
#include "restore/archive_facts.h"
#include "restore/fetched.h"
#include "restore/restore.h"
#include "restore/seam.h"
#include "restore/target.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// Reads one finished segment out of the archive and finds it sound, or throws: in itself, in what
/// goes on from the segment before, and beside other forms of the same segment. One request, one
/// thread. Does not own what it is given. `target_name` in `target_directory` is what recovery asks
/// for: what stands there and beside it is looked at. Throws Error{damage, conflict, io}.
class SegmentCheck {
 public:
  enum class Haste {
    none,         ///< nobody waits: with one thread
    all,          ///< with a second thread if the machine has another processor
    also_before,  ///< and the archive's segment before will be asked: it is read at the same time
  };

  SegmentCheck(ArchiveFacts& facts, io::Shelf& target_directory, std::string target_name,
               const Options& options, Log& log)
      : facts_(facts),
        target_directory_(target_directory),
        target_name_(std::move(target_name)),
        options_(options),
        log_(log) {}

  /// All that one segment's file can tell of itself. The WAL goes to `output` while it is checked;
  /// what is there when this throws is not to be used. nullopt if `output` wants no more.
  [[nodiscard]] std::optional<Fetched> read(const archive::SegmentFileName& name, Output& output,
                                            Haste haste);

  /// The record over the border from the segment before. Only what the server has been given can
  /// reach it: if the segment before is not in its pg_wal, its recovery begins behind the record
  /// that crosses the border. Called by hand, the archive's own copy is what can be asked.
  /// `content` reads what read() gave.
  void check_seam_of(const Fetched& segment, archive::WalSource& content);

  /// A record that fills much of the segment and goes on behind it, as far as the archive has it.
  void check_long_record_of(const Fetched& segment, archive::WalSource& content);

  /// Where a segment has two forms that are both sound, and different: one of them is of another
  /// history, and nothing tells which.
  void require_agreement(const Fetched& checked);

 private:
  bool restored_last_time(wal::Lsn start);
  std::optional<archive::WalSource::Read> read_before(wal::SegmentName segment,
                                                      std::uint64_t offset,
                                                      std::span<std::byte> into);
  bool before_is_packed(wal::SegmentName segment, wal::SegmentSize size);
  void begin_reading_before(wal::SegmentName segment, wal::SegmentSize size,
                            wal::Lsn previous_record, const wal::TimelineHistory* history);

  ArchiveFacts& facts_;
  io::Shelf& target_directory_;
  std::string target_name_;
  const Options& options_;
  Log& log_;

  /// The end of the segment before, from the page on in which the record over the border begins.
  struct Before {
    wal::SegmentName segment;
    std::uint64_t offset = 0;
    std::shared_future<std::vector<std::byte>> bytes;
  };
  std::optional<Before> before_;
};

}  // namespace weir::restore
