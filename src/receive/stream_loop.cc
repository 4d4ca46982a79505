#include "receive/stream_loop.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <exception>
#include <span>
#include <system_error>
#include <utility>

#include "base/units.h"
#include "io/pages.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// A sync in the reading thread that takes this long has become a slow one after all.
constexpr auto kInlineSyncPatience = 500ms;
constexpr auto kFinishTimeout = 5'000ms;
/// Without WAL for this long, it is quiet.
constexpr auto kQuiet = 8'000ms;
/// While catching up it is read when there is so much, or after a time that grows as long as there
/// never is.
constexpr std::size_t kGatherBytes = 512 * 1024;
constexpr std::chrono::milliseconds kGatherLeast{5};
constexpr std::chrono::milliseconds kGatherMost{100};
/// So often the guardian looks how the disk gets on, while it has something to do.
constexpr auto kCareEvery = 1s;
/// The disk is stuck and the server has more to send than is taken from it: for so long it is not
/// asked whether it shuts down. Where it has nothing to send it says so itself (StreamTurns), but
/// for the case that one does not, it is asked, too.
constexpr auto kAsksBehind = 3s;
constexpr auto kAsksAnyway = 20s;

Time now() { return std::chrono::steady_clock::now(); }

/// Waits for one of `fds` until `deadline`, without end if there is none.
void poll_until(std::span<pollfd> fds, std::optional<Time> deadline) {
  timespec left{};
  if (const auto begin = now(); deadline && *deadline > begin) {
    const std::chrono::nanoseconds ns = std::min<Time::duration>(*deadline - begin, 1h);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(ns);
    left = {.tv_sec = seconds.count(), .tv_nsec = (ns - seconds).count()};
  }
  ::ppoll(fds.data(), fds.size(), deadline ? &left : nullptr, nullptr);
}

}  // namespace

StreamLoop::StreamLoop(pq::ReplicationStream& stream, StreamState& state,
                       archive::SegmentWriter& writer, Intake& intake, const Options& options,
                       wal::SegmentSize segment_size, std::chrono::nanoseconds longest_pause,
                       net::Wake& interrupt, Log& log, Hooks hooks)
    : stream_(stream),
      state_(state),
      turns_({.on_disk_full = options.on_disk_full,
              .stock_habits = options.stock_habits,
              .segment_size = segment_size,
              .longest_pause = longest_pause},
             state),
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

  auto outcome = turns_.outcome();
  const bool dropped = outcome.how == StreamOutcome::How::dropped;
  if (dropped || outcome.how == StreamOutcome::How::stopped) {
    // Everything is durable and reported. A server that does not answer the good-bye changes
    // nothing of that.
    try {
      stream_.finish(kFinishTimeout);
    } catch (const Error& error) {
      log_.debug("while ending the stream: {}", error.what());
      if (dropped) {
        static_cast<void>(turns_.fail(error));
        outcome = turns_.outcome();
      }
    }
  }
  // What comes now may wait for the disk, and the server shall not wait with it. One that ended the
  // stream itself waits for nothing; and where a server is refused, a slot that was made there is
  // still to be removed on this connection.
  if (outcome.how == StreamOutcome::How::failed && outcome.error->sqlstate().empty() &&
      outcome.error->kind() != ErrorKind::conflict && outcome.error->kind() != ErrorKind::damage)
    stream_.let_go();
  return outcome;
}

StreamSnapshot StreamLoop::snapshot() {
  const Lock lock(mutex_);
  return state_.snapshot();
}

// --- The guardian --------------------------------------------------------------------------------

