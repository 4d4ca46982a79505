// If the disk is stuck, WAL is dropped, but reading continues (`StreamPolicy::care_for_server`). A
// walsender whose client does not read blocks in a send, regardless of signals: then a checkpoint
// that wants its slot, `pg_terminate_backend()` and a shutdown wait for *our* disk. If the disk has
// not progressed at all for a second (up to five if it is known to pause) and no thread reads,
// incoming WAL is therefore read and dropped. P8 still holds: the connection remains, statuses are
// sent, no position advances for dropped WAL, and none of it counts as received. The stream cannot
// continue after it. When everything received before is durable, pgweir ends the copy, and requests
// WAL from there on the same connection. At most 16 MB per second are dropped. That is enough to
// empty a connection's buffers, so that a final message gets through, and does not make a server
// with a large backlog send it in vain. The alternative, to disconnect, would let an idle slot
// expire and alarm monitoring.
//
// A walsender that shuts down is recognized by its requests: with everything sent, it requests a
// reply whenever it has received one (`WalSndDone()`), at other times after half of
// `wal_sender_timeout`. After eight in a row while the disk is stuck, pgweir disconnects from it. A
// walsender with a backlog does not get there; for it, `ShutdownWatch` checks whether the server
// accepts connections.

#include "receive/stream_policy.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/units.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds kDiskRetryFirst = 100ms;
constexpr milliseconds kDiskRetryMost = 5'000ms;
/// For the rest of a record that differs from the archive's and is the last in the server's WAL.
constexpr auto kDisputePatience = 10'000ms;
constexpr std::chrono::nanoseconds kLeastPatience = 1s;
constexpr std::chrono::nanoseconds kMostPatience = 5s;
/// A sync in the reading thread that takes this long counts as slow.
constexpr auto kInlineSyncPatience = 500ms;
/// While catching up, reads wait for this many bytes, or for a time that grows as long as there are
/// never that many.
constexpr std::size_t kGatherBytes = 512 * 1024;
constexpr milliseconds kGatherLeast{5};
constexpr milliseconds kGatherMost{100};
/// The guardian's interval for checking the disk's progress while it has work.
constexpr auto kCareEvery = 1s;
/// Progress reports with a longer interval may be early.
constexpr auto kLeisurely = 5s;
/// If the disk is stuck and the server has more to send than is read, it is not asked for this long
/// whether it is shutting down. If it has nothing to send, it shows that itself (server_leaves()),
/// but in case it does not, it is asked as well.
constexpr std::chrono::nanoseconds kAsksBehind = 3s;
constexpr std::chrono::nanoseconds kAsksAnyway = 20s;

milliseconds longer(milliseconds wait) { return std::min(wait * 2, kDiskRetryMost); }

}  // namespace

StreamPolicy::StreamPolicy(const Options& options, StreamState& state)
    : options_(options),
      state_(state),
      longest_pause_(options.longest_pause),
      gather_time_(kGatherLeast) {}

void StreamPolicy::request_stop() {
  stop_asked_ = true;
  state_.request_stop();
}

bool StreamPolicy::leave(const Pending& pending, wal::Lsn records_end) {
  if (!leave_asked_) return false;
  const bool between_records =
      records_end == state_.received() || state_.snapshot().start == state_.received();
  if (state_.stopping() || state_.discarding() || failed() || disk_full_ || pending ||
      !between_records)
    return false;
  leave_asked_ = false;
  left_ = true;
  state_.request_stop();
  return true;
}

void StreamPolicy::on_end_of_stream(const pq::EndOfStream& end) {
  if (!end.next) {
    static_cast<void>(
        fail(Error(ErrorKind::retry, "the server ended the stream because it is shutting down")
                 .with_stock_text("replication stream was terminated before stop point")));
    return;
  }
  if (!state_.discarding()) {
    outcome_.how = StreamOutcome::How::timeline_ended;
    outcome_.next = end.next;
  } else if (!state_.stopping()) {
    outcome_.how = StreamOutcome::How::dropped;  // the dropped WAL is still available
  }
  state_.on_end_of_stream();
}

