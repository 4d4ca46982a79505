#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "archive/segment_writer.h"
#include "receive/downstream_word.h"
#include "receive/options.h"
#include "receive/store_word.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/copy_messages.h"
#include "wire/shutdown_sign.h"

namespace weir::receive {

/// The positions of a running stream, for reports.
struct StreamSnapshot {
  wal::TimelineId timeline = 0;
  wal::Lsn start;
  wal::Lsn write;
  /// The archive's flush position, by this stream or an earlier one (Options::held_end).
  wal::Lsn flush;
  std::uint64_t archived_bytes = 0;  ///< flushed by this stream
  /// The flush position reported to the server (Confirm::stored); nullopt: `flush`.
  std::optional<wal::Lsn> confirmed{};
  wal::Lsn server_end;
  std::int64_t server_clock = 0;  ///< of the last message: microseconds since 2000-01-01 UTC
  Time last_message;              ///< or the start
  bool heard = false;             ///< a message has arrived

  /// The archive's write position, durable or not.
  [[nodiscard]] wal::Lsn written() const { return std::max(write, flush); }
};

/// The engine while WAL streams: it gets events, and decides what is due. Pure: no I/O, no clock,
/// no threads. Three positions, all exclusive ends:
///
///   flush <= covered <= write <= received <= server_end
///
/// flush: durable and findable by name, so it may be reported (P1). covered: a sync that has
/// started will make it durable. write: passed to the kernel. received: read from the connection.
class StreamState {
 public:
  struct Options {
    FlushPolicy flush;
    ApplyPosition apply = ApplyPosition::flush;
    bool report_flush = true;
    /// The reported flush and apply positions are those of on_store(), limited to the local flush
    /// position (Confirm::stored).
    bool confirm_stored = false;
    /// Position of the server's slot: no earlier flush position is reported, or the slot would move
    /// back (PhysicalConfirmReceivedLocation() in walsender.c accepts any position). Until the
    /// flush position has reached it, statuses have 0/0 for it and for the apply position.
    wal::Lsn slot_position{};
    /// There is a slot, and no downstream: an xmin that an earlier process has left in the slot is
    /// released.
    bool releases_xmin = false;
    /// Up to there an earlier stream has made WAL of this timeline durable, without a gap from the
    /// stream's start on. WAL received again must be the same, so all of it stays durable, and is
    /// reported as such to everyone except the server.
    wal::Lsn held_end{};
    std::optional<wal::Lsn> endpos;
    bool endpos_inclusive = false;
    wal::SegmentSize segment_size;
    std::chrono::milliseconds status_interval{10'000};
    std::chrono::milliseconds silence_limit{60'000};
    /// Time after which the server is asked for a reply, if less than half of the silence limit.
    std::optional<std::chrono::milliseconds> asks_for_life_after = std::nullopt;
    /// Maximum number of bytes in memory; nullopt: unsynced_limit().
    std::optional<std::uint64_t> unsynced_limit{};
    std::uint64_t largest_buffered = archive::kLargestBuffered;  ///< as in SegmentWriter::Options
    /// From IDENTIFY_SYSTEM: only for reports, until WAL has arrived.
    wal::Lsn server_end{};
    /// Of wire::ShutdownSign.
    std::chrono::milliseconds soon_again{1'000};
    std::uint64_t catch_up_bytes = kCatchUpBytes;
  };

  /// Streaming starts at `start`, a segment's first byte; everything in the archive before it is
  /// durable.
  StreamState(const Options& options, wal::TimelineId timeline, wal::Lsn start, Time now);

  // --- What comes from the server ---------------------------------------------------------------

  /// WAL arrived. Throws Error{protocol} if it does not continue the received WAL.
  void on_wal(const wire::XLogData& data, Time now);
  void on_keepalive(const wire::Keepalive& keepalive, Time now);
  /// The connection will not be read for a while (the disk is full, slow, or hangs): the server's
  /// silence does not count then.
  void on_deaf() { deaf_ = !discarding_; }
  /// From now on a message would be noticed. Calls without on_deaf() in between have no effect.
  void on_listening(Time now);
  /// The stream is over, for any reason: nothing more will be read. Received WAL is still made
  /// durable.
  void on_end_of_stream();

  // --- Discarding WAL (P13) ----------------------------------------------------------------------

  /// From now on arriving WAL is read and dropped: no position advances, so it is not acknowledged,
  /// and the stream cannot be continued. WAL received before is still made durable, and then the
  /// stream is finished().
  void begin_discarding(Time now);
  /// WAL arrived, and is dropped. Throws as on_wal().
  void on_dropped(const wire::XLogData& data, Time now);
  /// When more may be dropped: limits what a server with much WAL sends to no purpose.
  [[nodiscard]] Time drops_at() const;
  [[nodiscard]] bool discarding() const { return discarding_; }
  /// The connection is not being read.
  [[nodiscard]] bool deaf() const { return deaf_; }
  /// The server asks for a reply as soon as it has one: it is shutting down, and waits until
  /// everything is confirmed.
  [[nodiscard]] bool server_leaves(Time now) const;

  // --- What comes from the disk ------------------------------------------------------------------

  /// Everything before `end` was passed to the kernel, except for WAL before `buffered_end`, which
  /// may be in memory only until a sync has covered it.
  void on_written(wal::Lsn end, Time now, wal::Lsn buffered_end = wal::Lsn());
  /// Received WAL that is not written never will be: it could not be written (disk full, damage,
  /// the end of the program). It was never acknowledged, so the server still has it.
  void drop_unwritten() { received_ = write_; }
  /// The same for WAL from `end` on.
  void drop_unwritten_behind(wal::Lsn end);
  using Ticket = std::uint64_t;
  /// A sync that covers everything before `end` starts. The order of these calls is the order in
  /// which positions may be reported.
  [[nodiscard]] Ticket on_sync_started(wal::Lsn end);
  /// It succeeded. The flush position advances only when all earlier syncs have ended as well.
  void on_sync_done(Ticket ticket);
  /// True if all earlier syncs have ended.
  [[nodiscard]] bool is_oldest(Ticket ticket) const;
  /// The oldest sync cannot be done, since there is no space for its writes, and is given up
  /// together with everything after it. None of it was acknowledged. Later syncs may still run:
  /// their on_sync_done() is not called. The stream stops.
  void on_sync_given_up();

  // --- What comes from downstream ----------------------------------------------------------------

  void on_downstream(const DownstreamWord& word) { downstream_ = word; }

  // --- What comes from the store -----------------------------------------------------------------

  /// A reported position of this timeline stays valid: later ones only extend it.
  void on_store(const StoreWord& word);
  /// No flush position is reported any more to a server that shuts down, since it would wait for
  /// the store (P13), as long as it repeatedly asks. With 0/0 it uses the write position
  /// (WalSndDone() in walsender.c, 13 to 18), and its slot stays unchanged
  /// (ProcessStandbyReplyMessage()): WAL that the store lacks is still there after its restart.
  [[nodiscard]] bool leaves_without_store() const { return leaves_without_store_; }

  // --- What comes from the operator --------------------------------------------------------------

  /// Finish received WAL, flush, report, end.
  void request_stop();

  // --- What is due -------------------------------------------------------------------------------

  /// When a sync should start: Time::min() for now, nullopt for not before something changes.
  [[nodiscard]] std::optional<Time> sync_due_at() const;
  /// True if more may be read from the connection now: not stopping nor discarding, and the amount
  /// of WAL that is not durable yet is within bounds (backpressure, P8).
  [[nodiscard]] bool may_read() const;
  /// The status to send now, if one is due: the flush position advanced, the server asked, or the
  /// interval has passed. Marks it as sent.
  [[nodiscard]] std::optional<wire::StandbyStatus> take_status(Time now);
  /// Hot standby feedback of downstream clients, if known and new to this server, which keeps the
  /// last one (with a slot, from one connection to the next). It is repeated now and then. Marks it
  /// as sent.
  [[nodiscard]] std::optional<wire::HotStandbyFeedback> take_feedback();
  /// When take_status() will return one even if nothing happens.
  [[nodiscard]] Time next_status_at() const;
  /// Nothing arrived from the server for the silence limit, though the connection was read.
  [[nodiscard]] bool silent_for_too_long(Time now) const;
  /// True once after a message that follows a request for a reply: the next request is due before
  /// the time that next_status_at() had returned.
  [[nodiscard]] bool take_answer() { return std::exchange(answered_, false); }
  /// Time since the server's last message, without that in which it had no reason to send one:
  /// after the time at which a reply is requested, until that is done. Zero if the connection is
  /// not read, or the stream is over.
  [[nodiscard]] std::chrono::milliseconds silent_for(Time now) const;
  /// Time since WAL arrived, if everything received is durable. Zero if the connection is not read,
  /// or the stream is stopping or over.
  [[nodiscard]] std::chrono::milliseconds idle_for(Time now) const;
  /// Stopping (or ended), and everything received is durable and reported.
  [[nodiscard]] bool finished() const;

  // --- For reports -------------------------------------------------------------------------------

  [[nodiscard]] StreamSnapshot snapshot() const;
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] wal::Lsn received() const { return received_; }
  [[nodiscard]] wal::Lsn write() const { return write_; }
  [[nodiscard]] wal::Lsn flush() const { return flush_; }
  /// The durable end of the archive: `flush`, or what it had before.
  [[nodiscard]] wal::Lsn durable() const { return std::max(flush_, options_.held_end); }
  [[nodiscard]] wal::Lsn server_end() const { return server_end_; }
  [[nodiscard]] bool catching_up() const {
    return server_end_ - received_ >= options_.catch_up_bytes;
  }
  /// The server has all of the next unit to start: a segment, or a piece of a large one.
  [[nodiscard]] bool next_piece_is_there() const;
  [[nodiscard]] bool given_up() const { return given_up_; }
  [[nodiscard]] bool stopping() const { return stopping_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool heard_anything() const { return heard_anything_; }

 private:
  void on_message(Time now);
  [[nodiscard]] std::chrono::milliseconds asks_for_life_after() const;
  void check_endpos(Time now);
  [[nodiscard]] bool waits_at_endpos() const;
  [[nodiscard]] wal::Lsn acknowledged() const;
  [[nodiscard]] wal::Lsn confirmed() const;
  [[nodiscard]] bool waits_for_store_alone(Time now) const;
  [[nodiscard]] wal::Lsn applied() const;
  [[nodiscard]] wire::StandbyStatus positions() const;
  [[nodiscard]] std::uint64_t piece_bytes() const;
  [[nodiscard]] bool piece_complete() const;

  struct Sync {
    Ticket ticket;
    wal::Lsn end;
    bool done;
  };

  Options options_;
  wal::TimelineId timeline_;
  wal::Lsn start_;
  wal::Lsn received_;
  wal::Lsn write_;
  wal::Lsn buffered_end_;
  wal::Lsn sync_begun_;
  wal::Lsn flush_;
  wal::Lsn server_end_;
  std::int64_t server_clock_ = 0;
  Time oldest_unsynced_{};
  std::deque<Sync> syncs_;  ///< started and not yet counted, in the order they started
  Ticket next_ticket_ = 1;

  Time last_message_;
  Time silent_since_;  ///< the last message, or when reading resumed
  bool deaf_ = false;
  Time last_status_;
  std::optional<wire::StandbyStatus> reported_;
  DownstreamWord downstream_;
  wal::Lsn stored_;  ///< on this timeline
  bool commits_would_wait_ = false;
  bool leaves_without_store_ = false;
  std::optional<wire::HotStandbyFeedback> reported_needs_;
  Time repeat_needs_at_{};       ///< if they have not changed
  bool reply_wanted_ = false;    ///< the server asked: answer at once
  bool flush_wanted_ = false;    ///< …and report our end soon: it may be shutting down
  bool asked_for_life_ = false;  ///< we have asked the server to reply since its last message
  Time asked_at_{};
  bool answered_ = false;
  Time last_wal_{};              ///< or the start
  bool asked_for_more_ = false;  ///< everything before endpos was received: does the byte at it
                                 ///< exist?
  bool stopping_ = false;
  bool ended_ = false;
  bool given_up_ = false;
  bool heard_anything_ = false;
  bool heard_wal_ = false;

  bool discarding_ = false;
  wal::Lsn taken_end_;  ///< end of what was read from the connection: kept, held or dropped
  std::uint64_t dropped_lately_ = 0;
  Time drops_since_{};
  wire::ShutdownSign shutdown_sign_;
};

/// Maximum number of bytes dropped per second: data in transit on a connection is consumed within
/// that time.
inline constexpr std::uint64_t kMostDropped = std::uint64_t{16} * 1024 * 1024;

/// How much may be received and not yet durable before reading stops: several segments (or,
/// buffered, pieces of large ones) of this size, so that a slow sync at the end of one does not
/// stop the stream, yet bounded.
[[nodiscard]] std::uint64_t unsynced_limit(std::uint64_t piece_bytes);

}  // namespace weir::receive