void StreamLoop::guard(Lock& lock) {
  auto next_tick = now();
  // Not to be woken twice in ten seconds, a tick comes along with a status that is due anyway.
  const auto early = hooks_.tick_interval >= 5s ? hooks_.tick_interval / 2 : 0ms;
  bool stop_seen = false;
  while (!over_) {
    if (now() >= next_tick - early) {
      next_tick = now() + hooks_.tick_interval;
      if (hooks_.tick) {
        const auto snapshot = state_.snapshot();
        lock.unlock();
        hooks_.tick(snapshot);
        lock.lock();
      }
    }
    release_memory(lock);
    if (over_) break;
    const auto deadline = guardian_deadline(next_tick);
    const bool discards = state_.discarding() && !state_.ended();
    const short interest =
        static_cast<short>((discards && state_.drops_at() <= now() ? POLLIN : 0) |
                           (discards && unsent_ ? POLLOUT : 0));
    std::array<pollfd, 3> fds{{{guardian_wake_.fd(), POLLIN, 0},
                               {stop_seen ? -1 : interrupt_.fd(), POLLIN, 0},
                               {interest ? stream_.socket() : -1, interest, 0}}};
    lock.unlock();
    poll_until(fds, deadline);
    guardian_waits_ = true;
    lock.lock();
    guardian_waits_ = false;
    guardian_rests_ = false;
    if (fds[0].revents != 0) guardian_wake_.clear();
    if (over_) break;
    if (!stop_seen && fds[1].revents != 0) {
      stop_seen = true;
      log_.info("stopping: what was received is made durable and reported first");
      turns_.request_stop();
      wake_leader();
    }
    if (state_.silent_for_too_long(now()))
      fail(Error(ErrorKind::retry, "no message from the server for " +
                                       format_duration(options_.silence_limit) +
                                       ", not even an answer: the connection counts as dead"));
    care(lock);
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

/// How long the guardian may sleep.
Time StreamLoop::guardian_deadline(Time next_tick) {
  auto deadline = std::min(next_tick, state_.next_status_at());
  if (leader_inline_sync_) deadline = std::min(deadline, inline_sync_since_ + kInlineSyncPatience);
  guardian_rests_ = !std::exchange(disk_used_, false) && !turns_.waits_for_disk() && !asking_;
  if (!guardian_rests_) deadline = std::min(deadline, now() + kCareEvery);
  if (state_.discarding() && state_.drops_at() > now())
    deadline = std::min(deadline, state_.drops_at());
  return deadline;
}

/// That nobody is held up by our disk (P13).
void StreamLoop::care(Lock& lock) {
  switch (turns_.care(now())) {
    case StreamTurns::Care::discard:
      guarded(lock, [&] { begin_discarding(); });
      break;
    case StreamTurns::Care::let_go:
      let_go_of_a_leaving_server();
      break;
    case StreamTurns::Care::close:
      stream_.let_go();
      break;
    case StreamTurns::Care::none:
      break;
  }
  if (state_.discarding() && !state_.ended()) guarded(lock, [&] { discard_what_comes(); });
  ask_whether_the_server_leaves();
}

/// From now on the guardian reads, and nobody else.
void StreamLoop::begin_discarding() {
  log_.warning(
      "the disk of the archive does not go on: what the server sends behind {} is dropped, so that "
      "the server is not held up, and asked for again when the disk goes on",
      state_.received());
  // What the leader may be writing at this moment is not to be overwritten.
  stream_.keep_last();
  stream_.gather(1);
  wake_leader();
}

void StreamLoop::discard_what_comes() {
  if (unsent_) unsent_ = !stream_.flush();
  stream_.receive();
  while (!state_.ended() && state_.drops_at() <= now()) {
    const auto event = stream_.next();
    if (std::holds_alternative<pq::NothingYet>(event)) return;
    if (const auto* data = std::get_if<wire::XLogData>(&event))
      state_.on_dropped(*data, now());
    else if (const auto* keepalive = std::get_if<wire::Keepalive>(&event))
      state_.on_keepalive(*keepalive, now());
    else if (const auto* end = std::get_if<pq::EndOfStream>(&event))
      turns_.on_end_of_stream(*end);
  }
}

/// Another way to find out, for a server that has too much to send to come to its last question.
void StreamLoop::ask_whether_the_server_leaves() {
  if (let_go_ || !hooks_.server_shuts_down) return;
  const bool behind = state_.drops_at() > now();
  const bool ask = turns_.disk_stuck_for(now()) >= (behind || asking_ ? kAsksBehind : kAsksAnyway);
  if (!ask && !asking_) return;
  asking_ = ask;
  if (hooks_.server_shuts_down(ask) && ask) let_go_of_a_leaving_server();
}

/// A server that shuts down waits until its receivers have confirmed everything. Stuck as we are,
/// and answering all the same (P8), we would hold it for ever: that harms more than the end of a
/// connection which brings us nothing. What is not confirmed the server still has when it is back.
void StreamLoop::let_go_of_a_leaving_server() {
  if (std::exchange(let_go_, true)) return;
  if (asking_) hooks_.server_shuts_down(false);  // there is nothing more to be asked
  asking_ = false;
  log_.warning(
      "the server shuts down, and would wait for what the archive's disk does not take: letting "
      "it go");
  stream_.let_go();
  fail(Error(ErrorKind::retry, "the server shuts down"));
}

/// Where no WAL has come for a while: memory once, and what each of the guardian's turns touched of
/// the program's code before it sleeps again.
void StreamLoop::release_memory(Lock& lock) {
  const auto position = state_.write();
  if (std::exchange(seen_position_, position) != position || quiet_since_ == Time()) {
    memory_released_ = false;
    quiet_since_ = now();
    return;
  }
  if (now() < quiet_since_ + kQuiet) return;
  const bool first = !std::exchange(memory_released_, true);
  lock.unlock();
  if (first) io::release_unused_memory();
  io::release_program();
  lock.lock();
}

// --- Leader and followers ------------------------------------------------------------------------

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
      switch (const auto held = this->held(); held ? turns_.next(held, now()) : turns_.next()) {
        case StreamTurns::Turn::read:
          idle = !take_message(lock);
          break;
        case StreamTurns::Turn::write:
          write_held(lock);
          // More may have been read from the socket before: it would not wake us for that.
          idle = intake_.holds_something();
          break;
        case StreamTurns::Turn::drop:
          intake_.drop();
          break;
        case StreamTurns::Turn::settle:
          intake_.settle();
          break;
        case StreamTurns::Turn::wait:
          break;
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
  if (options_.endpos && *options_.endpos <= segment + segment_size_.bytes()) return;
  spare_asked_ = segment;
  if (!writer_.spare_ready()) hooks_.want_spare();
}

/// One message of what has been received. False if there is none.
bool StreamLoop::take_message(Lock& lock) {
  const bool placed = state_.catching_up() && !intake_.disputes();
  const auto event = stream_.next(placed ? writer_.place() : std::span<std::byte>());
  if (const auto* data = std::get_if<wire::XLogData>(&event)) {
    accept(*data, lock);
    return true;
  }
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
    state_.on_keepalive(*keepalive, now());
    return true;
  }
  if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
    turns_.on_end_of_stream(*end);
    return true;
  }
  return false;
}

