#include "receive/host_survey.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "base/exit_status.h"
#include "wal/server_version.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// The stream waits for the answers. Hosts that answer later are queried again for the next stream.
constexpr auto kAskFor = 2'000ms;
constexpr auto kOthersMay = 1'000ms;
/// A connection has its own, lower limit.
constexpr auto kAtMost = 30'000ms;

}  // namespace

struct HostSurvey::Asked {
  HostWord word;
  std::unique_ptr<Server> server;
  bool done = false;
  bool able = false;
  std::unique_ptr<Threads::Thread> thread;
};

HostSurvey::HostSurvey(const World& world, std::optional<ArchivedSoFar> archive)
    : world_(world),
      archive_(std::move(archive)),
      mutex_(world.machine.threads().make_mutex()),
      answered_(world.machine.make_wake_up()) {}

HostSurvey::~HostSurvey() { break_off(); }

void HostSurvey::break_off() {
  over_.raise();
  for (const auto& each : asked_)
    if (each->thread) each->thread->join();
}

std::vector<HostWord> HostSurvey::ask(const std::vector<std::pair<int, std::string>>& hosts,
                                      const net::Wake& stop) {
  for (const auto& [index, name] : hosts) {
    auto& asked = *asked_.emplace_back(std::make_unique<Asked>());
    asked.word.index = index;
    asked.word.name = name;
    try {
      asked.thread =
          world_.machine.threads().start("asks a host", [this, &asked] { ask_one(asked); });
    } catch (const std::system_error& error) {
      const Threads::Lock lock(*mutex_);
      asked.done = true;
      asked.word.failure = unexpected(error);
    }
  }

  const auto begin = world_.machine.now();
  auto until = begin + kAtMost;
  bool one_is_able = false;
  for (;;) {
    {
      const Threads::Lock lock(*mutex_);
      answered_->clear();
      if (std::all_of(asked_.begin(), asked_.end(), [](const auto& each) { return each->done; }))
        break;
      const bool able =
          std::any_of(asked_.begin(), asked_.end(), [](const auto& each) { return each->able; });
      if (able && !std::exchange(one_is_able, true))
        until = std::max(world_.machine.now(),
                         std::min<Time>(begin + kAskFor, world_.machine.now() + kOthersMay));
    }
    if (world_.machine.now() >= until) break;
    std::array<pollfd, 2> fds{{{answered_->fd(), POLLIN, 0}, {stop.fd(), POLLIN, 0}}};
    world_.machine.poll(fds, until);
    if (fds[1].revents != 0) throw net::Interrupted{};
  }

  std::vector<HostWord> words;
  const Threads::Lock lock(*mutex_);
  for (const auto& each : asked_) {
    if (!each->done)
      each->word.failure =
          Error(ErrorKind::retry, "no answer in time").with("server", each->word.name);
    words.push_back(each->word);
  }
  return words;
}

std::unique_ptr<Server> HostSurvey::take(int host, const net::Wake& stop) {
  const Threads::Lock lock(*mutex_);
  for (const auto& each : asked_) {
    if (each->word.index != host || !each->done || !each->server) continue;
    each->server->interrupted_by(stop);
    return std::move(each->server);
  }
  return nullptr;
}

/// Runs in its thread.
void HostSurvey::ask_one(Asked& asked) {
  HostWord word;
  {
    const Threads::Lock lock(*mutex_);
    word = asked.word;
  }
  std::unique_ptr<Server> server;
  try {
    server = connect(word);
    question(server, word);
  } catch (const net::Interrupted&) {
    word.failure = Error(ErrorKind::retry, "no answer in time").with("server", word.name);
  } catch (const Error& error) {
    word.failure = error;
  }
  if (word.failure) server.reset();
  bool able = false;
  if (!word.failure) {
    const auto decision = start_on(word, archive_, wish_of(world_.options));
    able = std::holds_alternative<StartAt>(decision) && word.has_wal != false &&
           (!archive_ || archive_->system_identifier == word.identity.system_identifier);
  }
  const Threads::Lock lock(*mutex_);
  // Too late: it was reported as not answering.
  if (asked.word.failure) return;
  asked.word = std::move(word);
  asked.server = std::move(server);
  asked.able = able;
  asked.done = true;
  answered_->raise();
}