// --- What is done next ---------------------------------------------------------------------------

StreamPolicy::Action StreamPolicy::next(const Pending& pending, Time now) {
  if (pending.disputed) return next_of_dispute(now);
  if (!pending.wal) return next();
  // (A stop at the end position, or at the timeline's end, waits for space: without that WAL it is
  // not reached.)
  const bool comes_again = stop_asked_ || failed();
  if ((disk_full_ && comes_again) || state_.given_up()) {
    state_.drop_unwritten();
    return Action::drop;
  }
  return may_write() && now >= disk_retry_at_ ? Action::write : Action::wait;
}

/// WAL that differs from the archive's is verified to the end of its record, unless that end will
/// not arrive.
StreamPolicy::Action StreamPolicy::next_of_dispute(Time now) {
  if (stop_asked_) {
    state_.drop_unwritten();
    return Action::drop;  // the next start will find it again
  }
  if (!disputed_since_) disputed_since_ = now;
  // A server's WAL may end in the middle of a record, and the rest follow in a moment.
  const bool more_may_come =
      state_.received() < state_.server_end() || now < *disputed_since_ + kDisputePatience;
  if (state_.may_read() && more_may_come) return Action::read;
  state_.drop_unwritten();
  return Action::resolve;
}

std::optional<Time> StreamPolicy::sync_at() const {
  return may_sync() ? sync_wanted_at() : std::nullopt;
}

bool StreamPolicy::begins_sync(bool idle, Time now) const {
  if (!idle && !state_.catching_up()) return false;
  const auto due = sync_at();
  return due && *due <= now;
}

/// Like sync_at(), but without a bound on their number.
std::optional<Time> StreamPolicy::sync_wanted_at() const {
  const auto due = state_.sync_due_at();
  if (!due) return std::nullopt;
  // (If stopping, and none is in progress: it is given up at once.)
  const bool patient = sync_waits_for_space_ && !(stop_asked_ && active_syncs_ == 0);
  return std::max({*due, pause_until(), patient ? disk_retry_at_ : Time::min()});
}

/// If syncs overlap, none starts right after the previous one; WAL that arrives meanwhile is
/// included.
Time StreamPolicy::pause_until() const {
  if (active_syncs_ == 0 || state_.catching_up() || state_.stopping()) return Time::min();
  return last_sync_began_ + pacer_.spacing(kMaxSyncs);
}

StreamPolicy::Wait StreamPolicy::next_wait(const Pending& pending, Time now) {
  Wait wait;
  const auto no_later_than = [&](Time time) {
    wait.until = wait.until ? std::min(*wait.until, time) : time;
  };
  const auto sync = sync_wanted_at();
  if (sync && may_sync()) no_later_than(*sync);
  if (pending.wal && may_write()) no_later_than(disk_retry_at_);
  if (disputed_since_ && now < *disputed_since_ + kDisputePatience)
    no_later_than(*disputed_since_ + kDisputePatience);
  // Not woken for each piece that arrives before the next sync may start: all is read just then.
  const auto pause_ends = pause_until();
  const bool pauses = may_sync() && now < pause_ends;
  if (pauses) no_later_than(pause_ends);

  wait.reads = state_.may_read() && !pending.wal;
  wait.hears = wait.reads && !pauses;
  wait.needs_sync = !wait.reads || (sync && !may_sync());
  if (wait.reads)
    state_.on_listening(now);
  else
    state_.on_deaf();
  // While catching up, data accumulates: a single message is hardly worth waking up for.
  if (wait.hears && state_.catching_up()) {
    wait.gather = kGatherBytes;
    no_later_than(now + gather_time_);
  }
  return wait;
}

bool StreamPolicy::on_waited(const Wait& wait, bool heard) {
  const bool gathered = wait.gather > 1;
  gather_time_ = gathered && !heard ? std::min(2 * gather_time_, kGatherMost) : kGatherLeast;
  return wait.reads && (!wait.hears || gathered || heard);
}