void StreamLoop::accept(const wire::XLogData& data, Lock& lock) {
  state_.on_wal(data, now());
  lock.unlock();
  if (const auto tell = std::exchange(hooks_.first_wal, {})) tell();
  try {
    intake_.accept(data.wal);
  } catch (...) {
    lock.lock();
    state_.drop_unwritten();
    throw;
  }
  lock.lock();
  if (turns_.may_write()) write_held(lock);
}

StreamTurns::Held StreamLoop::held() const {
  return {.wal = intake_.holds_something(), .disputed = intake_.disputes()};
}

void StreamLoop::write_held(Lock& lock) {
  state_.on_deaf();  // it may hang
  const auto most = turns_.most_to_write();
  writer_.collect_new_segments(turns_.collects());
  turns_.on_write_begun(now());
  wake_guardian();
  lock.unlock();
  std::optional<Error> error;
  try {
    intake_.write(most);
  } catch (const Error& caught) {
    error = caught;
  }
  lock.lock();
  const auto verdict = turns_.on_written(writer_.position(), writer_.collected_end(), error, now());
  tell_of_writing(verdict.news, error);
  if (verdict.what == StreamTurns::What::fail) {
    intake_.drop();
    throw Error(*error);
  }
}

/// True if a sync was started (and, unless another thread leads now, done).
bool StreamLoop::sync_if_due(Lock& lock, std::uint64_t term) {
  const auto due = turns_.sync_at();
  if (!due || *due > now()) return false;
  auto job = take_sync_job(lock);
  if (!job) return false;
  const auto end = job->end();
  const auto begin = now();
  const auto sync = turns_.on_sync_begun(end, job->publishes(), begin);
  wake_guardian();
  tell_of_writing(sync.news, std::nullopt);

  const bool here = !sync.overlaps;
  state_.on_deaf();  // until another one leads, or this one is back
  if (here) {
    leader_inline_sync_ = true;
    inline_sync_since_ = begin;
  } else {
    hand_over();
  }
  this->sync(std::move(job), sync, lock);
  if (here && term == term_) leader_inline_sync_ = false;
  if (turns_.wants_arrivals()) {
    bool arrived = state_.received() > end;
    if (!arrived && here && term == term_ && !over_) {
      pollfd fd{stream_.socket(), POLLIN, 0};
      arrived = ::poll(&fd, 1, 0) > 0;
    }
    turns_.on_arrivals(arrived);
  }
  return true;
}

