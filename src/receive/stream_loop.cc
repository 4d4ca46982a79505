#include "receive/stream_loop.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/error.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr auto kFinishTimeout = 5'000ms;

}  // namespace

/// Unlocks the mutex, which its thread holds, and locks it again when destroyed, even after an
/// exception.
class StreamLoop::Unlocked {
 public:
  explicit Unlocked(StreamLoop& loop) : mutex_(*loop.mutex_) { mutex_.unlock(); }
  /// The mutex of a process that is over may throw, but only if no exception is active.
  ~Unlocked() noexcept(false) { mutex_.lock(); }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  Threads::Mutex& mutex_;
};

StreamLoop::StreamLoop(const Parts& parts, Hooks hooks)
    : stream_(parts.stream),
      state_(parts.state),
      policy_(parts.policy),
      writer_(parts.writer),
      intake_(parts.intake),
      spare_(parts.spare),
      shutdown_watch_(parts.shutdown_watch),
      machine_(parts.machine),
      stop_(parts.stop),
      feed_(parts.feed),
      alarms_(parts.alarms),
      log_(parts.log),
      compression_(parts.compression),
      hooks_(std::move(hooks)),
      mutex_(machine_.threads().make_mutex()),
      sync_ended_(machine_.threads().make_condition()),
      leader_wake_(machine_.make_wake_up()),
      guardian_wake_(machine_.make_wake_up()),
      statuses_({.stream = stream_,
                 .state = state_,
                 .policy = policy_,
                 .machine = machine_,
                 .feed = feed_,
                 .log = log_,
                 .mute = alarms_.mute(),
                 .downstream = parts.downstream,
                 .store = parts.store,
                 .news = *guardian_wake_}),
      workers_(machine_.threads(), kMaxSyncs + 1, log_, [this] { work(); }) {}

StreamLoop::~StreamLoop() = default;

StreamOutcome StreamLoop::run() {
  {
    const Lock lock(*mutex_);
    workers_.start();
    try {
      guard();
    } catch (...) {  // not an Error, such as std::bad_alloc: the threads would never end
      workers_.end();
      wake_leader();
      stream_.let_go();  // the disk may hang, and the server is not to wait for it
      throw;
    }
  }
  workers_.join();

  part();
  return policy_.outcome();
}

void StreamLoop::part() {
  if (policy_.parting() == StreamPolicy::Parting::finish) {
    try {
      stream_.finish(kFinishTimeout);
    } catch (const Error& error) {
      log_.debug("while ending the stream: {}", error.what());
      policy_.on_not_finished(error);
    }
  }
  if (policy_.parting() == StreamPolicy::Parting::let_go) stream_.let_go();
}

void StreamLoop::leave() {
  const Lock lock(*mutex_);
  policy_.request_leave();
  wake_leader();
}

std::chrono::milliseconds StreamLoop::silent_for() {
  const Lock lock(*mutex_);
  return state_.silent_for(now());
}

std::chrono::milliseconds StreamLoop::idle_for() {
  const Lock lock(*mutex_);
  return state_.idle_for(now());
}

void StreamLoop::abandon_if_silent_for(std::chrono::milliseconds least, const Error& error) {
  const Lock lock(*mutex_);
  if (!workers_.over() && state_.silent_for(now()) >= least) fail(error);
}

bool StreamLoop::abandon_if_idle_for(std::chrono::milliseconds least, const Error& error) {
  const Lock lock(*mutex_);
  if (workers_.over() || state_.idle_for(now()) < least) return false;
  fail(error);
  return true;
}

StreamSnapshot StreamLoop::snapshot() {
  const Lock lock(*mutex_);
  return state_.snapshot();
}

// --- The guardian --------------------------------------------------------------------------------

void StreamLoop::guard() {
  bool stop_seen = false;
  while (!workers_.over()) {
    report_progress();
    release_memory();
    if (workers_.over()) break;
    const auto begin = now();
    const auto deadline = policy_.guard_until(begin);
    const bool discards = state_.discarding() && !state_.ended();
    const bool sends = statuses_.unsent() && (discards || state_.deaf());  // no other thread does
    const short interest = static_cast<short>(
        (discards && state_.drops_at() <= begin ? POLLIN : 0) | (sends ? POLLOUT : 0));
    std::array<pollfd, 3> fds{{{guardian_wake_->fd(), POLLIN, 0},
                               {stop_seen ? -1 : stop_.fd(), POLLIN, 0},
                               {interest ? stream_.socket() : -1, interest, 0}}};
    {
      const Unlocked unlocked(*this);
      machine_.poll(fds, deadline);
      guardian_waits_ = true;
    }
    guardian_waits_ = false;
    policy_.on_guard_woken();
    if (fds[0].revents != 0) guardian_wake_->clear();
    if (workers_.over()) break;
    if (!stop_seen && fds[1].revents != 0) {
      stop_seen = true;
      log_.info("stopping: flushing and confirming received WAL first");
      policy_.request_stop();
      wake_leader();
    }
    if (statuses_.unsent() && fds[2].revents != 0) statuses_.flush();
    if (const auto dead = policy_.silence(now())) fail(*dead);
    care_for_server();
    if (policy_.reader_hangs(now())) {
      workers_.pass_lead();
      workers_.wake_one();
    }
    guarded([&] { send_due_status(); });
    finish_if_done();
  }
  wake_leader();
}

