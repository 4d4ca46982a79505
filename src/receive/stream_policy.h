#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "receive/options.h"
#include "receive/quiet_time.h"
#include "receive/session_state.h"
#include "receive/stream_state.h"
#include "receive/sync_pacer.h"

namespace weir::receive {

/// Maximum number of concurrent syncs. Each needs a thread, and wake-ups: more than six gained
/// nothing.
inline constexpr std::size_t kMaxSyncs = 6;

/// The rules of a stream: the next action, how long to wait if there is none, what an error means
/// depending on where it occurred, and how the stream ends. StreamState knows the positions;
/// StreamPolicy updates it after a decision. Pure: no I/O, no clock, no threads, one caller at a
/// time.
///
/// A disk that hangs, or is full, must not block the server (P13). So if no thread reads any more
/// and the disk makes no progress at all, the WAL that the server sends is read and dropped, and is
/// requested again once the disk has accepted the earlier WAL.
///
/// A full disk is waited for (unless the user chose otherwise) in one of three places. Each of them
/// resumes automatically when there is space:
/// - received WAL cannot be written: it stays pending, and nothing more is read meanwhile;
/// - a buffered segment cannot be written to its file before a sync;
/// - a sync cannot write a buffered segment, or rename it.
class StreamPolicy {
 public:
  struct Options {
    OnDiskFull on_disk_full = OnDiskFull::wait;
    bool one_segment_at_a_time = false;  ///< started after the previous one was renamed into place
    wal::SegmentSize segment_size;
    std::optional<wal::Lsn> endpos = std::nullopt;
    std::chrono::milliseconds silence_limit{60'000};
    /// The longest pause of the disk from which earlier streams recovered: see patience().
    std::chrono::nanoseconds longest_pause{};
    /// Interval of event::Progress.
    std::chrono::milliseconds progress_interval{10'000};
  };

  StreamPolicy(const Options& options, StreamState& state);
  /// Never changes; any thread.
  [[nodiscard]] wal::SegmentSize segment_size() const { return options_.segment_size; }

  // --- What comes from the operator and the server -----------------------------------------------

  /// Finish received WAL, flush, report, end; but do not wait for space.
  void request_stop();
  /// The server ended the stream: the timeline ends there, or something is wrong.
  void on_end_of_stream(const pq::EndOfStream& end);
  /// The stream should continue on another server: leave() must be polled from now on.
  void request_leave() { leave_asked_ = true; }
  [[nodiscard]] bool leave_asked() const { return leave_asked_; }

  // --- What is done next -------------------------------------------------------------------------

  /// Received WAL that is neither written nor rejected yet (Intake).
  struct Pending {
    bool wal = false;
    bool disputed = false;
    explicit operator bool() const { return wal || disputed; }
  };
  /// If requested: finish as for a stop, with the outcome StreamOutcome::How::left. Not inside a
  /// record, nor while there is a problem: then it returns false, and must be called again.
  /// `records_end`: as Intake::records_end().
  bool leave(const Pending& pending, wal::Lsn records_end);
  enum class Action {
    read,     ///< one message, if available
    write,    ///< pending WAL
    drop,     ///< pending or disputed WAL: never acknowledged, so the server still has it
    resolve,  ///< the dispute: no more WAL arrives that could decide it
    wait,     ///< none of these
  };
  /// If nothing is pending.
  [[nodiscard]] Action next() const { return state_.may_read() ? Action::read : Action::wait; }
  /// If something is. The state has already discarded the WAL to be dropped or resolved.
  [[nodiscard]] Action next(const Pending& pending, Time now);

  /// WAL may be read to the place it is written from. While catching up, that saves a copy.
  [[nodiscard]] bool places_wal(const Pending& pending) const {
    return state_.catching_up() && !pending.disputed;
  }

  /// When a sync should start: Time::min() for now, nullopt for not before something changes.
  [[nodiscard]] std::optional<Time> sync_at() const;
  /// Whether one starts now. WAL that was already read is written first, so that one sync covers
  /// it; it is not much, except while catching up, when more is always available. `idle`: there is
  /// no more.
  [[nodiscard]] bool begins_sync(bool idle, Time now) const;

  /// How to wait if there is nothing to do.
  struct Wait {
    std::optional<Time> until;
    bool reads = false;       ///< a message is read after the wait
    bool hears = false;       ///< a message of the server ends the wait
    bool needs_sync = false;  ///< the end of a sync ends the wait
    /// Number of bytes that may accumulate on the connection before a read. More than 1: catching
    /// up.
    std::size_t gather = 1;
  };
  [[nodiscard]] Wait next_wait(const Pending& pending, Time now);
  /// The wait is over, `heard`: because of a message of the server. Returns true if it is read now.
  [[nodiscard]] bool on_waited(const Wait& wait, bool heard);

  /// The next segment should be prepared: once for each, early enough, but not while catching up.
  /// Then it is better to reserve blocks than to write them twice.
  [[nodiscard]] bool wants_spare();

  /// event::Progress is due. Called in each of the guardian's rounds, and true once for each event.
  [[nodiscard]] bool reports_progress(Time now);
  /// Whether it is quiet, so that memory is released. Called in each of the guardian's rounds; WAL
  /// that is about to be written has woken it for some of them, and ends the quiet time.
  [[nodiscard]] bool quiet_begins(Time now) { return quiet_.begins(state_.received(), now); }

  // --- What comes from the disk ------------------------------------------------------------------

  enum class Decision {
    go_on,
    wait,     ///< for space, and retry
    fail,     ///< the stream ends with the error; WAL received before is still made durable
    abandon,  ///< the sync: see may_give_up()
    ignore,   ///< the sync: it was already given up with an earlier one
    fatal,    ///< written WAL cannot be made durable: the process ends at once (P6)
  };
  enum class DiskChange { none, full, space };
  struct Verdict {
    Decision decision = Decision::go_on;
    DiskChange disk = DiskChange::none;  ///< to be reported
    std::chrono::milliseconds wait{};    ///< before a sync is retried
  };

  /// One segment after the other, if requested: the next one is started when the last was renamed
  /// into place.
  [[nodiscard]] bool may_write() const;
  /// How much of the pending WAL may be written now, in bytes.
  [[nodiscard]] std::size_t most_to_write() const;
  /// Whether segments started now, or pieces of large ones, are buffered in memory.
  [[nodiscard]] bool buffers_segments() const;
  /// A write starts, which may hang.
  void on_write_begun(Time now);
  /// That write has ended. (on_written() has its result.)
  void on_write_ended();
  /// All of it was written, or up to `end` before `error`. Decides go_on, wait, or fail (pending
  /// WAL is then dropped).
  [[nodiscard]] Verdict on_written(wal::Lsn end, wal::Lsn buffered_end,
                                   const std::optional<Error>& error, Time now);

  /// A sync was due but could not even start. Decides wait, abandon (already done), or fatal.
  [[nodiscard]] Verdict on_no_job(const Error& error, Time now);

  /// A sync in progress.
  struct Sync {
    StreamState::Ticket ticket = 0;
    bool is_heavy = false;    ///< more than a sync: it writes, or renames a segment
    bool overlaps = false;    ///< another thread reads meanwhile
    bool waits = false;       ///< for space
    bool asks_delay = false;  ///< the time that it waits for a CPU is to be determined
    DiskChange disk = DiskChange::none;
    std::chrono::milliseconds next_wait{};
  };
  [[nodiscard]] Sync on_sync_begun(wal::Lsn end, bool is_heavy, Time now);
  /// The reading thread has returned from a sync that does not overlap.
  void on_reader_back(const Sync& sync);
  /// A part of the sync is done, or failed. Decides go_on, wait, abandon or ignore (the sync no
  /// longer counts as in progress), or fatal. Nothing changes if the part succeeded and did not
  /// wait. `follows`: the error is an earlier job's (SyncJob::only_follows()).
  [[nodiscard]] Verdict on_sync_part(Sync& sync, const std::optional<Error>& error,
                                     bool follows = false);
  /// All of it is done. Returns false if it was given up meanwhile. `duration`: of syncing the
  /// data. `delay`: the part of it spent waiting for a CPU, if that was determined.
  bool on_sync_done(const Sync& sync, std::chrono::nanoseconds duration, Time now,
                    std::optional<std::chrono::nanoseconds> delay = {});
  /// Before a sync is given up, all earlier syncs must have ended: what they made durable stays
  /// acknowledged.
  [[nodiscard]] bool may_give_up(const Sync& sync) const {
    return state_.given_up() || state_.is_oldest(sync.ticket);
  }
  /// Gives up everything from the oldest sync on, since there is no space for it.
  void give_up(const Error& full);
  /// The stream is over. After a sync was given up, the others and a write must have ended, too:
  /// they may hang, and meanwhile the server must be answered, or the connection closed (P8).
  [[nodiscard]] bool finished() const {
    return state_.finished() && !(state_.given_up() && (active_syncs_ > 0 || writing_));
  }

  // --- Keeping a disk from blocking the server (P13) ---------------------------------------------

  /// The error that ends the stream after the silence limit without a message.
  [[nodiscard]] std::optional<Error> silence(Time now) const;
  /// The reading thread hangs in a sync that used to be quick: another one must read. Returned
  /// once.
  [[nodiscard]] bool reader_hangs(Time now);
  /// How long the guardian may sleep. While the disk has work it checks the disk's progress; else
  /// it sleeps until its time, and is woken when the disk is first used.
  [[nodiscard]] Time guard_until(Time now);
  void on_guard_woken() { guard_rests_ = false; }
  /// The disk was used while the guardian sleeps without checking it: it must be woken. Returned
  /// once.
  [[nodiscard]] bool wakes_guard();

  // If the connection is not read, a walsender blocks in a send. It then does not notice
  // termination requests: the checkpointer that invalidates its slot, pg_terminate_backend() and a
  // shutdown wait for it. So a thread that never waits for a disk regularly asks what to do about
  // that.
  enum class ServerCare {
    none,
    discard,  ///< read and drop what arrives: StreamState discards from now on
    let_go,   ///< end the connection: the server shuts down, and waits for WAL that the disk does
              ///< not accept
    close,    ///< the connection: the stream has failed, and it is no longer needed
  };
  /// `discard` and `close` are returned once.
  [[nodiscard]] ServerCare care_for_server(Time now);
  enum class ShutdownQuestion {
    none,
    ask,      ///< whether the server shuts down, which the stream would not show
    no_more,  ///< no longer needed; returned once
  };
  [[nodiscard]] ShutdownQuestion asks_about_shutdown(Time now);
  /// The server shuts down, and the connection is ended: the error for the stream. nullopt if it
  /// was before. (No further checks from then on.)
  [[nodiscard]] std::optional<Error> let_go();
  /// How long the disk has made no progress with its work; zero if it has none.
  [[nodiscard]] std::chrono::nanoseconds disk_stuck_for(Time now) const;
  /// The disk has work that it has not done yet: it is busy, or full.
  [[nodiscard]] bool waits_for_disk() const {
    return writing_ || disk_full_ || sync_waits_for_space_ || active_syncs_ > 0;
  }
  /// A disk is stuck after this time without progress: a second, or twice its longest pause so far,
  /// up to five. (A throttled disk with six segments to sync at a time makes progress rarely, and
  /// is only slow.)
  [[nodiscard]] std::chrono::nanoseconds patience() const;
  [[nodiscard]] std::chrono::nanoseconds longest_pause() const { return longest_pause_; }

  /// Syncs are slow: it matters whether WAL arrives meanwhile.
  [[nodiscard]] bool wants_arrivals() const { return !pacer_.quick(); }
  void on_arrivals(bool arrived) { pacer_.add_arrival(arrived); }

  // --- How it ends -------------------------------------------------------------------------------

  /// Any error that ends the stream: fail, go_on (an earlier one did), or lost.
  [[nodiscard]] Decision fail(const Error& error);
  [[nodiscard]] StreamOutcome outcome() const;
  /// What to do with the connection when everything possible is durable.
  enum class Parting {
    none,    ///< the server has ended the stream, and accepts commands again
    finish,  ///< end the stream normally
    let_go,  ///< it is no longer read, and further steps may hang in the disk (P13)
  };
  [[nodiscard]] Parting parting() const;
  /// Parting::finish failed.
  void on_not_finished(const Error& error);
  [[nodiscard]] bool failed() const { return outcome_.how == StreamOutcome::How::failed; }

 private:
  void on_disk_asked(Time now);
  void on_disk_moved(Time now);
  [[nodiscard]] bool may_sync() const { return active_syncs_ < kMaxSyncs && !state_.given_up(); }
  [[nodiscard]] std::optional<Time> sync_wanted_at() const;
  [[nodiscard]] Time pause_until() const;
  [[nodiscard]] Action next_of_dispute(Time now);
  Verdict wait_for_space(Time now);

  const Options options_;
  StreamState& state_;
  StreamOutcome outcome_;
  bool stop_asked_ = false;
  bool leave_asked_ = false;
  bool left_ = false;
  std::optional<Time> disputed_since_;  ///< the intake has found WAL that differs from the
                                        ///< archive's
  bool disk_full_ = false;              ///< received WAL waits for space, or:
  bool sync_waits_for_space_ = false;   ///< a buffered segment, before it is written to its file
  Time disk_retry_at_{};
  std::chrono::milliseconds disk_retry_wait_{};
  int syncs_without_space_ = 0;
  std::size_t active_syncs_ = 0;
  bool writing_ = false;
  Time disk_moved_at_{};  ///< or got work after being idle
  std::chrono::nanoseconds longest_pause_;
  bool closed_ = false;
  bool asks_ = false;  ///< last result of asks_about_shutdown()
  bool let_go_ = false;
  /// A sync that does not overlap, and in which the reading thread may hang.
  struct InlineSync {
    StreamState::Ticket ticket;
    Time since;
  };
  std::optional<InlineSync> inline_sync_;
  bool disk_used_ = false;    ///< since the guardian's last round
  bool guard_rests_ = false;  ///< it sleeps without checking the disk
  SyncPacer pacer_;
  Time last_sync_began_{};
  std::chrono::milliseconds gather_time_;  ///< how long WAL may accumulate on the connection
  wal::Lsn spare_wanted_;                  ///< start of the current segment at that time
  std::optional<Time> next_progress_;      ///< nullopt: at once
  QuietTime quiet_;
};

}  // namespace weir::receive
