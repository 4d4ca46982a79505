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

/// So many syncs may be under way. Each one more costs a thread, and threads that wake: more than
/// six gained nothing.
inline constexpr std::size_t kMaxSyncs = 6;

/// The rules of a stream: what is done next, how long to wait where there is nothing to do, what an
/// error means at the place where it came up, and how the stream ends. StreamState knows the
/// positions; StreamPolicy tells it what follows from a decision. Pure: no I/O, no clock, no
/// threads, one caller at a time.
///
/// A disk that hangs, or is full, must not hold up the server (P13). So if nobody reads any more
/// and the disk does not move at all, the WAL that the server sends is read and dropped, and is
/// asked for again once the disk has taken what came before.
///
/// A full disk is waited for (unless the user wants otherwise) in one of three places. Each of them
/// goes on by itself when there is space:
///
/// - received WAL can't be written: it stays pending, and nothing more is read meanwhile;
/// - a buffered segment can't be written to its file before a sync;
/// - a sync can't write a buffered segment, or give it a name.
class StreamPolicy {
 public:
  struct Options {
    OnDiskFull on_disk_full = OnDiskFull::wait;
    bool one_segment_at_a_time = false;  ///< begun when the one before it has its final name
    wal::SegmentSize segment_size;
    std::optional<wal::Lsn> endpos = std::nullopt;
    std::chrono::milliseconds silence_limit{60'000};
    /// The longest that the disk has made earlier streams wait, and gone on: see patience().
    std::chrono::nanoseconds longest_pause{};
    /// How often event::Progress happens.
    std::chrono::milliseconds progress_interval{10'000};
  };

  StreamPolicy(const Options& options, StreamState& state);
  /// Never changes; any thread.
  [[nodiscard]] wal::SegmentSize segment_size() const { return options_.segment_size; }

  // --- What comes from the operator and the server -----------------------------------------------

  /// Finish what is received, flush, report, end; but wait for no space.
  void request_stop();
  /// The server ended the stream: the timeline ends there, or something is wrong.
  void on_end_of_stream(const pq::EndOfStream& end);
  /// Another server is to be gone on with: leave() is to be asked from now on.
  void request_leave() { leave_asked_ = true; }
  [[nodiscard]] bool leave_asked() const { return leave_asked_; }

  // --- What is done next -------------------------------------------------------------------------

  /// What was received and is neither written nor refused yet (Intake).
  struct Pending {
    bool wal = false;
    bool disputed = false;
    explicit operator bool() const { return wal || disputed; }
  };
  /// If it was asked to: finish as for a stop, and come to the end with StreamOutcome::How::left.
  /// Not in the middle of a record, nor while anything is in trouble: false then, to be asked
  /// again. `records_end`: as Intake::records_end().
  bool leave(const Pending& pending, wal::Lsn records_end);
  enum class Action {
    read,     ///< one message, if there is one
    write,    ///< pending WAL
    drop,     ///< pending or disputed WAL: it was never acknowledged, the server still has it
    resolve,  ///< the dispute: nothing more comes that could decide it
    wait,     ///< none of these
  };
  /// If nothing is pending.
  [[nodiscard]] Action next() const { return state_.may_read() ? Action::read : Action::wait; }
  /// If something is. The state has already forgotten the WAL that is to be dropped or resolved.
  [[nodiscard]] Action next(const Pending& pending, Time now);

  /// WAL that is read may be put where it is to be written from. Far behind, that saves a copy.
  [[nodiscard]] bool places_wal(const Pending& pending) const {
    return state_.catching_up() && !pending.disputed;
  }

  /// When a sync should begin: Time::min() for now, nullopt for not before something changes.
  [[nodiscard]] std::optional<Time> sync_at() const;
  /// One begins now. What has been read already is written first, so that one sync does for all of
  /// it; it is not much, but far behind, where more is always there. `idle`: there is no more.
  [[nodiscard]] bool begins_sync(bool idle, Time now) const;

  /// How to wait where there is nothing to do.
  struct Wait {
    std::optional<Time> until;
    bool reads = false;       ///< a message is read when the wait is over
    bool hears = false;       ///< a message of the server ends the wait
    bool needs_sync = false;  ///< the end of a sync ends the wait
    /// So much may gather on the connection before it is worth to be read. More than 1: far behind.
    std::size_t gather = 1;
  };
  [[nodiscard]] Wait next_wait(const Pending& pending, Time now);
  /// The wait is over, `heard`: since the server has sent something. True if it is read now.
  [[nodiscard]] bool on_waited(const Wait& wait, bool heard);

  /// The next segment is to be prepared: once for each, in good time, but not while catching up.
  /// Then blocks are better reserved than written twice.
  [[nodiscard]] bool wants_spare();

  /// event::Progress is due. Asked in each of the guardian's rounds, and said once for each event.
  [[nodiscard]] bool reports_progress(Time now);
  /// Whether it is quiet, so that memory is given back. Asked in each of the guardian's rounds.
  [[nodiscard]] QuietTime::Phase quiet(Time now) { return quiet_.look(state_.write(), now); }

  // --- What comes from the disk ------------------------------------------------------------------

  enum class Decision {
    go_on,
    wait,     ///< for space, and try again
    fail,     ///< the stream ends with the error; what was received before is still made durable
    abandon,  ///< the sync: see may_give_up()
    ignore,   ///< the sync: another one has given it up before
    fatal,    ///< written WAL cannot be made durable: the process ends at once (P6)
  };
  enum class DiskChange { none, full, space };
  struct Verdict {
    Decision decision = Decision::go_on;
    DiskChange disk = DiskChange::none;  ///< to be reported
    std::chrono::milliseconds wait{};    ///< of a sync, before it is tried again
  };

  /// One segment after the other, if asked for: the next one is begun when the last has its name.
  [[nodiscard]] bool may_write() const;
  /// How much of the pending WAL may be written now, in bytes.
  [[nodiscard]] std::size_t most_to_write() const;
  /// Whether segments that are begun now, or pieces of large ones, are buffered in memory.
  [[nodiscard]] bool buffers_segments() const;
  /// Something is written now, which may hang.
  void on_write_begun(Time now);
  /// That write is over, in one way or another. (on_written() says what came of it.)
  void on_write_ended();
  /// All of it was written, or up to `end`, and then came `error`. Decides go_on, wait, or fail
  /// (pending WAL is then dropped).
  [[nodiscard]] Verdict on_written(wal::Lsn end, wal::Lsn buffered_end,
                                   const std::optional<Error>& error, Time now);

  /// A sync that was due could not even begin. Decides wait, abandon (done already), or fatal.
  [[nodiscard]] Verdict on_no_job(const Error& error, Time now);

  /// A sync that is under way.
  struct Sync {
    StreamState::Ticket ticket = 0;
    bool is_heavy = false;  ///< more than a sync: it writes, or gives a segment its name
    bool overlaps = false;  ///< another one reads meanwhile
    bool waits = false;     ///< for space
    DiskChange disk = DiskChange::none;
    std::chrono::milliseconds next_wait{};
  };
  [[nodiscard]] Sync on_sync_begun(wal::Lsn end, bool is_heavy, Time now);
  /// The thread that reads was at one which does not overlap, and is back from it.
  void on_reader_back(const Sync& sync);
  /// A part of the sync is done, or failed. Decides go_on, wait, abandon or ignore (the sync no
  /// longer counts as under way), or fatal. Nothing changes if the part went well and did not wait.
  [[nodiscard]] Verdict on_sync_part(Sync& sync, const std::optional<Error>& error);
  /// All of it is done. False if it was given up meanwhile. `duration`: of syncing the data.
  bool on_sync_done(const Sync& sync, std::chrono::nanoseconds duration, Time now);
  /// A sync that is to be given up waits for all syncs that began before it: what they made durable
  /// stays acknowledged.
  [[nodiscard]] bool may_give_up(const Sync& sync) const {
    return state_.given_up() || state_.is_oldest(sync.ticket);
  }
  /// Everything from the oldest sync on is given up; there is no space for it.
  void give_up(const Error& full);

  // --- That nobody is held up by a disk (P13) ----------------------------------------------------

  /// No message has come for the silence limit: what the stream ends with.
  [[nodiscard]] std::optional<Error> silence(Time now) const;
  /// The thread that reads hangs in a sync that used to be quick: another one is to read. Said
  /// once.
  [[nodiscard]] bool reader_hangs(Time now);
  /// Until when the guardian may sleep. While the disk has something to do it looks how the disk
  /// gets on; else it sleeps until its time comes, and is woken for the first use of the disk.
  [[nodiscard]] Time guard_until(Time now);
  void on_guard_woken() { guard_rests_ = false; }
  /// The disk was asked for something, and the guardian sleeps as if nothing were to be done: it is
  /// to be woken. Said once.
  [[nodiscard]] bool wakes_guard();

  // If nobody reads, a walsender comes to block in a send. It then does not notice that it has to
  // end: the checkpointer that invalidates its slot, pg_terminate_backend() and a shutdown wait for
  // it. So a thread that waits for no disk asks regularly what has to be done about that.
  enum class ServerCare {
    none,
    discard,  ///< read on and drop what arrives: StreamState discards from now on
    let_go,   ///< end the connection: the server shuts down, and waits for what the disk does not
              ///< take
    close,    ///< the connection: the stream has failed, and nobody needs it any more
  };
  /// `discard` and `close` are said once.
  [[nodiscard]] ServerCare care_for_server(Time now);
  enum class ShutdownQuestion {
    none,
    ask,      ///< whether the server shuts down, since the stream would not tell
    no_more,  ///< there is no more reason to; said once
  };
  [[nodiscard]] ShutdownQuestion asks_about_shutdown(Time now);
  /// It does, and is let go: what the stream ends with. nullopt if it was before. (Nothing is asked
  /// from then on.)
  [[nodiscard]] std::optional<Error> let_go();
  /// How long nothing that the disk was asked for has got anywhere; zero if nothing was asked.
  [[nodiscard]] std::chrono::nanoseconds disk_stuck_for(Time now) const;
  /// The disk has been asked for something, and has not done it yet: it is at it, or full.
  [[nodiscard]] bool waits_for_disk() const {
    return writing_ || disk_full_ || sync_waits_for_space_ || active_syncs_ > 0;
  }
  /// A disk is stuck if it does not move for so long: a second, or twice as long as it has been
  /// seen to pause, up to five. (A throttled one that has six segments to sync at a time moves
  /// rarely, and is only slow.)
  [[nodiscard]] std::chrono::nanoseconds patience() const;
  [[nodiscard]] std::chrono::nanoseconds longest_pause() const { return longest_pause_; }

  /// Syncs are slow: it matters whether WAL arrives meanwhile.
  [[nodiscard]] bool wants_arrivals() const { return !pacer_.quick(); }
  void on_arrivals(bool arrived) { pacer_.add_arrival(arrived); }

  // --- How it ends -------------------------------------------------------------------------------

  /// Any error that ends the stream: fail, go_on (one before it did), or lost.
  [[nodiscard]] Decision fail(const Error& error);
  [[nodiscard]] StreamOutcome outcome() const;
  /// What is done with the connection when everything is durable that can be.
  enum class Parting {
    none,    ///< the server has ended the stream, and takes commands again
    finish,  ///< the server is told that this is all
    let_go,  ///< nobody reads it any more, and what follows may hang in the disk (P13)
  };
  [[nodiscard]] Parting parting() const;
  /// Parting::finish came to nothing.
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
  std::optional<Time> disputed_since_;  ///< the intake has met WAL that the archive does not hold
  bool disk_full_ = false;              ///< what is received waits for space, or:
  bool sync_waits_for_space_ = false;   ///< a buffered segment, on its way to its file
  Time disk_retry_at_{};
  std::chrono::milliseconds disk_retry_wait_{};
  int syncs_without_space_ = 0;
  std::size_t active_syncs_ = 0;
  bool writing_ = false;
  Time disk_moved_at_{};  ///< or was asked for something, and had nothing to do before
  std::chrono::nanoseconds longest_pause_;
  bool closed_ = false;
  bool asks_ = false;  ///< as asks_about_shutdown() said last
  bool let_go_ = false;
  /// A sync that does not overlap, and in which the thread that reads may hang.
  struct InlineSync {
    StreamState::Ticket ticket;
    Time since;
  };
  std::optional<InlineSync> inline_sync_;
  bool disk_used_ = false;    ///< since the guardian's last round
  bool guard_rests_ = false;  ///< it sleeps as if nothing were to be done
  SyncPacer pacer_;
  Time last_sync_began_{};
  std::chrono::milliseconds gather_time_;  ///< how long WAL may gather on the connection
  wal::Lsn spare_wanted_;                  ///< start of the segment during which it was
  std::optional<Time> next_progress_;      ///< nullopt: at once
  QuietTime quiet_;
};

}  // namespace weir::receive
