#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "net/wake.h"
#include "relay/hub.h"

namespace weir::relay {

/// Follows an archive that is being filled, and tells the hub up to where it can be served. A
/// receiver that streams into it is asked how far it has made the WAL durable, twice a second and
/// whenever there is word of it (`news`, raised by any thread). Where none answers, new finished
/// segments are looked for by name; what is found then is read and synced like at the start
/// (find_served()), since nobody says what is durable. A thread of its own. The archive, the hub
/// and the log outlive it.
class ArchiveWatch {
 public:
  ArchiveWatch(io::Directory& archive, wal::SegmentSize size, archive::AskDurableEnd ask,
               net::Wake& news, Hub& hub, Log& log);
  ~ArchiveWatch();
  ArchiveWatch(const ArchiveWatch&) = delete;
  ArchiveWatch& operator=(const ArchiveWatch&) = delete;

 private:
  void work();
  void look();
  void look_at_names();
  void tell(const wal::TimelineHistory& history, wal::Lsn end);

  io::Directory& archive_;
  const wal::SegmentSize size_;
  const archive::AskDurableEnd ask_;
  net::Wake& news_;
  Hub& hub_;
  Log& log_;
  std::vector<std::string> finished_;  ///< names when they were looked at last
  std::chrono::steady_clock::time_point next_look_{};
  std::string last_error_;
  bool told_foreign_ = false;
  bool sync_failed_ = false;  ///< then only a receiver's word counts
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
