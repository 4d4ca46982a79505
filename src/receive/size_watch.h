#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "archive/listing.h"
#include "archive/losses.h"
#include "base/log.h"
#include "io/directory.h"
#include "receive/status_board.h"
#include "wal/segment.h"

namespace weir::receive {

/// Looks at the sizes of all finished segments, once in a run of a receiver and in the background:
/// of 100,000 files that takes longer than a start may. Those that are no segments by their size
/// are told, recorded as holes (archive/losses.h), shown on the board, and looked at again until
/// they are mended.
///
/// In nobody's way: a thread of the lowest priority for processor and disk, which rests as long as
/// it works. It has a handle of the directory and all else of its own, so that who stops does not
/// wait for it: if it hangs in a call of a disk that hangs, it is left behind, and touches nothing
/// of the session's any more.
class SizeWatch {
 public:
  struct Archive {
    std::string path;
    io::FileIdentity identity;  ///< of the directory
    unsigned file_mode = 0600;  ///< of the records
    wal::SegmentSize segment_size;
    std::uint64_t system_identifier = 0;
    /// What is there, as it was just read; nullptr: it is read here.
    std::shared_ptr<const archive::Listing> listing = nullptr;
    /// Ids of losses that the session read from the archive: one whose files are mended before the
    /// watch comes to them is closed all the same.
    std::set<std::string> recorded{};
  };
  /// Called on the thread, and never when the destructor has returned. None may block for long.
  struct Hooks {
    Log& log;
    StatusBoard& board;
    std::function<void(const Error&)> durability_lost;  ///< does not return
    std::function<void(const archive::Loss&)> found;    ///< a hole, when it is recorded first
    std::function<void()> shown;                        ///< the board has losses of the watch
  };

  SizeWatch(Archive archive, Hooks hooks,
            std::chrono::milliseconds check_again_after = std::chrono::seconds(2));
  ~SizeWatch();
  SizeWatch(const SizeWatch&) = delete;
  SizeWatch& operator=(const SizeWatch&) = delete;

 private:
  struct Shared;
  class Work;

  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace weir::receive
