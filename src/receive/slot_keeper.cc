// Slots on candidates end at ends of records (`receive/slot_keeper`, `RecordEnds`). The WAL
// received by a standby may end inside a record that started in an earlier segment; when promoted,
// the standby starts its timeline before that record. A slot at the standby's exact end would not
// retain the segment in which the new timeline starts. A slot is therefore advanced to the end of a
// record; some recent ends are remembered. The protocol has no command for it: START_REPLICATION at
// the server's own end, one status, CopyDone. This moves a slot in both directions silently, so
// pgweir must be careful: `SlotKeeperState` asks for the slot's position (15 and later), or waits
// until it has a position that is surely beyond it (13 and 14 cannot be asked). The thread for each
// host shares two numbers with the stream and no lock that is held for long.

#include "receive/slot_keeper.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/backoff.h"
#include "base/units.h"
#include "receive/questions.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// A host that does not answer is queried somewhat less often.
constexpr std::chrono::milliseconds kLongestPause = 60s;
constexpr std::chrono::milliseconds kHostPatience = 5s;
/// A server logs each connection that it rejects.
constexpr std::chrono::milliseconds kRejectedPause = 5min;

Visit visit_to(std::size_t host) {
  return {.host = host, .timeout = kHostPatience, .application_name = std::string(kKeeperName)};
}

/// In the order of the connection string.
void put(std::vector<Candidate>& all, Candidate candidate, bool replace) {
  const auto place =
      std::lower_bound(all.begin(), all.end(), candidate.index,
                       [](const Candidate& each, std::size_t index) { return each.index < index; });
  if (place == all.end() || place->index != candidate.index)
    all.insert(place, std::move(candidate));
  else if (replace)
    *place = std::move(candidate);
}

}  // namespace

struct SlotKeeper::Host {
  Host(std::string its_name, std::size_t its_index, const Options& options, std::uint64_t seed)
      : name(std::move(its_name)),
        index(its_index),
        state(name, index, options.create_slot),
        backoff(options.slot_interval, std::max(options.slot_interval, kLongestPause), seed) {}

  const std::string name;
  const std::size_t index;
  SlotKeeperState state;
  Backoff backoff;
  Cover told = Cover::not_looked_at;
  std::uint64_t line = 0;  ///< at the last visit
  /// As found at the last visit; guarded by the keeper's mutex.
  std::optional<wal::TimelineId> primary_on;
  /// Why the last ordinary connection was rejected, and the earliest time of the next one.
  std::optional<std::pair<Error, Time>> rejected;
  std::unique_ptr<Threads::Thread> thread;
};

SlotKeeper::SlotKeeper(const Options& options, Servers& servers, Machine& machine, Log& log,
                       Feed& feed, StatusBoard& board, std::uint64_t seed)
    : options_(options),
      servers_(servers),
      machine_(machine),
      log_(log),
      feed_(feed),
      board_(board),
      mutex_(machine.threads().make_mutex()),
      changed_(machine.threads().make_condition()) {
  // Runs under the stream's lock: so it does only this.
  subscription_ =
      feed.listen([this](const event::DurableEnd& end) { durable_ = end.end.byte(); },
                  [this](const event::Confirmed& told) { confirmed_ = told.end.byte(); });
  const auto names = servers.hosts(options_).names;
  for (std::size_t i = 0; i < names.size(); ++i)
    hosts_.push_back(std::make_unique<Host>(names[i], i, options_, seed + i));
  if (names.size() < 2)
    log_.warning("--slot-hosts all has no effect: the connection string names only one host");
  for (auto& host : hosts_) {
    try {
      host->thread = machine_.threads().start("slot keeper", [this, &host = *host] { work(host); });
    } catch (const std::system_error& error) {
      log_.warning("the slot on {} is not maintained, because no thread could be started: {}",
                   host->name, error.what());
    }
  }
}

