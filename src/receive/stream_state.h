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

namespace weir::receive {

/// A look at a running stream, for telling.
struct StreamSnapshot {
  wal::TimelineId timeline = 0;
  wal::Lsn start;
  wal::Lsn write;
  /// Up to where the archive has it durable, by this stream or before (Options::held_end).
  wal::Lsn flush;
  std::uint64_t archived_bytes = 0;  ///< that this stream has made durable
  /// Up to where the server is told that it is flushed (Confirm::stored); nullopt: up to `flush`.
  std::optional<wal::Lsn> confirmed{};
  wal::Lsn server_end;
  std::int64_t server_clock = 0;  ///< of the last message: microseconds since 2000-01-01 UTC
  Time last_message;

  /// Up to where the archive has it, durable or not.
  [[nodiscard]] wal::Lsn written() const { return std::max(write, flush); }
};

/// The engine while WAL streams: told what happened, it says what is due. Pure: no I/O, no clock,
/// no threads. Three positions, all exclusive ends:
///
///     flush <= covered <= write <= received <= server_end
///
/// flush: durable and findable by name, so it may be reported (P1). covered: a sync that has begun
/// will make it durable. write: handed to the kernel. received: taken from the connection.
class StreamState {
 public:
  struct Options {
    FlushPolicy flush;
    ApplyPosition apply = ApplyPosition::flush;
    bool report_flush = true;
    /// What is reported as flushed, and applied, is what on_store() says, and not more than is
    /// durable here (Confirm::stored).
    bool confirm_stored = false;
    /// The server's slot is there: no flush position before it is reported, or the slot would go
    /// back to it (PhysicalConfirmReceivedLocation() in walsender.c takes what comes). Until the
    /// flush position has come there, statuses have 0/0 for it and for the apply position.
    wal::Lsn slot_position{};
    /// Up to there the archive has durable WAL of this timeline, without a break from the stream's
    /// start on: an earlier stream has made it so. What comes again has to be the same, so all of
    /// it stays durable, and is told as such to all but the server.
    wal::Lsn held_end{};
    std::optional<wal::Lsn> endpos;
    bool endpos_inclusive = false;
    wal::SegmentSize segment_size;
    std::chrono::milliseconds status_interval{10'000};
    std::chrono::milliseconds silence_limit{60'000};
    /// It is asked for a sign of life after so long, if that is less than half of that.
    std::optional<std::chrono::milliseconds> asks_for_life_after = std::nullopt;
    /// Bytes that may be in memory; nullopt: unsynced_limit().
    std::optional<std::uint64_t> unsynced_limit{};
    std::uint64_t largest_buffered = archive::kLargestBuffered;  ///< as SegmentWriter::Options
    /// As the server identified itself: for telling only, until WAL has come.
    wal::Lsn server_end{};
    /// A server that asks for a reply again and again, so soon after the last time, shuts down.
    std::chrono::milliseconds soon_again{1'000};
    std::uint64_t catch_up_bytes = kCatchUpBytes;
  };

  /// Streaming begins at `start`, a segment's first byte; everything of the archive before it is
  /// durable.
  StreamState(const Options& options, wal::TimelineId timeline, wal::Lsn start, Time now);

  // --- What comes from the server ---------------------------------------------------------------

  /// WAL arrived. Throws Error{protocol} if it does not continue what was received.
  void on_wal(const wire::XLogData& data, Time now);
  void on_keepalive(const wire::Keepalive& keepalive, Time now);
  /// Nobody will look at the connection for a while (the disk is full, slow, or hangs): the
  /// server's silence means nothing then.
  void on_deaf() { deaf_ = !discarding_; }
  /// From now on a message would be noticed. Calls without on_deaf() in between change nothing.
  void on_listening(Time now);
  /// The stream is over, in whatever way: nothing more will be read. What was received is still
  /// made durable.
  void on_end_of_stream();

  // --- What nobody can take (P13) ----------------------------------------------------------------

  /// From now on what arrives is read and dropped: no position moves for it, so it is not
  /// acknowledged, and the stream cannot be gone on with. What was received before is still made
  /// durable, and then the stream is finished().
  void begin_discarding(Time now);
  /// WAL arrived, and is dropped. Throws as on_wal().
  void on_dropped(const wire::XLogData& data, Time now);
  /// When more may be dropped: a server that has much to send is not made to send it for nothing.
  [[nodiscard]] Time drops_at() const;
  [[nodiscard]] bool discarding() const { return discarding_; }
  /// Nobody looks at the connection.
  [[nodiscard]] bool deaf() const { return deaf_; }
  /// The server asks for a reply as soon as it has one: it shuts down, and waits until everything
  /// is confirmed.
  [[nodiscard]] bool server_leaves(Time now) const;

  // --- What comes from the disk ------------------------------------------------------------------

  /// Everything before `end` was handed to the kernel, but for what lies before `buffered_end`:
  /// that may be in memory only until a sync has covered it.
  void on_written(wal::Lsn end, Time now, wal::Lsn buffered_end = wal::Lsn());
  /// What was received and not written will never be: it could not be written (disk full, damage,
  /// the end of the program). It was never acknowledged, so the server still has it.
  void drop_unwritten() { received_ = write_; }
  /// The same, of what lies behind `end`.
  void drop_unwritten_behind(wal::Lsn end);
  using Ticket = std::uint64_t;
  /// A sync that covers everything before `end` begins. The order of these calls is the order in
  /// which positions may be reported.
  [[nodiscard]] Ticket on_sync_started(wal::Lsn end);
  /// It ended well. The flush position moves only over syncs of which all earlier ones ended, too.
  void on_sync_done(Ticket ticket);
  /// True if all syncs that began before this one have ended.
  [[nodiscard]] bool is_oldest(Ticket ticket) const;
  /// The oldest sync can't be done, since there is no space for what it was to write, and is given
  /// up, and so is everything behind it. None of it was acknowledged. Later syncs may still run:
  /// their on_sync_done() is not called. The stream stops.
  void on_sync_given_up();

  // --- What comes from downstream ----------------------------------------------------------------

  void on_downstream(const DownstreamWord& word) { downstream_ = word; }

  // --- What comes from the store -----------------------------------------------------------------

  /// A position of this timeline that was told once stays: what comes later only adds to it.
  void on_store(const StoreWord& word);
  /// A server that shuts down is told of no flush position any more, since it would wait for the
  /// store (P13), as long as it asks again and again. With 0/0 there it goes by the write position
  /// (WalSndDone() in walsender.c, 13 to 18), and its slot stays where it is
  /// (ProcessStandbyReplyMessage()): what the store has not got is still there when it is back.
  [[nodiscard]] bool leaves_without_store() const { return leaves_without_store_; }

  // --- What comes from the operator --------------------------------------------------------------

  /// Finish what is received, flush, report, end.
  void request_stop();

  // --- What is due -------------------------------------------------------------------------------

  /// When a sync should begin: Time::min() for now, nullopt for not before something changes.
  [[nodiscard]] std::optional<Time> sync_due_at() const;
  /// True if more may be read from the connection now: not stopping nor discarding, and what is not
  /// durable yet is within bounds (backpressure, P8).
  [[nodiscard]] bool may_read() const;
  /// The status to be sent now, if one is due: the flush position moved, the server asked, or the
  /// interval passed. Marks it as sent.
  [[nodiscard]] std::optional<wire::StandbyStatus> take_status(Time now);
  /// What is needed downstream, if that is known and this server does not know it: it keeps what it
  /// was told, and with a slot from one connection to the next. Marks it as sent.
  [[nodiscard]] std::optional<wire::HotStandbyFeedback> take_feedback();
  /// When take_status() will have something to say even if nothing happens.
  [[nodiscard]] Time next_status_at() const;
  /// Nothing came from the server for the silence limit, though somebody listened.
  [[nodiscard]] bool silent_for_too_long(Time now) const;
  /// How long the server has said nothing; zero where nobody listens, or it is over.
  [[nodiscard]] std::chrono::milliseconds silent_for(Time now) const;
  /// Stopping (or ended), and everything received is durable and reported.
  [[nodiscard]] bool finished() const;

  // --- For telling -------------------------------------------------------------------------------

  [[nodiscard]] StreamSnapshot snapshot() const;
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] wal::Lsn received() const { return received_; }
  [[nodiscard]] wal::Lsn write() const { return write_; }
  [[nodiscard]] wal::Lsn flush() const { return flush_; }
  /// Up to where the archive has it durable: `flush`, or what it held before.
  [[nodiscard]] wal::Lsn durable() const { return std::max(flush_, options_.held_end); }
  [[nodiscard]] wal::Lsn server_end() const { return server_end_; }
  [[nodiscard]] bool catching_up() const {
    return server_end_ - received_ >= options_.catch_up_bytes;
  }
  /// The server has the whole of what will be begun next: a segment, or a piece of a large one.
  [[nodiscard]] bool next_piece_is_there() const;
  [[nodiscard]] bool given_up() const { return given_up_; }
  [[nodiscard]] bool stopping() const { return stopping_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool heard_anything() const { return heard_anything_; }

 private:
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
  std::deque<Sync> syncs_;  ///< begun and not yet counted, in the order they began
  Ticket next_ticket_ = 1;

  Time last_message_;
  Time silent_since_;  ///< the last message, or when listening began again
  bool deaf_ = false;
  Time last_status_;
  std::optional<wire::StandbyStatus> reported_;
  DownstreamWord downstream_;
  wal::Lsn stored_;  ///< on this timeline
  bool commits_would_wait_ = false;
  bool leaves_without_store_ = false;
  std::optional<wire::HotStandbyFeedback> reported_needs_;
  bool reply_wanted_ = false;    ///< the server asked: answer at once
  bool flush_wanted_ = false;    ///< …and let it know our end soon: it may be shutting down
  bool asked_for_life_ = false;  ///< we asked the server to answer since its last message
  Time last_wal_{};
  bool asked_for_more_ = false;  ///< all before endpos is there: does the byte at it exist?
  bool stopping_ = false;
  bool ended_ = false;
  bool given_up_ = false;
  bool heard_anything_ = false;
  bool heard_wal_ = false;

  bool discarding_ = false;
  wal::Lsn taken_end_;  ///< behind what was taken from the connection, kept, held or dropped
  std::uint64_t dropped_lately_ = 0;
  Time drops_since_{};
  int asked_in_a_row_ = 0;
  Time last_asked_{};
};

/// So much is dropped in a second: what a connection holds on its way is gone within that time.
inline constexpr std::uint64_t kMostDropped = std::uint64_t{16} * 1024 * 1024;

/// How much may be received and not yet durable before reading stops: some segments (or, buffered,
/// pieces of large ones) of so many bytes, so that a slow sync at the end of one does not stop the
/// stream, yet bounded.
[[nodiscard]] std::uint64_t unsynced_limit(std::uint64_t piece_bytes);

}  // namespace weir::receive
