#include "receive/stream_loop.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <system_error>
#include <utility>

#include "base/units.h"
#include "io/pages.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// More than four overlapping syncs gain nothing on any disk tried.
constexpr std::size_t kMaxSyncs = 4;
constexpr auto kDiskRetryFirst = 100ms;
constexpr auto kDiskRetryMost = 5'000ms;
/// A sync in the reading thread that takes this long has become a slow one after all.
constexpr auto kInlineSyncPatience = 500ms;
constexpr auto kFinishTimeout = 5'000ms;

Time now() { return std::chrono::steady_clock::now(); }

/// poll()'s timeout in ms until `deadline`, rounded up so that it does not wake too early.
int poll_timeout(std::optional<Time> deadline) {
  if (!deadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

}  // namespace

StreamLoop::StreamLoop(pq::ReplicationStream& stream, StreamState& state,
                       archive::SegmentWriter& writer, Intake& intake, const Options& options,
                       wal::SegmentSize segment_size, pq::Interrupt& interrupt, Log& log,
                       Hooks hooks)
    : stream_(stream),
      state_(state),
      writer_(writer),
      intake_(intake),
      options_(options),
      segment_size_(segment_size),
      interrupt_(interrupt),
      log_(log),
      hooks_(std::move(hooks)) {}

StreamLoop::~StreamLoop() {
  for (auto& thread : threads_)
    if (thread.joinable()) thread.join();
}

StreamOutcome StreamLoop::run() {
  {
    Lock lock(mutex_);
    threads_.emplace_back([this] { work(); });
    guard(lock);
  }
  for (auto& thread : threads_) thread.join();
  threads_.clear();

  if (outcome_.how == StreamOutcome::How::stopped) {
    // Everything is durable and reported. A server that does not answer the good-bye changes
    // nothing of that.
    try {
      stream_.finish(kFinishTimeout);
    } catch (const Error& error) {
      log_.debug("while ending the stream: {}", error.what());
    }
  }
  outcome_.heard_anything = state_.heard_anything();
  outcome_.reached = state_.write();
  return outcome_;
}

// --- The guardian
StreamSnapshot StreamLoop::snapshot() {
  const Lock lock(mutex_);
  return state_.snapshot();
}

// ---------------------------------------------------------------------------------

void StreamLoop::guard(Lock& lock) {
  auto next_tick = now();
  // Not to be woken twice in ten seconds, a tick comes along with a status that is due anyway.
  const auto early = hooks_.tick_interval >= 5s ? hooks_.tick_interval / 2 : 0ms;
  bool stop_seen = false;
  while (!over_) {
    if (now() >= next_tick - early) {
      next_tick = now() + hooks_.tick_interval;
      release_memory(lock);
      if (hooks_.tick) {
        const auto snapshot = state_.snapshot();
        lock.unlock();
        hooks_.tick(snapshot);
        lock.lock();
      }
    }
    auto deadline = std::min(next_tick, state_.next_status_at());
    if (leader_inline_sync_)
      deadline = std::min(deadline, inline_sync_since_ + kInlineSyncPatience);
    std::array<pollfd, 2> fds{
        {{guardian_wake_.fd(), POLLIN, 0}, {stop_seen ? -1 : interrupt_.fd(), POLLIN, 0}}};
    lock.unlock();
    ::poll(fds.data(), fds.size(), poll_timeout(deadline));
    guardian_waits_ = true;
    lock.lock();
    guardian_waits_ = false;
    if (fds[0].revents != 0) guardian_wake_.clear();
    if (over_) break;
    if (!stop_seen && fds[1].revents != 0) {
      stop_seen = true;
      log_.info("stopping: what was received is made durable and reported first");
      state_.request_stop();
      wake_leader();
    }
    if (state_.silent_for_too_long(now()))
      fail(Error(ErrorKind::retry, "no message from the server for " +
                                       format_duration(options_.silence_limit) +
                                       ", not even an answer: the connection counts as dead"));
    if (leader_inline_sync_ && now() >= inline_sync_since_ + kInlineSyncPatience) {
      // The reading thread hangs in a sync that used to be quick: let another one read.
      leader_inline_sync_ = false;
      hand_over();
      followers_.notify_one();
    }
    guarded(lock, [&] { send_due_status(); });
    finish_if_done();
  }
  followers_.notify_all();
  wake_leader();
}

/// Once after WAL has come and then none for a while.
void StreamLoop::release_memory(Lock& lock) {
  const auto position = state_.write();
  if (std::exchange(seen_position_, position) != position) {
    memory_released_ = false;
    return;
  }
  if (std::exchange(memory_released_, true)) return;
  lock.unlock();
  io::release_unused_memory();
  lock.lock();
}

// --- Leader and followers
// -------------------------------------------------------------------------

void StreamLoop::work() {
  Lock lock(mutex_);
  while (!over_) {
    ++idle_followers_;
    followers_.wait(lock, [&] { return over_ || !leading_; });
    --idle_followers_;
    if (over_) return;
    leading_ = true;
    const auto term = ++term_;
    lead(lock, term);
  }
}

/// Reads, checks, writes and starts syncs until another thread leads or all is over.
void StreamLoop::lead(Lock& lock, std::uint64_t term) {
  while (!over_ && term == term_ && leading_) {
    // A mutex is not fair: a server that never pauses would keep the guardian out, and with it the
    // stop signal.
    while (guardian_waits_) {
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
    }
    if (over_ || term != term_) return;
    bool idle = true;
    guarded(lock, [&] {
      if (intake_.holds_something() && state_.stopping() && (disk_full_ || state_.given_up()))
        drop_held();
      if (intake_.holds_something()) {
        if (may_write() && now() >= disk_retry_at_) {
          write_held(lock);
          // More may have been read from the socket before: it would not wake us for that.
          idle = intake_.holds_something();
        }
      } else if (state_.may_read()) {
        idle = !take_message(lock);
      }
    });
    if (over_) return;
    // What has been read already is written first: one sync for all of it. (It is not much: nothing
    // is read from the socket before the sync.)
    if ((idle || state_.catching_up()) && sync_if_due(lock, term)) {
      if (term != term_) return;  // another thread leads since
      continue;
    }
    guarded(lock, [&] { send_due_status(); });
    finish_if_done();
    if (idle && !over_) {
      ask_for_spare();
      wait_for_events(lock);
    }
  }
}

/// A spare segment is prepared in good time, but not while catching up: then blocks are better
/// reserved than written twice.
void StreamLoop::ask_for_spare() {
  const auto segment = segment_size_.start_of(state_.write());
  if (!hooks_.want_spare || spare_asked_ == segment || state_.catching_up()) return;
  if (segment_size_.offset(state_.write()) < segment_size_.bytes() / 16) return;
  spare_asked_ = segment;
  if (!writer_.spare_ready()) hooks_.want_spare();
}

/// One message of what has been received. False if there is none.
bool StreamLoop::take_message(Lock& lock) {
  const auto event = stream_.next();
  if (const auto* data = std::get_if<pq::XLogData>(&event)) {
    accept(*data, lock);
    return true;
  }
  if (const auto* keepalive = std::get_if<pq::Keepalive>(&event)) {
    state_.on_keepalive(*keepalive, now());
    return true;
  }
  if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
    if (end->next) {
      outcome_.how = StreamOutcome::How::timeline_ended;
      outcome_.next = end->next;
      state_.on_end_of_stream();
    } else {
      fail(Error(ErrorKind::retry, "the server ended the stream: it shuts down"));
    }
    return true;
  }
  return false;
}

