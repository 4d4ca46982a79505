#include "sim_sizes.h"

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"

namespace weir::sim {

using namespace std::chrono_literals;
using receive::SizeSearch;

/// (What is not recorded, since it is at an end of the archive, is logged.)
class SimSizes::SizesLog final : public Log {
 public:
  explicit SizesLog(Story& story) : story_(story) {}
  void write(LogLevel level, std::string_view message) override {
    if (level == LogLevel::warning && message.find("the wrong size") != std::string_view::npos)
      throw Violation{"P14", "there is no wrong size: " + std::string(message)};
    story_.write(level, message);
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }

 private:
  Story& story_;
};

SimSizes::SimSizes(SimDisk& disk, const SimReceiver& receiver, std::chrono::milliseconds pause,
                   Scheduler& scheduler, Story& story)
    : disk_(disk), scheduler_(scheduler), story_(story), log_(std::make_unique<SizesLog>(story)) {
  scheduler_.start_beside("sizes", [this, &receiver, pause] {
    for (;;) {
      scheduler_.sleep_until(story_.now + pause);
      if (!receiver.has_archive()) continue;
      SizeSearch({.segment_size = kSegment, .system_identifier = kSystem}, 20ms, *this).run();
      ++checked_;
    }
  });
}

SimSizes::~SimSizes() = default;

bool SimSizes::rest(std::chrono::nanoseconds time) {
  if (time > 0ns) scheduler_.sleep_until(story_.now + time);
  return true;
}

void SimSizes::with_hooks(const std::function<void(SizeSearch::Hooks&)>& use) {
  SizeSearch::Hooks hooks{
      .log = *log_,
      .board = board_,
      .durability_lost = {},
      .found =
          [](const archive::Loss& loss) {
            throw Violation{"P14", "there is no wrong size, and this is recorded: " + loss.id()};
          },
      .shown = {}};
  use(hooks);
}

std::chrono::system_clock::time_point SimSizes::wall_clock() {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          story_.now.time_since_epoch()));
}

namespace {

/// Looks twice, and is over.
class Twice final : public SizeSearch::Host {
 public:
  explicit Twice(SimDisk& disk) : disk_(disk) {}
  std::unique_ptr<io::Directory> open() override { return disk_.open(); }
  bool rest(std::chrono::nanoseconds time) override { return time == 0ns || --left_ > 0; }
  void with_hooks(const std::function<void(SizeSearch::Hooks&)>& use) override { use(hooks_); }
  std::chrono::steady_clock::time_point now() override { return {}; }
  std::chrono::system_clock::time_point wall_clock() override {
    return std::chrono::system_clock::now();
  }

 private:
  SimDisk& disk_;
  NullLog log_;
  receive::StatusBoard board_;
  SizeSearch::Hooks hooks_{log_, board_, {}, {}, {}};
  int left_ = 3;
};

std::vector<archive::Loss> losses_of(SimDisk& disk) {
  const auto directory = disk.open();
  return archive::read_losses(*directory, archive::list_archive_names(*directory));
}

}  // namespace

bool check_cut_segment(const SimDisk& disk, Random& random, Story& story) {
  const auto copy = disk.copy();
  const auto known = losses_of(*copy);
  std::vector<archive::SegmentFileName> complete;
  for (const auto& name : copy->names())
    if (const auto file = archive::SegmentFileName::parse(name);
        file && !file->partial && (complete.empty() || complete.back().segment != file->segment))
      complete.push_back(*file);
  const auto directory = copy->open();
  const auto timelines = archive::Timelines::read(*directory, archive::list_archive(*directory));
  wal::TimelineId newest = 1;
  for (const auto& name : copy->names())
    newest = std::max(newest, wal::parse_history_name(name).value_or(1));
  if (complete.empty() || complete.back().segment.timeline() != newest) return false;
  const auto history = timelines.history(newest).value_or(wal::TimelineHistory(newest));
  // (Not where WAL is missing, or was left by all later timelines: that is recorded already. And
  // only where a recovery along the newest timeline reads it, on its way to a complete segment.)
  std::vector<wal::SegmentName> between;
  for (std::size_t i = 1; i + 1 < complete.size(); ++i) {
    const auto segment = complete[i].segment;
    const auto segno = segment.segno(kSegment);
    const auto start = segment.start(kSegment);
    const auto next_to = [&](const archive::SegmentFileName& other, std::uint64_t number) {
      return other.segment == wal::SegmentName(segment.timeline(), number, kSegment);
    };
    if (archive::timeline_of_segment(history, segno, kSegment) == segment.timeline() &&
        next_to(complete[i - 1], segno - 1) && next_to(complete[i + 1], segno + 1) &&
        std::none_of(known.begin(), known.end(), [&](const archive::Loss& loss) {
          return loss.begin < start + kSegmentBytes && start < loss.end;
        }))
      between.push_back(segment);
  }
  if (between.empty()) return false;
  const auto cut = between[random.below(between.size())];
  std::vector<std::pair<std::string, std::vector<std::byte>>> before;
  for (const auto& name : copy->names())
    if (const auto file = archive::SegmentFileName::parse(name);
        file && !file->partial && file->segment == cut) {
      before.emplace_back(name, copy->content(name));
      auto content = before.back().second;
      // (A compressed file declares its size at its beginning.)
      content.resize(file->method == codec::Method::none ? random.below(content.size()) : 0);
      copy->put(name, content);
    }
  story.tell("{} is cut, in a copy", cut);
  const auto check = [&](std::set<std::string> recorded) {
    Twice host(*copy);
    SizeSearch(
        {.segment_size = kSegment, .system_identifier = kSystem, .recorded = std::move(recorded)},
        20ms, host)
        .run();
  };
  check({});
  copy->crash(std::ref(random));
  const auto start = cut.start(kSegment);
  const auto found = losses_of(*copy);
  const auto loss = std::find_if(found.begin(), found.end(), [&](const archive::Loss& each) {
    return each.begin == start && each.end == start + kSegmentBytes &&
           each.timeline == cut.timeline();
  });
  if (loss == found.end())
    throw Violation{"P14", fmt::format("{} was cut, and no durable record reports it", cut)};
  for (const auto& [name, content] : before) copy->put(name, content);
  check({loss->id()});
  const auto now = losses_of(*copy);
  if (std::any_of(now.begin(), now.end(),
                  [&](const auto& each) { return each.id() == loss->id(); }))
    throw Violation{"P14", fmt::format("{} is back, and the record says that it is lost", cut)};
  return true;
}

}  // namespace weir::sim
