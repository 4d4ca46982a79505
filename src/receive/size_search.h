#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "io/directory.h"
#include "receive/status_board.h"
#include "wal/segment.h"

namespace weir::receive {

/// What SizeWatch does in its thread: checks the sizes of all complete segments, records those of a
/// wrong size as holes, and checks these again until they are repaired.
class SizeSearch {
 public:
  struct Archive {
    wal::SegmentSize segment_size;
    std::uint64_t system_identifier = 0;
    /// The names as just read; nullptr: they are read here.
    std::shared_ptr<const archive::Listing> listing = nullptr;
    /// Ids of losses that the session read from the archive: if the files of one are repaired
    /// before they are checked, it is closed as well.
    std::set<std::string> recorded{};
  };
  /// None may block for long.
  struct Hooks {
    Log& log;
    StatusBoard& board;
    std::function<void(const Error&)> durability_lost;  ///< does not return
    std::function<void(const archive::Loss&)> found;    ///< a hole, when first recorded
    std::function<void()> shown;                        ///< the board shows losses found here
  };
  class Host {
   public:
    virtual ~Host() = default;
    /// nullptr: another directory has the name of the archive now.
    virtual std::unique_ptr<io::Directory> open() = 0;
    /// Returns false if it is over.
    [[nodiscard]] virtual bool rest(std::chrono::nanoseconds time) = 0;
    /// Does nothing when it is over.
    virtual void with_hooks(const std::function<void(Hooks&)>& use) = 0;
    virtual std::chrono::steady_clock::time_point now() = 0;
    virtual std::chrono::system_clock::time_point wall_clock() = 0;
  };

  SizeSearch(Archive archive, std::chrono::milliseconds check_again_after, Host& host)
      : archive_(std::move(archive)),
        size_(archive_.segment_size),
        check_again_after_(check_again_after),
        host_(host) {}

  /// After a failure it checks again, until it is over or all is well.
  void run();

 private:
  void check_until_all_is_well();
  void tell_failure(const std::exception& error);
  [[nodiscard]] bool check_all();
  bool check_again();
  bool check(const archive::SegmentFileName& name);
  void show();
  bool record(archive::Loss& loss);
  void report_new(const std::vector<archive::Loss>& holes, const archive::Timelines& timelines);

  Archive archive_;
  const wal::SegmentSize size_;
  const std::chrono::milliseconds check_again_after_;
  Host& host_;
  std::unique_ptr<io::Directory> directory_;
  bool checked_all_ = false;
  std::map<wal::SegmentName, archive::WrongSize> wrong_;
  std::map<wal::SegmentName, archive::SegmentFileName> unsettled_;  ///< possibly still being
                                                                    ///< written
  std::set<wal::SegmentName> told_;
  std::set<std::string> told_failures_;
  std::set<std::string> shown_;       ///< ids of open holes found by this watch
  std::set<std::string> closed_;      ///< …and closed ones: the session may not know that yet
  std::set<std::string> unrecorded_;  ///< of these, not recorded yet
};

}  // namespace weir::receive