bool StreamPolicy::wants_spare() {
  const auto& size = options_.segment_size;
  const auto segment = size.start_of(state_.write());
  if (spare_wanted_ == segment || state_.catching_up()) return false;
  if (size.offset(state_.write()) < size.bytes() / 16) return false;
  if (options_.endpos && *options_.endpos <= segment + size.bytes()) return false;
  spare_wanted_ = segment;
  return true;
}

/// To avoid waking the guardian twice in ten seconds, it is combined with a status that is due
/// anyway.
bool StreamPolicy::reports_progress(Time now) {
  const auto interval = options_.progress_interval;
  const auto early = interval >= kLeisurely ? interval / 2 : 0ms;
  if (next_progress_ && now < *next_progress_ - early) return false;
  next_progress_ = now + interval;
  return true;
}

// --- What comes from the disk --------------------------------------------------------------------

bool StreamPolicy::may_write() const {
  return !options_.one_segment_at_a_time || options_.segment_size.offset(state_.write()) != 0 ||
         state_.flush() == state_.write();
}

std::size_t StreamPolicy::most_to_write() const {
  if (!options_.one_segment_at_a_time) return std::numeric_limits<std::size_t>::max();
  return options_.segment_size.bytes() - options_.segment_size.offset(state_.write());
}

bool StreamPolicy::buffers_segments() const {
  return !options_.one_segment_at_a_time && state_.next_piece_is_there();
}

void StreamPolicy::on_write_begun(Time now) {
  on_disk_asked(now);
  writing_ = true;
}

void StreamPolicy::on_write_ended() { writing_ = false; }

StreamPolicy::Verdict StreamPolicy::on_written(wal::Lsn end, wal::Lsn buffered_end,
                                               const std::optional<Error>& error, Time now) {
  if (end != state_.write()) on_disk_moved(now);
  on_write_ended();
  state_.on_written(end, now, buffered_end);
  if (!error) {
    if (!disk_full_ || sync_waits_for_space_) return {};
    disk_full_ = false;
    return {.disk = DiskChange::space};
  }
  if (error->kind() == ErrorKind::disk_full && options_.on_disk_full == OnDiskFull::wait)
    return wait_for_space(now);
  state_.drop_unwritten();
  return {.decision = Decision::fail};
}

StreamPolicy::Verdict StreamPolicy::on_no_job(const Error& error, Time now) {
  // Written WAL cannot be made durable, and there is no alternative.
  if (error.kind() != ErrorKind::disk_full) return {.decision = Decision::fatal};
  // What syncs in progress cover remains to be acknowledged.
  if ((options_.on_disk_full == OnDiskFull::stop || stop_asked_) && active_syncs_ == 0) {
    give_up(error);
    return {.decision = Decision::abandon};
  }
  sync_waits_for_space_ = true;
  return wait_for_space(now);
}

/// The next attempt is made at disk_retry_at_.
StreamPolicy::Verdict StreamPolicy::wait_for_space(Time now) {
  const bool first = !std::exchange(disk_full_, true);
  if (first) disk_retry_wait_ = kDiskRetryFirst;
  disk_retry_at_ = now + disk_retry_wait_;
  disk_retry_wait_ = longer(disk_retry_wait_);
  return {.decision = Decision::wait, .disk = first ? DiskChange::full : DiskChange::none};
}

StreamPolicy::Sync StreamPolicy::on_sync_begun(wal::Lsn end, bool is_heavy, Time now) {
  Sync sync{.ticket = state_.on_sync_started(end),
            .is_heavy = is_heavy,
            .overlaps = is_heavy || pacer_.worth_overlapping(),
            .asks_delay = !is_heavy && pacer_.asks_delay(),
            .next_wait = kDiskRetryFirst};
  if (std::exchange(sync_waits_for_space_, false)) {
    disk_full_ = false;
    // A write was not needed if the segment was filled meanwhile: the sync will find out whether
    // there is space.
    sync.waits = is_heavy;
    if (sync.waits)
      ++syncs_without_space_;
    else
      sync.disk = DiskChange::space;
  }
  on_disk_asked(now);
  ++active_syncs_;
  last_sync_began_ = now;
  if (!sync.overlaps) inline_sync_ = InlineSync{sync.ticket, now};
  return sync;
}