SlotKeeper::~SlotKeeper() {
  {
    const Threads::Lock lock(*mutex_);
    stopped_ = true;
    changed_->notify_all();
  }
  stop_.raise();
  for (auto& host : hosts_)
    if (host->thread) host->thread->join();
}

void SlotKeeper::begin_line(Line line) {
  const Threads::Lock lock(*mutex_);
  const auto timeline = line.history.timeline();
  if (timeline_ != timeline) {
    // The archive's WAL of an older timeline after the switchpoint is not part of the history.
    record_ends_.cut(line.history.end_of(timeline_).value_or(wal::Lsn()));
    timeline_ = timeline;
  }
  durable_ = line.start.byte();
  confirmed_ = 0;
  line_ = std::move(line);
  ++lines_;
  board_.update([&](auto& content) {
    auto& candidates = content.candidates;
    std::erase_if(candidates,
                  [&](const Candidate& candidate) { return candidate.index == line_->host; });
    for (const auto& host : hosts_)
      if (host->index != line_->host)
        put(candidates,
            {.host = host->name,
             .index = host->index,
             .cover = Cover::not_looked_at,
             .reason = "it was not checked yet"},
            false);
  });
  changed_->notify_all();
}

void SlotKeeper::end_line() {
  const Threads::Lock lock(*mutex_);
  line_.reset();
}

/// Another host that is a primary on the streaming timeline.
std::optional<std::string> SlotKeeper::primary_besides(const Host& host) const {
  if (line_->primary) return hosts_.at(line_->host)->name;
  for (const auto& each : hosts_)
    if (each.get() != &host && each->index != line_->host && each->primary_on == timeline_)
      return each->name;
  return std::nullopt;
}

/// From the current state; nullopt while nothing streams.
std::optional<OurEnd> SlotKeeper::our_end(const Host& host) {
  if (!line_) return std::nullopt;
  record_ends_.add(line_->records_end());
  if (line_->first_of_timeline)
    line_->first_wal[line_->history.timeline()] = line_->first_of_timeline();
  return OurEnd{.system_identifier = line_->system_identifier,
                .segment_size = line_->segment_size,
                .history = line_->history,
                .durable = wal::Lsn(durable_),
                .confirmed = options_.confirm == Confirm::stored
                                 ? std::optional(wal::Lsn(confirmed_))
                                 : std::nullopt,
                .record_ends = record_ends_,
                .first_wal = line_->first_wal,
                .primary = primary_besides(host)};
}

void SlotKeeper::work(Host& host) {
  auto next = machine_.now();
  Threads::Lock lock(*mutex_);
  for (;;) {
    while (!stopped_ && (!line_ || (host.line == lines_ && machine_.now() < next))) {
      if (line_)
        changed_->wait_until(lock, next);
      else
        changed_->wait(lock);
    }
    if (stopped_) return;
    host.line = lines_;
    auto pause = options_.slot_interval;
    if (line_->host == host.index) {
      // This one's slot is moved by the stream.
      host.state.forget_slot();
      host.told = Cover::not_looked_at;
    } else {
      auto ours = our_end(host);
      lock.unlock();
      try {
        visit(host, std::move(*ours));
      } catch (const net::Interrupted&) {
        return;
      }
      show(host);
      if (host.state.candidate().cover == Cover::no_answer)
        pause = std::max(pause, host.backoff.next());
      else
        host.backoff.reset();
      lock.lock();
      host.primary_on = host.state.primary_on();
    }
    next = machine_.now() + pause;
  }
}

/// Throws net::Interrupted.
void SlotKeeper::visit(Host& host, OurEnd ours) {
  auto& state = host.state;
  try {
    auto server = connect(host);
    state.begin(std::move(ours), server->major(), server->ask_for_role());
    for (auto step = state.next(); !std::holds_alternative<keep::Done>(step); step = state.next()) {
      try {
        perform(host, server, step);
      } catch (const Error& error) {
        // Without an SQLSTATE it is not the server's error.
        if (error.sqlstate().empty()) throw;
        state.on_refused(error);
      }
    }
  } catch (const Error& error) {
    state.on_no_answer(error, machine_.wall_clock());
  }
}

