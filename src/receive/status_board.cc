#include "receive/status_board.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "receive/slow_syncs.h"

namespace weir::receive {

auto StatusBoard::handlers() {
  return Overloads{[this](const event::StateChanged& change) { set_state(change.state); },
                   [this](const event::ServerChanged& server) {
                     // The last one stays: its name is needed to find the cause of an outage.
                     if (!server.name.empty())
                       update([&](ReceiverView& content) { content.server = server.name; });
                   },
                   [this](const event::Progress& progress) {
                     tick(progress.snapshot, std::chrono::steady_clock::now());
                   },
                   [this](const event::SyncDone& sync) {
                     const std::lock_guard lock(mutex_);
                     syncs_.add(sync.duration, std::chrono::steady_clock::now());
                     if (sync.duration > kSlowSync) ++content_.slow_syncs;
                   },
                   [this](const event::SegmentFinished&) {
                     update([](ReceiverView& content) { ++content.segments_finished; });
                   },
                   [this](const event::NotCompressed& failed) { set_error(failed.error.what()); },
                   [this](const event::DiskFull& disk) { set_disk_full(disk.full); },
                   [this](const event::Trouble& trouble) {
                     set_error(trouble.error.what());
                     if (trouble.error.kind() == ErrorKind::disk_full) set_disk_full(true);
                   }};
}

StatusBoard::StatusBoard(Feed* feed) {
  content_.started = std::chrono::system_clock::now();
  content_.state_since = content_.started;
  content_.outage_since = content_.started;
  outage_began_ = heard_ = std::chrono::steady_clock::now();
  if (feed != nullptr)
    subscription_ = feed->subscribe([this](const Event& happened) { on_event(happened); },
                                    EventTypes::taken_by<decltype(handlers())>());
}

void StatusBoard::on_event(const Event& happened) { on(happened, handlers()); }

void StatusBoard::set_disk_full(bool full) {
  update([full](ReceiverView& content) {
    if (!full) content.disk_full_since.reset();
    if (full && !content.disk_full_since)
      content.disk_full_since = std::chrono::system_clock::now();
  });
}

void StatusBoard::set_state(const std::string& state) {
  const std::lock_guard lock(mutex_);
  if (content_.state == state) return;
  content_.state = state;
  content_.state_since = std::chrono::system_clock::now();
}

void StatusBoard::set_error(const std::string& text) {
  const std::lock_guard lock(mutex_);
  content_.last_error = text;
  content_.last_error_time = std::chrono::system_clock::now();
  ++content_.errors;
}

void StatusBoard::set_losses(std::vector<archive::Loss> losses) {
  const std::lock_guard lock(mutex_);
  for (const auto& loss : losses) {
    const bool known = std::any_of(losses_.begin(), losses_.end(), [&](const auto& each) {
      return each.id() == loss.id() && each.end == loss.end;
    });
    // A new one, which has the id of one whose record was removed.
    if (!known) removed_losses_.erase(loss.id());
  }
  losses_ = std::move(losses);
  gather_losses();
}

void StatusBoard::set_watched_losses(std::vector<archive::Loss> losses,
                                     std::set<std::string> closed) {
  const std::lock_guard lock(mutex_);
  watched_losses_ = std::move(losses);
  closed_losses_ = std::move(closed);
  gather_losses();
}

void StatusBoard::set_removed_losses(std::set<std::string> ids) {
  const std::lock_guard lock(mutex_);
  removed_losses_ = std::move(ids);
  gather_losses();
}

/// For a loss known to both, the watch has the newest state.
void StatusBoard::gather_losses() {
  auto all = watched_losses_;
  for (const auto& loss : losses_)
    if (!closed_losses_.contains(loss.id()) &&
        std::none_of(watched_losses_.begin(), watched_losses_.end(),
                     [&](const auto& watched) { return watched.id() == loss.id(); }))
      all.push_back(loss);
  std::erase_if(all, [&](const auto& loss) { return removed_losses_.contains(loss.id()); });
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.begin < b.begin; });
  for (auto& loss : all)
    for (const auto& known : content_.losses)
      if (!loss.acknowledged && known.id() == loss.id() && known.end == loss.end)
        loss.acknowledged = known.acknowledged;
  content_.losses = std::move(all);
}

