#include "web/recorder.h"

#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/units.h"
#include "io/place.h"
#include "io/small_file.h"

namespace weir::web {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kEvery = 10s;
constexpr auto kSaveEvery = 60s;
constexpr std::uint64_t kLargestFile = 1 << 20;
/// Space that is the WAL's alone.
constexpr std::uint64_t kLeastSpace = std::uint64_t{256} << 20;

}  // namespace

std::optional<History> read_history(const std::string& directory) {
  const auto path = fmt::format("{}/{}", directory, kHistoryName);
  try {
    if (io::type_of(path) != io::PathType::file) return std::nullopt;
    auto history = History::parse(io::read_small_file(path, kLargestFile));
    if (history) history->lies_on(io::inspect_place(directory).system_id);
    return history;
  } catch (const Error&) {
    return std::nullopt;  // then the history begins now
  }
}

class Record {
 public:
  explicit Record(std::string directory)
      : directory_(std::move(directory)), path_(fmt::format("{}/{}", directory_, kHistoryName)) {}

  template <typename Change>
  void change(Change make) {
    const std::lock_guard lock(mutex_);
    make(history_);
    changed_ = true;
  }
  [[nodiscard]] History read() const {
    const std::lock_guard lock(mutex_);
    return history_;
  }
  void progress() { progress_ = Clock::now(); }
  [[nodiscard]] std::chrono::milliseconds since_progress() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - progress_.load());
  }

  /// Touches the disk. One caller at a time.
  void keep(bool at_once) {
    if (!std::exchange(loaded_, true)) load();
    if (!at_once && Clock::now() - saved_ < kSaveEvery) return;
    saved_ = Clock::now();
    try {
      const auto place = io::inspect_place(directory_);
      std::string text;
      {
        const std::lock_guard lock(mutex_);
        history_.lies_on(place.system_id);
        history_.space(place.free_bytes, std::chrono::system_clock::now());
        if (!std::exchange(changed_, false)) return;
        text = history_.to_text();
      }
      if (place.free_bytes < kLeastSpace) return;
      io::replace_small_file(path_, text, 0600);
    } catch (const Error&) {
      // It is tried again in a minute, and nothing depends on it.
    }
  }

 private:
  void load() {
    auto known = read_history(directory_);
    if (!known) return;
    const std::lock_guard lock(mutex_);
    // The samples taken before the file was read are included in the next ones.
    for (const auto& event : history_.events())
      known->happened(event.text, event.trouble, SystemTime(std::chrono::seconds(event.last)));
    known->cluster(history_.cluster_name());
    history_ = std::move(*known);
  }

  const std::string directory_;
  const std::string path_;
  mutable std::mutex mutex_;  ///< of the next two
  History history_;
  bool changed_ = false;
  bool loaded_ = false;
  Clock::time_point saved_ = Clock::now();
  std::atomic<Clock::time_point> progress_ = Clock::now();
};

Recorder::Recorder(receive::Feed& feed, const receive::StatusBoard& board, std::string directory)
    : board_(board),
      record_(std::make_shared<Record>(std::move(directory))),
      subscription_(feed.subscribe([this](const receive::Event& event) { on_event(event); })),
      look_(machine_threads(), "history", machine_threads().now() + kEvery, [this] {
        sample();
        return machine_threads().now() + kEvery;
      }) {}

History Recorder::history() const { return record_->read(); }
std::chrono::milliseconds Recorder::since_progress() const { return record_->since_progress(); }

std::function<void(bool last)> Recorder::keeper() const {
  return [record = record_](bool last) { record->keep(last); };
}

void Recorder::on_event(const receive::Event& event) {
  namespace tell = receive::event;
  const auto note = [this](std::string text, bool trouble) {
    record_->change([&](History& history) {
      history.happened(std::move(text), trouble, std::chrono::system_clock::now());
    });
  };
  receive::on(
      event, [this](const tell::Progress&) { record_->progress(); },
      [this](const tell::Streaming&) {
        record_->progress();
        const auto name = board_.read().cluster_name;
        record_->change([&](History& history) { history.cluster(name); });
      },
      [&](const tell::Trouble& trouble) { note(trouble.error.what(), true); },
      [&](const tell::NotCompressed& failed) { note(failed.error.what(), true); },
      [&](const tell::DiskFull& disk) {
        note(disk.full ? "the disk is full" : "the disk has space again", disk.full);
      },
      [&](const tell::TimelineSwitched& change) {
        note(fmt::format("switched to timeline {} at {}", change.next, change.switchpoint), false);
      },
      [&](const tell::LossRecorded& recorded) {
        const auto& loss = recorded.loss;
        note(fmt::format("{} from {} to {} on timeline {}", loss.words().summary, loss.begin,
                         loss.end, loss.timeline),
             true);
        record_->change(
            [](History& history) { history.hole_found(std::chrono::system_clock::now()); });
      },
      [&](const tell::StoreTrouble& trouble) {
        note(fmt::format("not sent to the store: {}", trouble.error.what()), true);
      },
      [&](const tell::StoreWorks&) { note("the store accepts WAL again", false); },
      [&](const tell::FeedsDiffer&) { note("a second upstream has other WAL", true); },
      [&](const tell::ClientGone& gone) {
        note(fmt::format("{} ({}) is no longer served: {}", gone.client.application_name,
                         gone.client.client_address, gone.why),
             false);
      });
}

void Recorder::sample() {
  const auto view = board_.view();
  History::Sample sample{.streaming = view.stream.has_value() && !view.disk_full_since,
                         .archived = view.archived_bytes};
  sample.lag = view.lag();
  if (view.stream && view.stream->server_end.valid())
    sample.server_end = view.stream->server_end.byte();
  const auto milliseconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  if (view.syncs) {
    sample.p50_ms = milliseconds(view.syncs->p50);
    sample.p99_ms = milliseconds(view.syncs->p99);
  }
  record_->change([&](History& history) { history.add(sample, std::chrono::system_clock::now()); });
}

}  // namespace weir::web