void StreamLoop::report_progress() {
  if (!policy_.reports_progress(now())) return;
  const auto snapshot = state_.snapshot();
  const Unlocked unlocked(*this);
  feed_.publish(event::Progress{snapshot});
}

/// Keeps our disk from blocking the server (P13).
void StreamLoop::care_for_server() {
  switch (policy_.care_for_server(now())) {
    case StreamPolicy::ServerCare::discard:
      guarded([&] { begin_discarding(); });
      break;
    case StreamPolicy::ServerCare::let_go:
      let_go_of_a_leaving_server();
      break;
    case StreamPolicy::ServerCare::close:
      stream_.let_go();
      break;
    case StreamPolicy::ServerCare::none:
      break;
  }
  if (state_.discarding() && !state_.ended()) guarded([&] { discard_what_comes(); });
  ask_whether_the_server_leaves();
}

/// From now on only the guardian reads.
void StreamLoop::begin_discarding() {
  log_.warning(
      "the archive's disk does not respond: WAL after {} is discarded, so that the server is not "
      "blocked, and requested again when the disk responds",
      state_.received());
  // WAL that the leader may be writing now must not be overwritten.
  stream_.keep_last();
  stream_.gather(1);
  wake_leader();
}

void StreamLoop::discard_what_comes() {
  stream_.receive();
  while (!state_.ended() && state_.drops_at() <= now()) {
    const auto event = stream_.next();
    if (std::holds_alternative<pq::NothingYet>(event)) return;
    if (const auto* data = std::get_if<wire::XLogData>(&event))
      state_.on_dropped(*data, now());
    else if (const auto* keepalive = std::get_if<wire::Keepalive>(&event))
      state_.on_keepalive(*keepalive, now());
    else if (const auto* end = std::get_if<pq::EndOfStream>(&event))
      policy_.on_end_of_stream(*end);
  }
}

/// Another check, for a server that has too much to send to reach its final request.
void StreamLoop::ask_whether_the_server_leaves() {
  const auto question = policy_.asks_about_shutdown(now());
  if (question == StreamPolicy::ShutdownQuestion::none) return;
  const bool ask = question == StreamPolicy::ShutdownQuestion::ask;
  if (shutdown_watch_.shuts_down(ask) && ask) let_go_of_a_leaving_server();
}

void StreamLoop::let_go_of_a_leaving_server() {
  const auto error = policy_.let_go();
  if (!error) return;
  shutdown_watch_.shuts_down(false);  // no further checks
  log_.warning(
      "the server is shutting down, and would wait for the archive's unresponsive disk: "
      "disconnecting");
  stream_.let_go();
  fail(*error);
}

/// If no WAL has arrived for a while: once. (Code pages that later turns touch stay mapped: to
/// release them after each turn doubled the CPU time of an idle receiver, and they are in the page
/// cache anyway.)
void StreamLoop::release_memory() {
  if (!policy_.quiet_begins(now())) return;
  const Unlocked unlocked(*this);
  machine_.release_memory();
}

// --- Leader and followers ------------------------------------------------------------------------

void StreamLoop::work() {
  Lock lock(*mutex_);
  while (const auto term = workers_.take_lead(lock)) lead(*term);
}

/// Reads, verifies, writes and starts syncs until another thread leads or all is over.
void StreamLoop::lead(Workers::Term term) {
  while (workers_.leads(term)) {
    let_guardian_in();
    if (!workers_.leads(term)) return;
    bool idle = true;
    guarded([&] { idle = take_turn(); });
    if (workers_.over()) return;
    if (policy_.leave_asked()) policy_.leave(pending(), intake_.records_end());
    if (sync_if_due(idle, term)) continue;  // another thread may lead since
    guarded([&] { send_due_status(); });
    finish_if_done();
    if (idle && !workers_.over()) {
      if (policy_.wants_spare() && !writer_.spare_ready()) spare_.prepare();
      wait_for_events();
    }
  }
}