void StreamPolicy::on_reader_back(const Sync& sync) {
  if (inline_sync_ && inline_sync_->ticket == sync.ticket) inline_sync_.reset();
}

StreamPolicy::Verdict StreamPolicy::on_sync_part(Sync& sync, const std::optional<Error>& error,
                                                 bool follows) {
  if (!error) {
    sync.next_wait = kDiskRetryFirst;
    if (!std::exchange(sync.waits, false) || --syncs_without_space_ != 0) return {};
    return {.disk = DiskChange::space};
  }
  if (error->kind() != ErrorKind::disk_full) {
    // (Also after a failed rename: the segment cannot be finished, so nothing after it may ever be
    // reported. The process cannot continue.)
    // What an abandoned sync left behind is received again, and so is what came after it. But a
    // sync of its own that has failed ends the process all the same: the pages count as clean, and
    // WAL that comes again and is equal is not written again (P6).
    const bool its_own = error->kind() == ErrorKind::durability && !follows;
    if (!state_.given_up() || its_own) return {.decision = Decision::fatal};
    --active_syncs_;
    return {.decision = Decision::ignore};
  }
  if (options_.on_disk_full == OnDiskFull::stop || stop_asked_) {
    --active_syncs_;
    return {.decision = Decision::abandon};
  }
  // Only one of several reports it.
  const bool first = !std::exchange(sync.waits, true) && ++syncs_without_space_ == 1;
  return {.decision = Decision::wait,
          .disk = first ? DiskChange::full : DiskChange::none,
          .wait = std::exchange(sync.next_wait, longer(sync.next_wait))};
}

bool StreamPolicy::on_sync_done(const Sync& sync, std::chrono::nanoseconds duration, Time now,
                                std::optional<std::chrono::nanoseconds> delay) {
  on_disk_moved(now);
  --active_syncs_;
  if (state_.given_up()) return false;
  if (!sync.is_heavy) pacer_.add(duration, delay);
  state_.on_sync_done(sync.ticket);
  return true;
}

void StreamPolicy::give_up(const Error& full) {
  if (state_.given_up()) return;
  state_.on_sync_given_up();
  if (!stop_asked_)
    static_cast<void>(fail(full));
  else if (outcome_.how == StreamOutcome::How::timeline_ended)
    outcome_.how = StreamOutcome::How::stopped;  // its last part is still available
}

// --- Keeping a disk from blocking the server -----------------------------------------------------

std::optional<Error> StreamPolicy::silence(Time now) const {
  if (!state_.silent_for_too_long(now)) return std::nullopt;
  return Error(ErrorKind::retry, "no message from the server for " +
                                     format_duration(options_.silence_limit) +
                                     ", not even a reply: the connection is considered broken");
}

bool StreamPolicy::reader_hangs(Time now) {
  if (!inline_sync_ || now < inline_sync_->since + kInlineSyncPatience) return false;
  inline_sync_.reset();
  return true;
}

Time StreamPolicy::guard_until(Time now) {
  auto until = state_.next_status_at();
  if (next_progress_) until = std::min(until, *next_progress_);
  if (inline_sync_) until = std::min(until, inline_sync_->since + kInlineSyncPatience);
  guard_rests_ = !std::exchange(disk_used_, false) && !waits_for_disk() && !asks_;
  if (!guard_rests_) until = std::min<Time>(until, now + kCareEvery);
  if (state_.discarding() && state_.drops_at() > now) until = std::min(until, state_.drops_at());
  return until;
}

bool StreamPolicy::wakes_guard() {
  disk_used_ = true;
  return std::exchange(guard_rests_, false);
}

