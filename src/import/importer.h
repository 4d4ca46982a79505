#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/minimal_wal.h"
#include "archive/timelines.h"
#include "archive/unvouched.h"
#include "import/histories.h"
#include "import/import.h"
#include "import/judge.h"
#include "import/plan.h"

namespace weir::importing {

/// A piece that will be added.
struct Accepted {
  Piece piece;
  wal::TimelineId timeline = 0;  ///< whose history it is judged by
  bool from_right = false;
  bool left_open = false;  ///< a hole remains there, so that side could not be verified
  bool right_open = false;
};

/// One import: import.cc reads, plans and judges; bring_in.cc publishes the accepted files, and
/// reports the remaining holes. One thread.
class Import {
 public:
  Import(io::Directory& archive, const std::vector<Source>& sources, const Options& options)
      : archive_(archive), sources_(sources), options_(options) {}

  Result run();

 private:
  void look();
  void take_histories();
  void compare_present();
  [[nodiscard]] bool is_sound(wal::SegmentName name);
  void make_plan();
  void tell_places();
  void judge();
  void accept(const Run& run, std::vector<Piece> pieces);
  [[nodiscard]] bool is_expected_within(const Run& run, std::uint64_t first,
                                        std::uint64_t behind) const;
  [[nodiscard]] bool agrees_with_unfinished(const Piece& piece, const Run& run);
  [[nodiscard]] bool agrees_beside(const Piece& piece, const Run& run);
  void publish();
  void publish_histories();
  void publish(const Accepted& accepted);
  void record_minimal_wal(const Accepted& accepted);
  void end_minimal_wal_at_holes();
  void tell_minimal_wal(const archive::Loss& loss);
  [[nodiscard]] bool publish(const Slot& slot, const std::function<bool()>& still_wanted);
  [[nodiscard]] archive::Unvouched unvouched_of(const Accepted& accepted) const;
  void look_at_borders();
  [[nodiscard]] bool settled(archive::Unvouched& unvouched);
  void tell_what_remains();
  void count_named();
  void tell_what_is_open();
  [[nodiscard]] bool is_there(wal::SegmentName name);
  [[nodiscard]] bool touches(const archive::Loss::Range& range) const;

  void leave_out(const std::vector<Offer>& offers, Reason reason, const std::string& what,
                 const std::string& hint = {});
  void leave_out(const Piece& piece, Reason reason, const std::string& what,
                 const std::string& hint = {});
  [[nodiscard]] std::shared_ptr<io::Shelf> own_shelf() {
    return {std::shared_ptr<void>(), &archive_};
  }
  [[nodiscard]] std::vector<archive::SegmentFileName> finished_files(wal::SegmentName name) const;
  [[nodiscard]] Judge new_judge();
  /// Judges one that is part of our files: [first, behind) of that history.
  [[nodiscard]] std::optional<Piece> judge_ours(const Run& run);
  [[nodiscard]] bool finished_now(const wal::TimelineHistory& history, std::uint64_t segno);

  io::Directory& archive_;
  const std::vector<Source>& sources_;
  const Options& options_;

  archive::Listing listing_;
  archive::Timelines timelines_;
  Cluster cluster_;
  wal::SegmentSize size_;
  Offers offers_;
  Lineage lineage_{{}};
  HistoryPlan histories_;
  Facts facts_;
  Plan plan_;
  std::vector<Accepted> accepted_;
  std::vector<archive::Loss> holes_before_;
  archive::MinimalWal changes_;  ///< of wal_level, in what was judged
  Result result_;
};

}  // namespace weir::importing