/// A mutex is not fair: a server that never pauses would lock out the guardian, and with it the
/// stop signal.
void StreamLoop::let_guardian_in() {
  while (guardian_waits_) {
    const Unlocked unlocked(*this);
    machine_.threads().yield();
  }
}

/// One action that is possible at once. Returns true if no received WAL is left.
bool StreamLoop::take_turn() {
  const auto held = this->pending();
  switch (held ? policy_.next(held, now()) : policy_.next()) {
    case StreamPolicy::Action::read:
      return !take_message();
    case StreamPolicy::Action::write:
      write_pending();
      // More may have been read from the socket before, for which poll() would not return.
      return intake_.holds_something();
    case StreamPolicy::Action::drop:
      intake_.drop();
      return true;
    case StreamPolicy::Action::resolve:
      intake_.settle();
      return true;
    case StreamPolicy::Action::wait:
      return true;
  }
  return true;
}

/// Handles one received message. Returns false if there is none.
bool StreamLoop::take_message() {
  const auto event =
      stream_.next(policy_.places_wal(pending()) ? writer_.place() : std::span<std::byte>());
  if (const auto* data = std::get_if<wire::XLogData>(&event)) {
    accept(*data);
    return true;
  }
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
    state_.on_keepalive(*keepalive, now());
    if (state_.take_answer()) guardian_wake_->raise();  // it waits as if there were none
    return true;
  }
  if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
    policy_.on_end_of_stream(*end);
    return true;
  }
  return false;
}

void StreamLoop::accept(const wire::XLogData& data) {
  state_.on_wal(data, now());
  if (state_.take_answer()) guardian_wake_->raise();
  try {
    const Unlocked unlocked(*this);
    if (const auto first_wal = std::exchange(hooks_.first_wal, {})) first_wal();
    intake_.accept(data.wal);
    if (hooks_.unchecked && intake_.unchecked()) std::exchange(hooks_.unchecked, {})();
  } catch (...) {
    state_.drop_unwritten();
    throw;
  }
  if (policy_.leave_asked()) leave_behind_a_record(data.start);
  if (policy_.may_write()) write_pending();
}

/// The received WAL usually ends in the middle of a record: the part after the last complete one is
/// left to the next server.
void StreamLoop::leave_behind_a_record(wal::Lsn begin) {
  const auto end = intake_.records_end();
  if (intake_.disputes() || end <= begin || end > state_.received()) return;
  // (Nothing else is held, and the position is cut to that end at once.)
  if (!policy_.leave({}, state_.received())) return;
  intake_.keep_up_to(begin, end);
  state_.drop_unwritten_behind(end);
}

StreamPolicy::Pending StreamLoop::pending() const {
  return {.wal = intake_.holds_something(), .disputed = intake_.disputes()};
}

void StreamLoop::write_pending() {
  state_.on_deaf();  // it may hang
  const auto most = policy_.most_to_write();
  writer_.buffer_new_segments(policy_.buffers_segments());
  policy_.on_write_begun(now());
  wake_guardian();
  std::optional<Error> error;
  {
    const Unlocked unlocked(*this);
    try {
      if (hooks_.before_writing) hooks_.before_writing();
      intake_.write(most);
    } catch (const Error& caught) {
      error = caught;
    }
  }
  const auto verdict = policy_.on_written(writer_.position(), writer_.buffered_end(), error, now());
  report_write_disk(verdict.disk, error);
  if (verdict.decision == StreamPolicy::Decision::fail) {
    intake_.drop();
    throw Error(*error);
  }
}

/// Returns true if a sync was started (and, unless another thread leads now, done).
bool StreamLoop::sync_if_due(bool idle, Workers::Term term) {
  if (!policy_.begins_sync(idle, now())) return false;
  auto job = take_sync_job();
  if (!job) return false;
  const auto end = job->end();
  const auto sync = policy_.on_sync_begun(end, job->publishes() || job->writes(), now());
  wake_guardian();
  report_write_disk(sync.disk, std::nullopt);

  const bool here = !sync.overlaps;
  state_.on_deaf();  // until another thread leads, or this one is back
  if (!here) workers_.pass_lead();
  this->sync(std::move(job), sync);
  if (here) policy_.on_reader_back(sync);
  if (policy_.wants_arrivals()) {
    bool arrived = state_.received() > end;
    if (!arrived && here && workers_.leads(term)) {
      pollfd fd{stream_.socket(), POLLIN, 0};
      machine_.poll({&fd, 1}, Time::min());
      arrived = fd.revents != 0;
    }
    policy_.on_arrivals(arrived);
  }
  return true;
}