void StreamLoop::accept(const pq::XLogData& data, Lock& lock) {
  state_.on_wal(data, now());
  lock.unlock();
  try {
    intake_.accept(data.wal);
  } catch (...) {
    lock.lock();
    state_.drop_unwritten();
    throw;
  }
  lock.lock();
  if (may_write()) write_held(lock);
}

/// One segment after the other, if asked for: the next one is begun when the last has its name.
bool StreamLoop::may_write() const {
  return !options_.stock_habits || segment_size_.offset(state_.write()) != 0 ||
         state_.flush() == state_.write();
}

void StreamLoop::write_held(Lock& lock) {
  state_.on_deaf();  // it may hang
  const auto most = options_.stock_habits
                        ? segment_size_.bytes() - segment_size_.offset(state_.write())
                        : std::numeric_limits<std::size_t>::max();
  writer_.collect_new_segments(!options_.stock_habits && state_.next_segment_is_there());
  lock.unlock();
  std::optional<Error> full;
  std::exception_ptr other;
  try {
    intake_.write(most);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::disk_full)
      full = error;
    else
      other = std::current_exception();
  }
  lock.lock();
  state_.on_written(writer_.position(), now(), writer_.collected_end());
  if (other) {
    drop_held();
    std::rethrow_exception(other);
  }
  if (full && options_.on_disk_full == OnDiskFull::stop) {
    drop_held();
    throw *full;
  }
  if (full) {
    if (!disk_full_) {
      log_.error(
          full->hint("The connection is kept and nothing is lost: the upstream keeps the "
                     "WAL that was not confirmed. Make room; archiving goes on by itself."));
      disk_retry_wait_ = kDiskRetryFirst;
      if (hooks_.disk_full) hooks_.disk_full(true);
    }
    disk_full_ = true;
    disk_retry_at_ = now() + disk_retry_wait_;
    disk_retry_wait_ = std::min<std::chrono::milliseconds>(disk_retry_wait_ * 2, kDiskRetryMost);
    return;
  }
  if (disk_full_) {
    disk_full_ = false;
    log_.info("there is space again: archiving goes on at {}", state_.write());
    if (hooks_.disk_full) hooks_.disk_full(false);
  }
}

