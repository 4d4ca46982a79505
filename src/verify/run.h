#pragma once

#include <cstdint>
#include <memory>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "verify/chunk_check.h"
#include "verify/plan.h"
#include "verify/verify.h"

namespace weir::verify {

/// One run: the contents of the archive, whether they are valid, and the consequences. Its
/// functions are in verify.cc and, for the verdict, in verdict.cc. run() is called by one thread.
class Run {
 public:
  Run(io::Shelf& directory, const Options& options) : directory_(directory), options_(options) {}

  Report run();

  /// True if a gap was filled during the run: the segments there have not been read, nor the
  /// records over their boundaries.
  [[nodiscard]] bool is_outdated() const { return is_outdated_; }

 private:
  void look();
  void find_cluster();
  [[nodiscard]] Scope scope() const;
  void check_histories();
  void check_second_forms();
  void check_names();
  void check_segments();
  void work(ChunkCheck& check);
  void report_histories();
  void note_missing_end(wal::TimelineId timeline, wal::Lsn end);
  void find_unread_end();
  void judge_gaps();
  [[nodiscard]] bool has_more_in(const Finding& gap, const archive::Listing& now) const;
  void judge_vanished();
  void judge_losses();
  void find_minimal_wal();
  void judge_backup();
  [[nodiscard]] std::optional<wal::Lsn> end_of_backup(wal::TimelineId timeline,
                                                      wal::Lsn limit) const;
  void judge_end();
  void judge_target();
  void accept();
  [[nodiscard]] std::uint64_t segno_of(const Position& position, bool end) const;

  io::Shelf& directory_;
  const Options& options_;
  /// The segment with which a history ends, if its WAL ends within it.
  struct Unfinished {
    std::string file{};  ///< empty: there is none
    wal::Lsn least{};    ///< its WAL ends there or later; 0/0 if it continues the one before
  };

  Report report_;
  bool is_outdated_ = false;
  std::vector<Unfinished> unfinished_;      ///< for each of report_.histories
  std::vector<archive::Loss> minimal_wal_;  ///< recorded, or read; ordered by start
  archive::Listing listing_;
  archive::Timelines timelines_;
  Cluster cluster_;
  Plan plan_;
  std::unique_ptr<Results> results_;
};

}  // namespace weir::verify
