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

/// Returns the name of a process that writes to the archive and does not report its flush position;
/// nullopt if none is found. Does not throw.
using FindWriter = std::function<std::optional<std::string>()>;

/// Returns whether names in the archive have changed since the last call. Does not throw.
using NamesChanged = std::function<bool()>;

/// Determines up to where an archive that is being filled can be served, and notifies the hub. A
/// receiver that streams into it is queried for its flush position. If none responds, new complete
/// segments are looked up by name, and then read and flushed as at the start (find_served()),
/// because it is unknown whether they are durable. While another process writes, only complete
/// segments count; after it has exited, the WAL it left counts, too, as does that of a receiver
/// that no longer streams.
///
/// A receiver that starts rewrites partial WAL that breaks off (Break). A break is therefore
/// reported only if it still exists after some seconds, and no receiver streams: in the log, and to
/// clients that have all WAL before it. It is rechecked now and then, until it is repaired.
///
/// After a failed fsync, and after the directory was emptied, moved, or filled with WAL of another
/// cluster, nothing newer is announced until the process is restarted: Hub::problem(). In the first
/// case, clients still get the WAL that was announced; in the others they get an error. A newer
/// timeline that does not continue the served WAL is handled as the first case.
///
/// One thread. The archive, the hub, the log and the threads must outlive it.
class ArchiveLook {
 public:
  /// `durability_lost`: as in receive::Environment, if a receiver in this process would repeat the
  /// failed fsync (P6), and ensures that the directory is the same; otherwise such a failure is
  /// logged, and only a receiver's flush position counts. `find_writer` may be empty: then there is
  /// no other writer; it is called only after `ask`, in the same look. `names_changed` may be
  /// empty, too: then the names are read to detect changes; otherwise they are read only now and
  /// then, in case it missed a change.
  ArchiveLook(io::Directory& archive, const Cluster& cluster, archive::AskDurableEnd ask,
              FindWriter find_writer, NamesChanged names_changed, Hub& hub, Log& log,
              Threads& threads = machine_threads(),
              std::function<void(const Error&)> durability_lost = {});

  /// Errors are logged once, and retried with the next call, except for those above.
  void look();

 private:
  bool look_now();
  bool look_at_names();
  bool end_if_replaced();
  [[nodiscard]] std::optional<Error> why_replaced();
  void failed(const Error& error);
  void look_at_end(Counts counts);
  void judge(const std::optional<FoundEnd>& found);
  void clear_break();
  std::vector<std::string> read_names();
  void have_seen_names();
  void tell(const wal::TimelineHistory& history, wal::Lsn end);

  io::Directory& archive_;
  const Cluster cluster_;
  const archive::AskDurableEnd ask_;
  const FindWriter find_writer_;
  const NamesChanged names_changed_;
  Hub& hub_;
  Log& log_;
  Threads& threads_;  ///< for their clock
  const std::function<void(const Error&)> durability_lost_;
  std::optional<std::string> writer_;  ///< when a writer was last looked up
  std::vector<std::string> finished_;  ///< the names last read
  Threads::Time next_look_{};
  Threads::Time::duration names_took_{};  ///< to read, the last time
  bool names_changed_since_ = true;       ///< they were read
  Threads::Time next_names_{};            ///< are read then in any case
  Threads::Time next_writer_{};           ///< next look-up, if the names are unchanged until then
  bool looked_at_end_ = false;
  std::string told_damage_;               ///< of a complete segment
  std::optional<archive::Break> broken_;  ///< as last seen
  Threads::Time broken_since_{};
  Threads::Time next_end_{};  ///< next check, if it is broken or not known
  bool told_break_ = false;
  std::string last_error_;
  std::optional<Error> foreign_;      ///< the newest timeline does not continue the served WAL
  std::optional<Error> sync_failed_;  ///< then only a receiver's position counts
  bool replaced_ = false;             ///< then nothing counts
  bool empty_ = false;                ///< when it was listed last
  Threads::Time next_identity_{};
};

}  // namespace weir::relay
