#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <set>
#include <string>

#include "archive/listing.h"
#include "io/directory.h"
#include "receive/size_search.h"
#include "wal/segment.h"

namespace weir::receive {

/// Checks the sizes of all complete segments, once in a run of a receiver and in the background:
/// for 100,000 files that takes too long for startup. Files of a wrong size are logged, recorded as
/// holes (archive/losses.h), shown on the board, and checked again until they are repaired. If the
/// archive cannot be read, that is logged once, and tried again every minute.
///
/// Never delays archiving: a thread of the lowest CPU and I/O priority, which rests as long as it
/// works. It has its own handle of the directory and its own copies of everything else, so that
/// stopping does not wait for it: if it hangs in a system call on a hanging disk, it is abandoned,
/// and no longer accesses the session.
class SizeWatch {
 public:
  struct Archive {
    std::string path;
    io::FileIdentity identity;  ///< of the directory
    unsigned file_mode = 0600;  ///< of the records
    wal::SegmentSize segment_size;
    std::uint64_t system_identifier = 0;
    std::shared_ptr<const archive::Listing> listing = nullptr;  ///< these are SizeSearch's
    std::set<std::string> recorded{};
  };
  /// Called on the thread, and never after the destructor has returned.
  using Hooks = SizeSearch::Hooks;

  /// Throws std::system_error.
  SizeWatch(Archive archive, Hooks hooks,
            std::chrono::milliseconds check_again_after = std::chrono::seconds(2));
  ~SizeWatch();
  SizeWatch(const SizeWatch&) = delete;
  SizeWatch& operator=(const SizeWatch&) = delete;

 private:
  struct Shared;

  std::shared_ptr<Shared> shared_;
  std::future<void> running_;
};

}  // namespace weir::receive