/// What could not be written was never acknowledged: the server still has it.
void StreamLoop::drop_held() {
  intake_.drop();
  state_.drop_unwritten();
}

/// True if a sync was started (and, unless another thread leads now, done).
bool StreamLoop::sync_if_due(Lock& lock, std::uint64_t term) {
  const auto due = state_.sync_due_at();
  if (!due || *due > now() || active_syncs_ >= kMaxSyncs || state_.given_up()) return false;
  std::unique_ptr<archive::SyncJob> job;
  try {
    job = writer_.take_sync_job();
  } catch (const Error& error) {
    // What is written cannot be made durable, and no other way leads there.
    hooks_.durability_lost(error);
    std::terminate();
  }
  if (!job) return false;
  const auto ticket = state_.on_sync_started(job->end());
  ++active_syncs_;

  const bool here = !job->publishes() && !pacer_.worth_overlapping();
  const auto end = job->end();
  state_.on_deaf();  // until another one leads, or this one is back
  if (here) {
    leader_inline_sync_ = true;
    inline_sync_since_ = now();
  } else {
    hand_over();
  }
  sync(std::move(job), ticket, lock);
  if (here && term == term_) leader_inline_sync_ = false;
  if (!pacer_.quick()) {
    bool arrived = state_.received() > end;
    if (!arrived && here && term == term_ && !over_) {
      pollfd fd{stream_.socket(), POLLIN, 0};
      arrived = ::poll(&fd, 1, 0) > 0;
    }
    pacer_.add_arrival(arrived);
  }
  return true;
}

/// Even a new name may need space, and a segment that is compressed straight from memory does.
template <typename Function>
void StreamLoop::with_patience(Function&& function) {
  for (std::chrono::milliseconds wait = kDiskRetryFirst;;) {
    try {
      function();
      if (job_waits_for_space_.exchange(false) && hooks_.disk_full) hooks_.disk_full(false);
      return;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::disk_full || options_.on_disk_full == OnDiskFull::stop ||
          interrupt_.raised())
        throw;
      if (!job_waits_for_space_.exchange(true)) {  // one of several tells it
        log_.error(error);
        if (hooks_.disk_full) hooks_.disk_full(true);
      }
    }
    pollfd stop{interrupt_.fd(), POLLIN, 0};
    ::poll(&stop, 1, static_cast<int>(wait.count()));
    wait = std::min<std::chrono::milliseconds>(wait * 2, kDiskRetryMost);
  }
}

/// Runs a job outside the lock and reports what it gained.
void StreamLoop::sync(std::unique_ptr<archive::SyncJob> job, StreamState::Ticket ticket,
                      Lock& lock) {
  std::vector<wal::SegmentName> finished;
  std::chrono::nanoseconds duration{};
  const bool handed_over = !leading_;
  lock.unlock();
  // Not before: who is woken while the lock is held would only sleep again.
  if (handed_over) followers_.notify_one();
  std::optional<Error> full;
  try {
    const auto begin = now();
    bool synced = false;
    try {
      with_patience([&] { job->sync_data(); });
      synced = true;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::disk_full) throw;
      full = error;
    }
    duration = now() - begin;
    if (synced) with_patience([&] { finished = job->publish(); });
  } catch (const Error& error) {
    lock.lock();
    // A job that waited for one that was given up.
    if (state_.given_up()) {
      --active_syncs_;
      return;
    }
    lock.unlock();
    // Also a rename that failed: the segment cannot be finished, so nothing after it may ever be
    // reported. There is no way on from here.
    hooks_.durability_lost(error);
    std::terminate();
  }
  lock.lock();
  --active_syncs_;
  if (full) {
    give_up(std::move(job), ticket, *full, lock);
    return;
  }
  if (state_.given_up()) return;
  if (!job->publishes()) pacer_.add(duration);
  state_.on_sync_done(ticket);
  sync_ended_.notify_all();
  guarded(lock, [&] { send_due_status(); });
  finish_if_done();
  if (leader_needs_syncs_) wake_leader();
  if (!finished.empty() && hooks_.segments_finished) {
    lock.unlock();
    hooks_.segments_finished(finished);
    lock.lock();
  }
}

