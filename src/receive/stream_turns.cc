#include "receive/stream_turns.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds kDiskRetryFirst = 100ms;
constexpr milliseconds kDiskRetryMost = 5'000ms;
/// For the rest of a record that differs from the archive's and ends the server's WAL.
constexpr auto kDisputePatience = 10'000ms;
constexpr std::chrono::nanoseconds kLeastPatience = 1s;
constexpr std::chrono::nanoseconds kMostPatience = 5s;

milliseconds longer(milliseconds wait) { return std::min(wait * 2, kDiskRetryMost); }

}  // namespace

void StreamTurns::request_stop() {
  stop_asked_ = true;
  state_.request_stop();
}

void StreamTurns::on_end_of_stream(const pq::EndOfStream& end) {
  if (!end.next) {
    static_cast<void>(fail(Error(ErrorKind::retry, "the server ended the stream: it shuts down")));
    return;
  }
  if (!state_.discarding()) {
    outcome_.how = StreamOutcome::How::timeline_ended;
    outcome_.next = end.next;
  } else if (!state_.stopping()) {
    outcome_.how = StreamOutcome::How::dropped;  // what was dropped of it is still to be had
  }
  state_.on_end_of_stream();
}

// --- What is done next ---------------------------------------------------------------------------

StreamTurns::Turn StreamTurns::next(const Held& held, Time now) {
  if (held.disputed) return next_of_dispute(now);
  if (!held.wal) return next();
  // (A timeline that ended while WAL was dropped is asked for again when there is space, not
  // before.)
  const bool waits = outcome_.how == StreamOutcome::How::dropped && !stop_asked_;
  if (state_.stopping() && ((disk_full_ && !waits) || state_.given_up())) {
    state_.drop_unwritten();
    return Turn::drop;
  }
  return may_write() && now >= disk_retry_at_ ? Turn::write : Turn::wait;
}

/// WAL that differs from the archive's is checked to the end of the record it lies in, unless there
/// is no such end to be waited for.
StreamTurns::Turn StreamTurns::next_of_dispute(Time now) {
  if (stop_asked_) {
    state_.drop_unwritten();
    return Turn::drop;  // the next start will meet it again
  }
  if (!disputed_since_) disputed_since_ = now;
  // A server may end in the middle of a record, and have the rest in a moment.
  const bool more_may_come =
      state_.received() < state_.server_end() || now < *disputed_since_ + kDisputePatience;
  if (state_.may_read() && more_may_come) return Turn::read;
  state_.drop_unwritten();
  return Turn::settle;
}

std::optional<Time> StreamTurns::sync_at() const {
  return may_sync() ? sync_wanted_at() : std::nullopt;
}

/// As sync_at(), were there no bound to their number.
std::optional<Time> StreamTurns::sync_wanted_at() const {
  const auto due = state_.sync_due_at();
  if (!due) return std::nullopt;
  // (To be told to stop, and nothing under way: it is given up at once.)
  const bool patient = sync_waits_for_space_ && !(stop_asked_ && active_syncs_ == 0);
  return std::max({*due, pause_until(), patient ? disk_retry_at_ : Time::min()});
}

/// Where syncs overlap, none begins right behind the one before it; what comes meanwhile goes
/// with it.
Time StreamTurns::pause_until() const {
  if (active_syncs_ == 0 || state_.catching_up() || state_.stopping()) return Time::min();
  return last_sync_began_ + pacer_.spacing(kMaxSyncs);
}

StreamTurns::Rest StreamTurns::rest(const Held& held, Time now) {
  Rest rest;
  const auto no_later_than = [&](Time time) {
    rest.until = rest.until ? std::min(*rest.until, time) : time;
  };
  const auto sync = sync_wanted_at();
  if (sync && may_sync()) no_later_than(*sync);
  if (held.wal && may_write()) no_later_than(disk_retry_at_);
  if (disputed_since_ && now < *disputed_since_ + kDisputePatience)
    no_later_than(*disputed_since_ + kDisputePatience);
  // Not woken for each piece that comes before the next sync may begin: all is read just then.
  const auto pause_ends = pause_until();
  const bool pauses = may_sync() && now < pause_ends;
  if (pauses) no_later_than(pause_ends);

  rest.reads = state_.may_read() && !held.wal;
  rest.hears = rest.reads && !pauses;
  rest.needs_sync = !rest.reads || (sync && !may_sync());
  if (rest.reads)
    state_.on_listening(now);
  else
    state_.on_deaf();
  return rest;
}

// --- What comes from the disk --------------------------------------------------------------------

bool StreamTurns::may_write() const {
  return !options_.stock_habits || options_.segment_size.offset(state_.write()) != 0 ||
         state_.flush() == state_.write();
}

std::size_t StreamTurns::most_to_write() const {
  if (!options_.stock_habits) return std::numeric_limits<std::size_t>::max();
  return options_.segment_size.bytes() - options_.segment_size.offset(state_.write());
}

bool StreamTurns::collects() const {
  return !options_.stock_habits && state_.next_segment_is_there();
}

void StreamTurns::on_write_begun(Time now) {
  on_disk_asked(now);
  writing_ = true;
}

void StreamTurns::on_write_ended() { writing_ = false; }

StreamTurns::Verdict StreamTurns::on_written(wal::Lsn end, wal::Lsn collected_end,
                                             const std::optional<Error>& error, Time now) {
  if (end != state_.write()) on_disk_moved(now);
  on_write_ended();
  state_.on_written(end, now, collected_end);
  if (!error) {
    if (!disk_full_ || sync_waits_for_space_) return {};
    disk_full_ = false;
    return {.news = News::space};
  }
  if (error->kind() == ErrorKind::disk_full && options_.on_disk_full == OnDiskFull::wait)
    return wait_for_space(now);
  state_.drop_unwritten();
  return {.what = What::fail};
}

