#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "relay/archive_end.h"
#include "relay/hub.h"

namespace weir::relay {

/// Names a process that writes into the archive, of which nobody can say what is durable; nullopt:
/// none is seen. Throws nothing.
using FindWriter = std::function<std::optional<std::string>()>;

/// Whether names in the archive have changed since it was asked last. Throws nothing.
using NamesChanged = std::function<bool()>;

/// Looks up to where an archive that is being filled can be served, and tells the hub. A receiver
/// that streams into it is asked how far it has made the WAL durable. Where none answers, new
/// finished segments are looked for by name; what is found then is read and synced like at the
/// start (find_served()), since nobody says what is durable. Beside another writer finished
/// segments count only; when that has gone, what it has left counts, too.
///
/// Where the unfinished WAL breaks off (Break), a receiver that starts writes it again. So that is
/// told once it is still there after some seconds, and no receiver streams: here, and to clients
/// that have everything in front of it. It is looked at now and then, until it is mended.
///
/// One thread. The archive, the hub, the log and the threads outlive it.
class ArchiveLook {
 public:
  /// `durability_lost`: as in receive::Environment, where a receiver in this process would sync
  /// what failed here once more (P6); else such a failure is told, and only a receiver's word
  /// counts.
  /// `find_writer` may be empty: then there is no other. So may `names_changed`: then they are read
  /// to find out; else only now and then, should it have missed something.
  ArchiveLook(io::Directory& archive, wal::SegmentSize size, archive::AskDurableEnd ask,
              FindWriter find_writer, NamesChanged names_changed, Hub& hub, Log& log,
              Threads& threads = machine_threads(),
              std::function<void(const Error&)> durability_lost = {});

  /// What fails is told, once, and tried again with the next call.
  void look();

 private:
  void look_now();
  void look_at_names();
  void look_at_end(Counts counts);
  void judge(const std::optional<FoundEnd>& found);
  std::vector<std::string> read_names();
  void have_seen_names();
  void tell(const wal::TimelineHistory& history, wal::Lsn end);

  io::Directory& archive_;
  const wal::SegmentSize size_;
  const archive::AskDurableEnd ask_;
  const FindWriter find_writer_;
  const NamesChanged names_changed_;
  Hub& hub_;
  Log& log_;
  Threads& threads_;  ///< for their clock
  const std::function<void(const Error&)> durability_lost_;
  std::optional<std::string> writer_;  ///< when it was looked for last
  std::vector<std::string> finished_;  ///< names when they were looked at last
  Threads::Time next_look_{};
  Threads::Time::duration names_took_{};  ///< to read, the last time
  bool names_changed_since_ = true;       ///< they were read
  Threads::Time next_names_{};            ///< are read then in any case
  Threads::Time next_writer_{};  ///< is looked for then, if the names are the same until then
  bool looked_at_end_ = false;
  std::string told_damage_;               ///< of a finished segment
  std::optional<archive::Break> broken_;  ///< as it was seen last
  Threads::Time broken_since_{};
  Threads::Time next_end_{};  ///< is looked at then, if it is broken
  bool told_break_ = false;
  std::string last_error_;
  bool told_foreign_ = false;
  bool sync_failed_ = false;  ///< then only a receiver's word counts
};

}  // namespace weir::relay