StreamPolicy::ServerCare StreamPolicy::care_for_server(Time now) {
  if (disk_stuck_for(now) < patience()) return ServerCare::none;
  if (failed()) return std::exchange(closed_, true) ? ServerCare::none : ServerCare::close;
  if (state_.ended()) return ServerCare::none;  // the server sends no more
  if (state_.server_leaves(now)) return ServerCare::let_go;
  if (!state_.deaf() || state_.discarding()) return ServerCare::none;
  state_.begin_discarding(now);
  return ServerCare::discard;
}

StreamPolicy::ShutdownQuestion StreamPolicy::asks_about_shutdown(Time now) {
  const bool behind = state_.drops_at() > now;
  const bool asked = asks_;
  asks_ = !let_go_ && disk_stuck_for(now) >= (behind || asked ? kAsksBehind : kAsksAnyway);
  if (asks_) return ShutdownQuestion::ask;
  return asked ? ShutdownQuestion::no_more : ShutdownQuestion::none;
}

/// A server that shuts down waits until its receivers have confirmed everything. While we are
/// stuck, and answer anyway (P8), it would wait forever: that does more harm than ending a useless
/// connection. The server still has unconfirmed WAL after its restart.
std::optional<Error> StreamPolicy::let_go() {
  asks_ = false;
  if (std::exchange(let_go_, true)) return std::nullopt;
  return Error(ErrorKind::retry, "the server is shutting down");
}

std::chrono::nanoseconds StreamPolicy::disk_stuck_for(Time now) const {
  return waits_for_disk() ? now - disk_moved_at_ : std::chrono::nanoseconds(0);
}

std::chrono::nanoseconds StreamPolicy::patience() const {
  return std::clamp(2 * longest_pause_, kLeastPatience, kMostPatience);
}

void StreamPolicy::on_disk_asked(Time now) {
  if (!waits_for_disk()) disk_moved_at_ = now;
}

/// A longer time is not counted as a pause.
void StreamPolicy::on_disk_moved(Time now) {
  const auto pause = disk_stuck_for(now);
  if (pause <= kMostPatience) longest_pause_ = std::max(longest_pause_, pause);
  disk_moved_at_ = now;
}

// --- How it ends ---------------------------------------------------------------------------------

StreamPolicy::Decision StreamPolicy::fail(const Error& error) {
  if (error.kind() == ErrorKind::durability) return Decision::fatal;
  if (failed()) return Decision::go_on;
  outcome_.how = StreamOutcome::How::failed;
  outcome_.error = error;
  state_.on_end_of_stream();
  return Decision::fail;
}

StreamOutcome StreamPolicy::outcome() const {
  auto outcome = outcome_;
  if (outcome.how == StreamOutcome::How::stopped && state_.discarding() && !state_.stopping())
    outcome.how = StreamOutcome::How::dropped;
  if (outcome.how == StreamOutcome::How::stopped && left_ && !stop_asked_)
    outcome.how = StreamOutcome::How::left;
  outcome.heard_anything = state_.heard_anything();
  outcome.stop_asked = stop_asked_;
  outcome.reached = state_.write();
  return outcome;
}

StreamPolicy::Parting StreamPolicy::parting() const {
  const auto end = outcome();
  switch (end.how) {
    case StreamOutcome::How::stopped:
    case StreamOutcome::How::left:
    case StreamOutcome::How::dropped:
      return Parting::finish;
    case StreamOutcome::How::timeline_ended:
      return Parting::none;
    case StreamOutcome::How::failed:
      // A server that lacks the next WAL accepts commands again.
      return end.error->kind() == ErrorKind::gap ? Parting::none : Parting::let_go;
  }
  return Parting::none;
}

/// Everything is durable and reported, so a server that does not answer changes nothing; but if WAL
/// was dropped, the stream must continue over this connection.
void StreamPolicy::on_not_finished(const Error& error) {
  if (outcome().how == StreamOutcome::How::dropped) static_cast<void>(fail(error));
}

}  // namespace weir::receive
