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
  /// report the replay position of downstream clients (DownstreamWord), limited to the local flush
  /// position
  downstream,
};
/// The WAL that is reported to the server as flushed, so that its slot does not retain it any more.
enum class Confirm {
  local,   ///< WAL that is durable in the archive
  stored,  ///< WAL that is durable in the archive and known to be in the object store
};
enum class OnGap {
  stop,   ///< end with an error that names the missing range
  go_on,  ///< leave the hole, report it, continue with what the upstream still has
};
/// What to do if a server has removed the WAL at the archive's end, so that nothing shows whether
/// both have the same history.
enum class OnUncompared {
  stop,   ///< end with an error, unless another host qualifies
  go_on,  ///< log it, and trust the links between records
};
/// On which servers our slot is kept, in addition to the one that streams.
enum class SlotHosts {
  current,
  all,  ///< in the connection string
};
/// Preferred role of the host to archive from, if their histories leave a choice.
enum class Prefer { any, primary, standby };
enum class OnDiskFull {
  wait,  ///< keep the connection, retry until there is space
  stop,
};

/// Options of `receive`. Plain values.
struct Options {
  std::string directory;
  std::string conninfo;
  std::optional<std::string> slot;
  bool create_slot = false;
  bool if_not_exists = false;
  SlotHosts slot_hosts = SlotHosts::current;
  std::chrono::milliseconds slot_interval{10'000};  ///< interval between checks of these
  std::optional<wal::Lsn> start;  ///< for an empty archive; any byte of the first segment
  /// The same as a segment's name: its LSN depends on the server's segment size.
  std::optional<wal::SegmentName> start_segment;
  std::optional<wal::Lsn> endpos;  ///< stop when every byte before it is durable
  /// Include the byte at `endpos`; if the server does not have it, end after waiting one second.
  bool endpos_inclusive = false;
  bool loop = true;  ///< false: also end at the first temporary failure
  FlushPolicy flush;
  ApplyPosition apply = ApplyPosition::flush;
  bool report_flush = true;  ///< false: report 0/0, so that commits never wait for us
  Confirm confirm = Confirm::local;
  /// Allow Confirm::stored even if commits of the server wait for the store.
  bool commits_may_wait = false;
  OnGap on_gap = OnGap::stop;
  OnUncompared on_uncompared = OnUncompared::stop;
  OnDiskFull on_disk_full = OnDiskFull::wait;
  /// If there are several hosts; hosts of the other role are not excluded.
  Prefer prefer = Prefer::any;
  /// How long a host of that role must have been available before a stream is moved to it.
  std::chrono::milliseconds prefer_after{30'000};
  /// If every host that answers is rejected (the next WAL was removed, or it is a different
  /// server), a host that does not answer may still qualify: it may only be restarting. Time to
  /// wait for it before manual intervention is required.
  std::chrono::milliseconds gap_timeout{600'000};
  codec::Compression compression;
  std::chrono::milliseconds status_interval{10'000};  ///< zero: only required status messages
  /// Time without any message after which the connection counts as lost; after half of it, the
  /// server is asked for a reply. An idle server answers: this does not detect a stalled LSN.
  std::chrono::milliseconds silence_limit{60'000};
  std::optional<std::string> monitor_conninfo;  ///< an ordinary connection for slot monitoring
  /// Reconnect when the files used for the connection are replaced.
  bool reconnect_on_rotation = false;
  std::string fallback_application_name = "pgweir";
  /// Decide as pg_receivewal does where it differs:
  /// - The first connection must succeed. After that every failure of the connection or the server,
  ///   including rejections and removed WAL, and a full disk between two streams, is retried after
  ///   5 seconds; without `loop` each ends the run at once, also a slot that is still in use.
  /// - A complete file of a wrong size is ignored, with a warning, and replaced.
  /// - A segment is renamed into place before the next one is started: other programs that find two
  ///   partial segments may take the newer one for the end.
  /// - Compression skips segments that were raw before, completes complete segments even after a
  ///   signal, and renames the partial segments of this run to "<segment>.gz.partial".
  bool stock_habits = false;
};

}  // namespace weir::receive