std::unique_ptr<Server> SlotKeeper::connect(const Host& host) {
  return servers_.visit(options_, visit_to(host.index), stop_);
}

void SlotKeeper::check_slot(Host& host) {
  if (host.rejected && machine_.now() < host.rejected->second) {
    host.state.on_slot_not_checked(host.rejected->first);
    return;
  }
  host.rejected.reset();
  try {
    host.state.on_slot_checked(
        servers_.check_slot(options_, visit_to(host.index), *options_.slot, stop_));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::retry)
      host.rejected.emplace(error, machine_.now() + kRejectedPause);
    host.state.on_slot_not_checked(error);
  }
}

void SlotKeeper::perform(Host& host, std::unique_ptr<Server>& connected, const KeepStep& step) {
  constexpr std::string_view kUndefinedFile = "58P01";
  constexpr std::string_view kNotSupported = "0A000";
  auto& state = host.state;
  auto& server = *connected;
  const auto& slot = *options_.slot;
  if (std::holds_alternative<keep::Identify>(step)) {
    state.on_identified(server.identify_system(), machine_.wall_clock());
  } else if (const auto* fetch = std::get_if<keep::FetchHistory>(&step)) {
    try {
      state.on_history(
          wal::TimelineHistory::parse(fetch->timeline, server.timeline_history(fetch->timeline)));
    } catch (const Error& error) {
      if (error.sqlstate() != kUndefinedFile) throw;
      state.on_history(std::nullopt);
    }
  } else if (const auto* first = std::get_if<keep::ReadFirstWal>(&step)) {
    Questioner questioner{server, machine_, stop_};
    const auto wal = questioner.read(first->timeline, first->begin, first->bytes);
    if (questioner.spoilt) connected = connect(host);
    state.on_first_wal(wal);
  } else if (std::holds_alternative<keep::ReadSlot>(step)) {
    try {
      const auto found = server.read_replication_slot(slot).value();
      state.on_slot(found,
                    found.restart_lsn ? server.setting_of_unseen_invalidation() : std::string());
    } catch (const Error& error) {
      if (error.sqlstate() != kNotSupported) throw;
      state.on_logical_slot();
    }
  } else if (std::holds_alternative<keep::CreateSlot>(step)) {
    const bool made = server.create_physical_slot(slot);
    if (made && state.found_gone())
      log_.debug("recreated replication slot \"{}\" on {}", slot, host.name);
    else if (made)
      log_.info("created replication slot \"{}\" on {}, so that a failover to it leaves no gap",
                slot, host.name);
    state.on_slot_created();
  } else if (const auto* use = std::get_if<keep::UseSlot>(&step)) {
    const bool done = server.use_slot(slot, use->position, use->timeline, use->flush);
    state.on_slot_used(use->flush, done);
  } else if (std::holds_alternative<keep::CheckSlot>(step)) {
    check_slot(host);
  }
}

void SlotKeeper::show(Host& host) {
  const auto& candidate = host.state.candidate();
  {
    // Not for the host that is streaming by now.
    const Threads::Lock lock(*mutex_);
    if (line_ && line_->host == host.index) return;
    board_.update([&](auto& content) { put(content.candidates, candidate, true); });
  }
  if (std::exchange(host.told, candidate.cover) == candidate.cover) return;
  if (candidate.covered())
    log_.info("covered: a failover to {} leaves no gap, its slot \"{}\" keeps WAL from {} on",
              candidate.host, *options_.slot, candidate.slot_lsn.value_or(wal::Lsn()));
  else
    log_.warning("not covered: a failover to {} may leave a gap in the archive: {}", candidate.host,
                 candidate.reason);
  feed_.publish(event::CandidateLooked{candidate});
}

}  // namespace weir::receive