std::unique_ptr<Server> HostSurvey::connect(const HostWord& word) {
  return world_.servers.connect_to(world_.options, static_cast<std::size_t>(word.index),
                                   world_.notice, over_);
}

/// `answer` of a Questioner. Over a slow line the connection may not be usable afterwards: then
/// further queries use another one.
template <typename Answer>
auto HostSurvey::ask_wal(std::unique_ptr<Server>& server, const HostWord& word, Answer answer) {
  if (!server) server = connect(word);
  Questioner questioner{*server, world_.machine, over_};
  auto answered = answer(questioner);
  if (questioner.spoilt) server.reset();
  return answered;
}

/// Its facts, the cheap ones first.
void HostSurvey::question(std::unique_ptr<Server>& connected, HostWord& word) {
  constexpr std::string_view kUndefinedFile = "58P01";
  auto& server = *connected;
  // (First, since a server promoted between two answers has a newer timeline in the later one.)
  word.standby = server.ask_for_role();
  word.identity = server.identify_system();
  word.segment_size = server.wal_segment_size();
  const auto timeline = word.identity.timeline;
  if (timeline == 1) {
    word.history = wal::TimelineHistory(1);
  } else {
    try {
      word.history = wal::TimelineHistory::parse(timeline, server.timeline_history(timeline));
    } catch (const Error& error) {
      if (error.sqlstate() != kUndefinedFile) throw;
    }
  }
  const auto& options = world_.options;
  if (options.slot && !options.create_slot &&
      wal::ServerVersion(server.major()).has_read_replication_slot())
    if (const auto slot = server.read_replication_slot(*options.slot)) word.has_slot = slot->exists;
  if (archive_ && (archive_->system_identifier != word.identity.system_identifier ||
                   archive_->segment_size.bytes() != word.segment_size.bytes()))
    return;
  const auto decision = start_on(word, archive_, wish_of(options));
  const auto* at = std::get_if<StartAt>(&decision);
  if (at == nullptr) return;
  // (At the end of its WAL there is none yet that could be missing.)
  if (archive_ && at->lsn < word.identity.flush_position)
    word.has_wal = ask_wal(connected, word, [&](Questioner& questioner) {
      return questioner.has_wal_at(at->timeline, at->lsn);
    });
  if (word.history) read_first_wal(connected, word);
}

/// Only for the newest timelines: more in such quick succession occur in tests only.
void HostSurvey::read_first_wal(std::unique_ptr<Server>& server, HostWord& word) {
  constexpr std::size_t kMostTimelines = 3;
  const auto& history = *word.history;
  std::vector<wal::TimelineId> timelines;
  for (const auto& ancestor : history.ancestors()) timelines.push_back(ancestor.timeline);
  timelines.push_back(history.timeline());
  std::erase_if(timelines, [&](wal::TimelineId timeline) {
    const auto begin = history.begin_of(timeline);
    if (!begin || !begin->valid()) return true;
    if (!archive_ || timeline > archive_->end.timeline) return false;
    return timeline < archive_->end.timeline || archive_->first_wal.empty();
  });
  if (timelines.size() > kMostTimelines)
    timelines.erase(timelines.begin(), timelines.end() - kMostTimelines);
  for (const auto timeline : timelines) {
    const auto begin = *history.begin_of(timeline);
    const auto end = history.end_of(timeline).value_or(word.identity.flush_position);
    if (end > begin)
      word.first_wal[timeline] = ask_wal(server, word, [&](Questioner& questioner) {
        return questioner.read(timeline, begin,
                               std::min<std::uint64_t>(end - begin, kFirstWalBytes));
      });
  }
}

}  // namespace weir::receive