void StatusBoard::update(const std::function<void(ReceiverView&)>& change) {
  const std::lock_guard lock(mutex_);
  change(content_);
}

void StatusBoard::set_live(std::function<StreamSnapshot()> live) {
  // Both locks, so that WAL archived by an ending stream is always counted once.
  const std::lock_guard live_lock(live_mutex_);
  std::optional<StreamSnapshot> ended;
  if (live_ && !live) ended = live_();
  const bool heard = ended && ended->heard;
  if (heard) heard_ = ended->last_message;
  live_ = std::move(live);
  const std::lock_guard lock(mutex_);
  ticks_.clear();
  lag_age_.clear();
  if (live_) {
    ++content_.streams;
  } else if (heard || !content_.outage_since) {
    content_.outage_since = std::chrono::system_clock::now();
    outage_began_ = std::chrono::steady_clock::now();
  }
  if (ended) {
    content_.archived_bytes += ended->archived_bytes;
    content_.last_stream = ended;
  }
}

void StatusBoard::set_serving(AskServing ask) {
  const std::lock_guard lock(live_mutex_);
  ask_serving_ = std::move(ask);
}

void StatusBoard::set_store(AskStore ask) {
  const std::lock_guard lock(live_mutex_);
  ask_store_ = std::move(ask);
}

void StatusBoard::tick(const StreamSnapshot& snapshot, Time now) {
  constexpr std::chrono::seconds kApart(30);
  const std::lock_guard lock(mutex_);
  lag_age_.add(snapshot);
  if (!ticks_.empty() && now - ticks_.back().first < kApart) return;
  if (ticks_.size() == 2) ticks_.erase(ticks_.begin());
  ticks_.emplace_back(now, snapshot.write);
}

ReceiverView StatusBoard::read() const {
  const std::lock_guard lock(mutex_);
  return content_;
}

ReceiverView StatusBoard::view(Time now) const {
  const std::lock_guard live_lock(live_mutex_);
  const auto stream = live_ ? std::optional(live_()) : std::nullopt;
  auto serving = ask_serving_ ? std::optional(ask_serving_()) : std::nullopt;
  auto store = ask_store_ ? std::optional(ask_store_()) : std::nullopt;
  const std::lock_guard lock(mutex_);
  auto view = content_;
  view.taken = std::chrono::system_clock::now();
  view.pid = ::getpid();
  view.version = PGWEIR_VERSION;
  view.stream = stream;
  if (view.stream) view.stream->write = stream->written();
  // Streams may start again and again although nothing gets through (packets of full size, for
  // example, if the MTU is wrong): the outage lasts until a message arrives.
  const bool heard = stream && stream->heard;
  if (heard) view.outage_since.reset();
  // If the clock was set back since then, as soon after a boot, the outage is still as long.
  constexpr std::chrono::minutes kSlewed(1);
  const auto began = view.taken - (now - outage_began_);
  if (view.outage_since && *view.outage_since > began + kSlewed)
    view.outage_since = std::chrono::floor<std::chrono::seconds>(began);
  view.lag_time = stream ? lag_age_.add(*stream) : std::nullopt;
  view.lag_at_least = stream ? lag_age_.at_least(*stream) : std::nullopt;
  view.serving = std::move(serving);
  view.store = std::move(store);
  view.silence =
      std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(
                                                 now - (heard ? stream->last_message : heard_)));
  if (stream) view.archived_bytes += stream->archived_bytes;
  view.bytes_per_second = stream ? rate(*stream, now) : std::nullopt;
  view.syncs = syncs_.summary(now);
  return view;
}

std::optional<std::uint64_t> StatusBoard::rate(const StreamSnapshot& stream, Time now) const {
  // From the tick before the last one: just after a tick the interval would be too short.
  if (ticks_.empty()) return std::nullopt;
  const auto& [since, from] = ticks_.front();
  const std::chrono::duration<double> seconds = now - since;
  if (seconds.count() < 1 || stream.write < from) return std::nullopt;
  return std::llround(static_cast<double>(stream.write - from) / seconds.count());
}

}  // namespace weir::receive