/// nullptr if none is available now.
std::unique_ptr<archive::SyncJob> StreamLoop::take_sync_job() {
  std::unique_ptr<archive::SyncJob> job;
  std::optional<Error> error;
  const bool writes = !writer_.place().empty();  // the buffered WAL, and it may hang
  if (writes) {
    state_.on_deaf();
    policy_.on_write_begun(now());
    wake_guardian();
  }
  try {
    std::optional<Unlocked> unlocked;
    if (writes) unlocked.emplace(*this);
    job = writer_.take_sync_job();
  } catch (const Error& caught) {
    error = caught;
  }
  if (writes) {
    policy_.on_write_ended();
    // Another sync was given up meanwhile, and everything after it.
    if (state_.given_up() && (!error || error->kind() != ErrorKind::durability)) return nullptr;
  }
  if (!error) return job;
  const auto verdict = policy_.on_no_job(*error, now());
  if (verdict.decision == StreamPolicy::Decision::fatal) alarms_.durability_lost(*error);
  report_write_disk(verdict.disk, error);
  sync_ended_->notify_all();  // if it was given up
  return nullptr;
}

void StreamLoop::wake_guardian() {
  if (policy_.wakes_guard()) guardian_wake_->raise();
}

/// Runs a job outside the lock and reports its result.
void StreamLoop::sync(std::unique_ptr<archive::SyncJob> job, StreamPolicy::Sync sync) {
  using Decision = StreamPolicy::Decision;
  std::vector<wal::SegmentName> finished;
  const bool passed = !workers_.led();
  std::optional<Error> error;
  auto decision = Decision::go_on;
  std::chrono::nanoseconds duration{};
  std::optional<std::chrono::nanoseconds> delay;
  {
    const Unlocked unlocked(*this);
    // Not before: a thread woken while the mutex is locked would only sleep again.
    if (passed) workers_.wake_one();
    const auto begin = now();
    if (sync.asks_delay) delay = machine_.run_delay();
    decision = with_patience(sync, *job, error, [&] { job->sync_data(); });
    if (delay) *delay = machine_.run_delay() - *delay;
    duration = now() - begin;
    if (decision == Decision::go_on)
      decision = with_patience(sync, *job, error, [&] { finished = job->publish(); });
    if (decision == Decision::fatal) alarms_.durability_lost(*error);
  }
  if (decision == Decision::abandon) give_up(std::move(job), sync, *error);
  const auto durable = state_.flush();
  if (decision != Decision::go_on || !policy_.on_sync_done(sync, duration, now(), delay))
    return finish_if_done();  // perhaps the last one after another was given up
  sync_ended_->notify_all();
  // The server first: its commits wait for that, and notifying and waking others takes time.
  guarded([&] { send_due_status(); });
  feed_.publish(event::SyncDone{duration});
  if (state_.flush() > durable) feed_.publish(event::DurableEnd{state_.timeline(), state_.flush()});
  finish_if_done();
  if (leader_needs_syncs_) wake_leader();
  finished_.insert(finished_.end(), finished.begin(), finished.end());
  report_finished();
}

/// In the order of the WAL, although the threads that have renamed two segments may come here in
/// any order: by one thread at a time, and nothing after the flush position, since an earlier job's
/// thread has not come yet. The compressor is notified last: that a segment is compressed is
/// published after it is finished.
void StreamLoop::report_finished() {
  const auto size = policy_.segment_size();
  const auto end_of = [&](wal::SegmentName segment) { return size.start(segment.segno(size) + 1); };
  while (!reports_finished_) {
    const auto flushed = state_.flush();
    const auto later = std::stable_partition(
        finished_.begin(), finished_.end(),
        [&](const wal::SegmentName& segment) { return end_of(segment) <= flushed; });
    std::vector<wal::SegmentName> segments(finished_.begin(), later);
    if (segments.empty()) return;
    finished_.erase(finished_.begin(), later);
    std::sort(segments.begin(), segments.end());
    reports_finished_ = true;
    {
      const Unlocked unlocked(*this);
      for (const auto& segment : segments) {
        log_.debug("finished segment {}", segment);
        feed_.publish(event::SegmentFinished{segment, end_of(segment)});
      }
      if (compression_ != nullptr) compression_->add(segments);
    }
    reports_finished_ = false;
  }
}