/// There is no space for what this job was to write, and nobody wants to wait for it any longer.
/// What was synced before stays acknowledged.
void StreamLoop::give_up(std::unique_ptr<archive::SyncJob> job, StreamState::Ticket ticket,
                         const Error& full, Lock& lock) {
  sync_ended_.wait(lock, [&] { return state_.given_up() || state_.is_oldest(ticket); });
  if (!state_.given_up()) {
    state_.on_sync_given_up();
    sync_ended_.notify_all();
    if (!interrupt_.raised())
      fail(full);
    else if (outcome_.how == StreamOutcome::How::timeline_ended)
      outcome_.how = StreamOutcome::How::stopped;  // its last part is still to be had
  }
  job = nullptr;  // those that wait for it give up, too
  finish_if_done();
  wake_leader();
}

/// Lets a follower lead; makes one if none is free. The caller goes on without the lead, and
/// notifies a follower.
void StreamLoop::hand_over() {
  if (over_) return;
  ++term_;
  leading_ = false;
  if (idle_followers_ == 0 && threads_.size() < kMaxSyncs + 1) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      // The machine has no thread left for us. Then whoever is done first leads.
      log_.debug("could not start a thread: {}", error.what());
    }
  }
}

void StreamLoop::wait_for_events(Lock& lock) {
  std::optional<Time> deadline;
  const bool may_sync = active_syncs_ < kMaxSyncs;
  const auto due = state_.sync_due_at();
  if (due && may_sync) deadline = *due;
  if (intake_.holds_something() && may_write())
    deadline = deadline ? std::min(*deadline, disk_retry_at_) : disk_retry_at_;

  const bool reading = state_.may_read() && !intake_.holds_something();
  if (reading)
    state_.on_listening(now());
  else
    state_.on_deaf();
  const short interest = static_cast<short>((reading ? POLLIN : 0) | (unsent_ ? POLLOUT : 0));
  std::array<pollfd, 2> fds{
      {{leader_wake_.fd(), POLLIN, 0}, {interest ? stream_.socket() : -1, interest, 0}}};
  leader_needs_syncs_ = !reading || (due && !may_sync);
  lock.unlock();
  ::poll(fds.data(), fds.size(), poll_timeout(deadline));
  lock.lock();
  leader_needs_syncs_ = false;
  if (fds[0].revents != 0) leader_wake_.clear();
  if (over_) return;
  guarded(lock, [&] {
    if (unsent_ && fds[1].revents != 0) unsent_ = !stream_.flush();
    if (reading && fds[1].revents != 0) stream_.receive();
  });
}

void StreamLoop::send_due_status() {
  if (outcome_.how == StreamOutcome::How::failed || (hooks_.mute && *hooks_.mute)) return;
  if (const auto status = state_.take_status(now())) {
    stream_.send(*status);
    unsent_ = !stream_.flush();
    if (unsent_) wake_leader();
  }
}

/// Runs `function`; what it throws ends the stream, not the thread. The lock is held afterwards.
template <typename Function>
void StreamLoop::guarded(Lock& lock, Function&& function) {
  try {
    function();
  } catch (const pq::ServerError& error) {
    if (!lock.owns_lock()) lock.lock();
    fail(error, error.sqlstate());
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    fail(error);
  }
}

/// The stream ends with this error; what was received before is still made durable.
void StreamLoop::fail(const Error& error, const std::string& sqlstate) {
  if (outcome_.how == StreamOutcome::How::failed) return;
  if (error.kind() == ErrorKind::durability) hooks_.durability_lost(error);
  outcome_.how = StreamOutcome::How::failed;
  outcome_.error = error;
  outcome_.sqlstate = sqlstate;
  state_.on_end_of_stream();
  wake_leader();
}

void StreamLoop::finish_if_done() {
  if (over_ || !state_.finished()) return;
  over_ = true;
  followers_.notify_all();
  guardian_wake_.raise();
}

void StreamLoop::wake_leader() { leader_wake_.raise(); }

}  // namespace weir::receive
