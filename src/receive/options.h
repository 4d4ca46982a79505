#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "codec/codec.h"
#include "receive/flush_policy.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

enum class ApplyPosition {
  none,   ///< report 0/0, as pg_receivewal does
  flush,  ///< report the flush position, so that remote_apply commits do not hang
  /// report what those downstream have applied (DownstreamWord), and not more than is durable here
  downstream,
};
/// Of what the server is told that it is flushed, so that its slot need not keep it any more.
enum class Confirm {
  local,   ///< what is durable here
  stored,  ///< what is durable here, and surely in the object store, too
};
enum class OnGap {
  stop,   ///< end with an error that names the missing range
  go_on,  ///< leave the hole, say so, archive on from what the upstream still has
};
/// What to do where a server has removed the WAL that the archive ends with, so that nothing shows
/// whether both are of one history.
enum class OnUncompared {
  stop,   ///< end with an error, unless another host will do
  go_on,  ///< say so, and trust the links between records
};
/// Which servers have our slot kept on them, beside the one that streams.
enum class SlotOn {
  none,
  listed,  ///< all of the connection string
};
/// Which of several hosts to archive from, where their histories leave the choice.
enum class Prefer { any, primary, standby };
enum class OnDiskFull {
  wait,  ///< keep the connection, try again until there is space
  stop,
};

/// What a user asks of `receive`. Plain values.
struct Options {
  std::string directory;
  std::string conninfo;
  std::optional<std::string> slot;
  bool create_slot = false;
  bool if_not_exists = false;
  SlotOn slot_on = SlotOn::none;
  std::chrono::milliseconds slot_interval{10'000};  ///< how often those are looked at
  std::optional<wal::Lsn> start;  ///< for an empty archive; any byte of the segment to begin with
  /// The same as a segment's name: what LSN it is depends on the server's segment size.
  std::optional<wal::SegmentName> start_segment;
  std::optional<wal::Lsn> endpos;  ///< stop when every byte before it is durable
  /// The byte at `endpos` is wanted, too; where the server has none, it ends after a second's wait.
  bool endpos_inclusive = false;
  bool loop = true;  ///< false: the first failure that might pass ends the run, too
  FlushPolicy flush;
  ApplyPosition apply = ApplyPosition::flush;
  bool report_flush = true;  ///< false: say 0/0, so that no commit can come to wait for us
  Confirm confirm = Confirm::local;
  /// Confirm::stored also where commits of the server come to wait for the store.
  bool commits_may_wait = false;
  OnGap on_gap = OnGap::stop;
  OnUncompared on_uncompared = OnUncompared::stop;
  OnDiskFull on_disk_full = OnDiskFull::wait;
  /// Of several hosts; no other one than that is excluded.
  Prefer prefer = Prefer::any;
  /// For so long a host of that role must have been there before a stream is moved to it.
  std::chrono::milliseconds prefer_after{30'000};
  /// What every host that answers is refused for (the WAL that comes next is gone there, or it is
  /// another server's) may be right on one that does not answer: it may only be restarting. Waited
  /// for so long, then a person has to know.
  std::chrono::milliseconds gap_patience{600'000};
  codec::Compression compression;
  std::chrono::milliseconds status_interval{10'000};  ///< zero: no status but where one is needed
  /// Without any message for this long the connection counts as dead; half of it before, the
  /// server is asked for a sign of life. An idle server answers: this is no stall detection by LSN.
  std::chrono::milliseconds silence_limit{60'000};
  std::optional<std::string> monitor_conninfo;  ///< an ordinary connection for the slot guard
  /// When the files that the connection was made with are replaced: a new one is made with them.
  bool reconnect_on_rotation = false;
  std::string fallback_application_name = "pgweir";
  /// Decide as pg_receivewal does where it decides otherwise:
  /// - The first connection has to succeed. After that every failure of the connection or the
  ///   server, refusals and removed WAL included, is tried again after 5 seconds; without `loop`
  ///   each ends the run at once, also a slot that is still in use.
  /// - A finished file of a wrong size counts as not there, with a warning, and is replaced.
  /// - A segment gets its final name before the next one is begun: who finds two unfinished
  ///   segments may take the newer one for the end.
  /// - Compression leaves alone what was raw before, also ends with what is finished when a signal
  ///   comes, and gives the unfinished segments of this run the form "<segment>.gz.partial".
  bool stock_habits = false;
};

}  // namespace weir::receive