/// Runs a part of a job, and repeats it while there is no space and it is to wait. Even a rename
/// may need space, and a segment that is compressed straight from memory does. Without a lock.
/// `error` is its final error, if any.
template <typename Function>
StreamPolicy::Decision StreamLoop::with_patience(StreamPolicy::Sync& sync,
                                                 const archive::SyncJob& job,
                                                 std::optional<Error>& error, Function&& function) {
  for (;;) {
    error.reset();
    try {
      function();
    } catch (const Error& caught) {
      error = caught;
    }
    if (!error && !sync.waits) return StreamPolicy::Decision::go_on;
    const auto verdict = [&] {
      const Lock lock(*mutex_);
      if (stop_.raised()) policy_.request_stop();  // the guardian may not have noticed it yet
      return policy_.on_sync_part(sync, error, job.only_follows());
    }();
    report_sync_disk(verdict.disk, error);
    if (verdict.decision != StreamPolicy::Decision::wait) return verdict.decision;
    static_cast<void>(raised_within(machine_, stop_.fd(), verdict.wait));
  }
}

/// There is no space for this job's writes, and it is not to wait any longer.
void StreamLoop::give_up(std::unique_ptr<archive::SyncJob> job, const StreamPolicy::Sync& sync,
                         const Error& full) {
  wait_for(*sync_ended_, [&] { return policy_.may_give_up(sync); });
  policy_.give_up(full);
  sync_ended_->notify_all();
  job = nullptr;  // waiting jobs give up as well
  finish_if_done();
  wake_leader();
}

void StreamLoop::report_write_disk(StreamPolicy::DiskChange news,
                                   const std::optional<Error>& full) {
  if (news == StreamPolicy::DiskChange::none) return;
  if (news == StreamPolicy::DiskChange::full)
    log_.error(Error(*full).hint(
        "Free disk space; archiving then resumes automatically. The connection is kept, and a "
        "replication slot (--slot) retains the WAL that was not confirmed."));
  else
    log_.info("disk space is available again: archiving resumes at {}", state_.write());
  alarms_.disk_full(news == StreamPolicy::DiskChange::full);
}

void StreamLoop::report_sync_disk(StreamPolicy::DiskChange news, const std::optional<Error>& full) {
  if (news == StreamPolicy::DiskChange::none) return;
  if (news == StreamPolicy::DiskChange::full)
    log_.error(*full);
  else
    log_.info("disk space is available again: archiving resumes");
  alarms_.disk_full(news == StreamPolicy::DiskChange::full);
}

void StreamLoop::wait_for_events() {
  const auto rest = policy_.next_wait(pending(), now());
  if (rest.reads) stream_.gather(rest.gather);
  const short interest =
      static_cast<short>((rest.hears ? POLLIN : 0) | (statuses_.unsent() ? POLLOUT : 0));
  std::array<pollfd, 2> fds{
      {{leader_wake_->fd(), POLLIN, 0}, {interest ? stream_.socket() : -1, interest, 0}}};
  leader_needs_syncs_ = rest.needs_sync;
  {
    const Unlocked unlocked(*this);
    machine_.poll(fds, rest.until);
  }
  leader_needs_syncs_ = false;
  if (fds[0].revents != 0) leader_wake_->clear();
  if (workers_.over()) return;
  guarded([&] {
    if (statuses_.unsent() && fds[1].revents != 0) statuses_.flush();
    if (policy_.on_waited(rest, fds[1].revents != 0)) stream_.receive();
  });
}

void StreamLoop::send_due_status() {
  if (statuses_.send_due()) wake_leader();
}

/// The mutex is unlocked while it sleeps.
template <typename Predicate>
void StreamLoop::wait_for(Threads::Condition& condition, Predicate over) {
  struct Borrowed {
    Lock lock;
    ~Borrowed() { lock.release(); }  // it stays locked for the caller
  } borrowed{Lock(*mutex_, std::adopt_lock)};
  condition.wait(borrowed.lock, over);
}

/// Runs `function`; an exception ends the stream, not the thread.
template <typename Function>
void StreamLoop::guarded(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    fail(error);
  }
}

/// Ends the stream with this error; WAL received before is still made durable.
void StreamLoop::fail(const Error& error) {
  const auto what = policy_.fail(error);
  if (what == StreamPolicy::Decision::fatal) alarms_.durability_lost(error);
  if (what == StreamPolicy::Decision::fail) wake_leader();
}

void StreamLoop::finish_if_done() {
  if (workers_.over() || !policy_.finished()) return;
  workers_.end();
  guardian_wake_->raise();
}

void StreamLoop::wake_leader() { leader_wake_->raise(); }

}  // namespace weir::receive
