#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "net/wake.h"
#include "relay/hub.h"

namespace weir::relay {

/// Names a process that writes into the archive, of which nobody can say what is durable; nullopt:
/// none is seen. Throws nothing.
using FindWriter = std::function<std::optional<std::string>()>;

/// Follows an archive that is being filled, and tells the hub up to where it can be served. A
/// receiver that streams into it is asked how far it has made the WAL durable, twice a second and
/// whenever there is word of it (`news`, raised by any thread). Where none answers, new finished
/// segments are looked for by name; what is found then is read and synced like at the start
/// (find_served()), since nobody says what is durable. Beside another writer finished segments
/// count only; when that has gone, what it has left counts, too. A thread of its own. The archive,
/// the hub and the log outlive it.
class ArchiveWatch {
 public:
  /// `find_writer` may be empty: then there is no other.
  ArchiveWatch(io::Directory& archive, wal::SegmentSize size, archive::AskDurableEnd ask,
               FindWriter find_writer, net::Wake& news, Hub& hub, Log& log);
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
  const FindWriter find_writer_;
  net::Wake& news_;
  Hub& hub_;
  Log& log_;
  std::optional<std::string> writer_;  ///< when it was looked for last
  std::vector<std::string> finished_;  ///< names when they were looked at last
  std::chrono::steady_clock::time_point next_look_{};
  std::string last_error_;
  bool told_foreign_ = false;
  bool sync_failed_ = false;  ///< then only a receiver's word counts
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