/// nullptr if none can be had now.
std::unique_ptr<archive::SyncJob> StreamLoop::take_sync_job(Lock& lock) {
  std::unique_ptr<archive::SyncJob> job;
  std::optional<Error> error;
  const bool writes = !writer_.place().empty();  // what is collected, and it may hang
  if (writes) {
    state_.on_deaf();
    turns_.on_write_begun(now());
    wake_guardian();
    lock.unlock();
  }
  try {
    job = writer_.take_sync_job();
  } catch (const Error& caught) {
    error = caught;
  }
  if (writes) {
    lock.lock();
    turns_.on_write_ended();
    // Another sync was given up meanwhile, and all behind it.
    if (state_.given_up()) return nullptr;
  }
  if (!error) return job;
  const auto verdict = turns_.on_no_job(*error, now());
  if (verdict.what == StreamTurns::What::lost) durability_lost(*error);
  tell_of_writing(verdict.news, error);
  sync_ended_.notify_all();  // if it was given up
  return nullptr;
}

/// It sleeps long while the disk has had nothing to do for a round: it is not woken for each
/// commit.
void StreamLoop::wake_guardian() {
  disk_used_ = true;
  if (std::exchange(guardian_rests_, false)) guardian_wake_.raise();
}

/// Runs a job outside the lock and reports what it gained.
void StreamLoop::sync(std::unique_ptr<archive::SyncJob> job, StreamTurns::Sync sync, Lock& lock) {
  using What = StreamTurns::What;
  std::vector<wal::SegmentName> finished;
  const bool handed_over = !leading_;
  lock.unlock();
  // Not before: who is woken while the lock is held would only sleep again.
  if (handed_over) followers_.notify_one();
  std::optional<Error> error;
  const auto begin = now();
  auto what = with_patience(sync, error, [&] { job->sync_data(); });
  const auto duration = now() - begin;
  if (what == What::go_on) what = with_patience(sync, error, [&] { finished = job->publish(); });
  if (what == What::lost) durability_lost(*error);
  lock.lock();
  if (what == What::give_up) give_up(std::move(job), sync, *error, lock);
  if (what != What::go_on || !turns_.on_sync_done(sync, duration, now())) return;
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

/// Runs a part of a job, again while that finds no space and is to wait for it. Even a new name may
/// need space, and a segment that is compressed straight from memory does. No lock held. `error` is
/// what it ended with, or nothing.
template <typename Function>
StreamTurns::What StreamLoop::with_patience(StreamTurns::Sync& sync, std::optional<Error>& error,
                                            Function&& function) {
  for (;;) {
    error.reset();
    try {
      function();
    } catch (const Error& caught) {
      error = caught;
    }
    if (!error && !sync.waits) return StreamTurns::What::go_on;
    const auto verdict = [&] {
      const Lock lock(mutex_);
      if (interrupt_.raised()) turns_.request_stop();  // the guardian may not have seen it yet
      return turns_.on_sync_part(sync, error);
    }();
    tell_of_syncs(verdict.news, error);
    if (verdict.what != StreamTurns::What::wait) return verdict.what;
    pollfd stop{interrupt_.fd(), POLLIN, 0};
    ::poll(&stop, 1, static_cast<int>(verdict.wait.count()));
  }
}

/// There is no space for what this job was to write, and nobody wants to wait for it any longer.
void StreamLoop::give_up(std::unique_ptr<archive::SyncJob> job, const StreamTurns::Sync& sync,
                         const Error& full, Lock& lock) {
  sync_ended_.wait(lock, [&] { return turns_.may_give_up(sync); });
  turns_.give_up(full);
  sync_ended_.notify_all();
  job = nullptr;  // those that wait for it give up, too
  finish_if_done();
  wake_leader();
}

void StreamLoop::tell_of_writing(StreamTurns::News news, const std::optional<Error>& full) {
  if (news == StreamTurns::News::none) return;
  if (news == StreamTurns::News::full)
    log_.error(Error(*full).hint(
        "Make room; archiving goes on by itself. The connection is kept, and a replication slot "
        "(--slot) keeps the WAL that was not confirmed."));
  else
    log_.info("there is space again: archiving goes on at {}", state_.write());
  if (hooks_.disk_full) hooks_.disk_full(news == StreamTurns::News::full);
}

void StreamLoop::tell_of_syncs(StreamTurns::News news, const std::optional<Error>& full) {
  if (news == StreamTurns::News::none) return;
  if (news == StreamTurns::News::full)
    log_.error(*full);
  else
    log_.info("there is space again: archiving goes on");
  if (hooks_.disk_full) hooks_.disk_full(news == StreamTurns::News::full);
}

/// There is no way on from here.
void StreamLoop::durability_lost(const Error& error) {
  hooks_.durability_lost(error);
  std::terminate();
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
  const auto begin = now();
  const auto rest = turns_.rest(held(), begin);
  auto until = rest.until;
  // Far behind, what comes is left to gather: a message by itself is hardly worth waking up for.
  const bool gathering = rest.hears && state_.catching_up();
  if (gathering) {
    const auto most = begin + gather_time_;
    until = until ? std::min(*until, most) : most;
  }
  if (rest.reads) stream_.gather(gathering ? kGatherBytes : 1);
  const short interest = static_cast<short>((rest.hears ? POLLIN : 0) | (unsent_ ? POLLOUT : 0));
  std::array<pollfd, 2> fds{
      {{leader_wake_.fd(), POLLIN, 0}, {interest ? stream_.socket() : -1, interest, 0}}};
  leader_needs_syncs_ = rest.needs_sync;
  lock.unlock();
  poll_until(fds, until);
  lock.lock();
  leader_needs_syncs_ = false;
  if (fds[0].revents != 0) leader_wake_.clear();
  if (over_) return;
  guarded(lock, [&] {
    if (unsent_ && fds[1].revents != 0) unsent_ = !stream_.flush();
    if (rest.reads && (!rest.hears || gathering || fds[1].revents != 0)) stream_.receive();
    gather_time_ =
        gathering && fds[1].revents == 0 ? std::min(2 * gather_time_, kGatherMost) : kGatherLeast;
  });
}

void StreamLoop::send_due_status() {
  if (turns_.failed() || (hooks_.mute && *hooks_.mute)) return;
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
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    fail(error);
  }
}

/// The stream ends with this error; what was received before is still made durable.
void StreamLoop::fail(const Error& error) {
  const auto what = turns_.fail(error);
  if (what == StreamTurns::What::lost) durability_lost(error);
  if (what == StreamTurns::What::fail) wake_leader();
}

void StreamLoop::finish_if_done() {
  if (over_ || !state_.finished()) return;
  over_ = true;
  followers_.notify_all();
  guardian_wake_.raise();
}

void StreamLoop::wake_leader() { leader_wake_.raise(); }

}  // namespace weir::receive
