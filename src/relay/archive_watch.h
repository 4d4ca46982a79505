#pragma once

#include <functional>
#include <memory>

#include "base/threads.h"
#include "net/wake.h"
#include "relay/archive_look.h"

namespace weir::relay {

/// Determines twice a second, and after each notification (`news`, raised by any thread), up to
/// where the archive can be served. Has a thread of its own.
class ArchiveWatch {
 public:
  /// As ArchiveLook.
  ArchiveWatch(io::Directory& archive, const Cluster& cluster, archive::AskDurableEnd ask,
               FindWriter find_writer, NamesChanged names_changed, net::Wake& news, Hub& hub,
               Log& log, std::function<void(const Error&)> durability_lost = {});
  ~ArchiveWatch();
  ArchiveWatch(const ArchiveWatch&) = delete;
  ArchiveWatch& operator=(const ArchiveWatch&) = delete;

 private:
  void work();

  ArchiveLook look_;
  net::Wake& news_;
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