StreamTurns::Verdict StreamTurns::on_no_job(const Error& error, Time now) {
  // What is written cannot be made durable, and no other way leads there.
  if (error.kind() != ErrorKind::disk_full) return {.what = What::lost};
  // What syncs cover that are under way stays to be acknowledged.
  if ((options_.on_disk_full == OnDiskFull::stop || stop_asked_) && active_syncs_ == 0) {
    give_up(error);
    return {.what = What::give_up};
  }
  sync_waits_for_space_ = true;
  return wait_for_space(now);
}

/// The next attempt is made at disk_retry_at_.
StreamTurns::Verdict StreamTurns::wait_for_space(Time now) {
  const bool first = !std::exchange(disk_full_, true);
  if (first) disk_retry_wait_ = kDiskRetryFirst;
  disk_retry_at_ = now + disk_retry_wait_;
  disk_retry_wait_ = longer(disk_retry_wait_);
  return {.what = What::wait, .news = first ? News::full : News::none};
}

StreamTurns::Sync StreamTurns::on_sync_begun(wal::Lsn end, bool publishes, Time now) {
  Sync sync{.ticket = state_.on_sync_started(end),
            .publishes = publishes,
            .overlaps = publishes || pacer_.worth_overlapping(),
            .next_wait = kDiskRetryFirst};
  if (std::exchange(sync_waits_for_space_, false)) {
    disk_full_ = false;
    // What filled the segment in the meantime spared the write: the sync sees whether there is
    // space.
    sync.waits = publishes;
    if (sync.waits)
      ++syncs_without_space_;
    else
      sync.news = News::space;
  }
  on_disk_asked(now);
  ++active_syncs_;
  last_sync_began_ = now;
  return sync;
}

StreamTurns::Verdict StreamTurns::on_sync_part(Sync& sync, const std::optional<Error>& error) {
  if (!error) {
    sync.next_wait = kDiskRetryFirst;
    if (!std::exchange(sync.waits, false) || --syncs_without_space_ != 0) return {};
    return {.news = News::space};
  }
  if (error->kind() != ErrorKind::disk_full) {
    // (Also a rename that failed: the segment cannot be finished, so nothing after it may ever be
    // reported. There is no way on from here.)
    if (!state_.given_up()) return {.what = What::lost};
    --active_syncs_;
    return {.what = What::forget};  // it waited for one that was given up
  }
  if (options_.on_disk_full == OnDiskFull::stop || stop_asked_) {
    --active_syncs_;
    return {.what = What::give_up};
  }
  // One of several tells it.
  const bool first = !std::exchange(sync.waits, true) && ++syncs_without_space_ == 1;
  return {.what = What::wait,
          .news = first ? News::full : News::none,
          .wait = std::exchange(sync.next_wait, longer(sync.next_wait))};
}

bool StreamTurns::on_sync_done(const Sync& sync, std::chrono::nanoseconds duration, Time now) {
  on_disk_moved(now);
  --active_syncs_;
  if (state_.given_up()) return false;
  if (!sync.publishes) pacer_.add(duration);
  state_.on_sync_done(sync.ticket);
  return true;
}

void StreamTurns::give_up(const Error& full) {
  if (state_.given_up()) return;
  state_.on_sync_given_up();
  if (!stop_asked_)
    static_cast<void>(fail(full));
  else if (outcome_.how == StreamOutcome::How::timeline_ended)
    outcome_.how = StreamOutcome::How::stopped;  // its last part is still to be had
}

// --- That nobody is held up by a disk ------------------------------------------------------------

StreamTurns::Care StreamTurns::care(Time now) {
  if (disk_stuck_for(now) < patience()) return Care::none;
  if (failed()) return std::exchange(closed_, true) ? Care::none : Care::close;
  if (state_.ended()) return Care::none;  // the server sends no more
  if (state_.server_leaves(now)) return Care::let_go;
  if (!state_.deaf() || state_.discarding()) return Care::none;
  state_.begin_discarding(now);
  return Care::discard;
}

std::chrono::nanoseconds StreamTurns::disk_stuck_for(Time now) const {
  return waits_for_disk() ? now - disk_moved_at_ : std::chrono::nanoseconds(0);
}

std::chrono::nanoseconds StreamTurns::patience() const {
  return std::clamp(2 * longest_pause_, kLeastPatience, kMostPatience);
}

void StreamTurns::on_disk_asked(Time now) {
  if (!waits_for_disk()) disk_moved_at_ = now;
}

/// What takes longer is no pause.
void StreamTurns::on_disk_moved(Time now) {
  const auto pause = disk_stuck_for(now);
  if (pause <= kMostPatience) longest_pause_ = std::max(longest_pause_, pause);
  disk_moved_at_ = now;
}

// --- How it ends ---------------------------------------------------------------------------------

StreamTurns::What StreamTurns::fail(const Error& error) {
  if (error.kind() == ErrorKind::durability) return What::lost;
  if (failed()) return What::go_on;
  outcome_.how = StreamOutcome::How::failed;
  outcome_.error = error;
  state_.on_end_of_stream();
  return What::fail;
}

StreamOutcome StreamTurns::outcome() const {
  auto outcome = outcome_;
  if (outcome.how == StreamOutcome::How::stopped && state_.discarding() && !state_.stopping())
    outcome.how = StreamOutcome::How::dropped;
  outcome.heard_anything = state_.heard_anything();
  outcome.reached = state_.write();
  return outcome;
}

}  // namespace weir::receive
