#include "sim_compare.h"

#include <algorithm>
#include <utility>

namespace weir::sim {

using namespace std::chrono_literals;

/// A receiver has told something that was not handed over, or `of` the process ends.
class SimCompare::News final : public Scheduler::Ready {
 public:
  News(const SimCompare& of, bool until_closed) : of_(of), until_closed_(until_closed) {}
  bool ready() override { return until_closed_ ? of_.closed_ : of_.closing_ || !of_.told_.empty(); }

 private:
  const SimCompare& of_;
  const bool until_closed_;
};

/// Nothing but a difference is an error.
class SimCompare::CompareLog final : public Log {
 public:
  explicit CompareLog(SimCompare& of) : of_(of) {}
  void write(LogLevel level, std::string_view message) override {
    of_.world_.story.write(level, message);
  }
  bool enabled(LogLevel level) const override { return of_.world_.story.enabled(level); }
  void write_error(const Error& error) override {
    if (enabled(LogLevel::error)) Log::write_error(error);
    ++told;
  }
  std::uint64_t told = 0;

 private:
  SimCompare& of_;
};

SimCompare::SimCompare(World world, std::uint64_t seed)
    : world_(world),
      machine_(world.scheduler, world.story),
      log_(std::make_unique<CompareLog>(*this)) {
  world_.reference.serve(machine_);
  judging_ = feed_.listen([this](const receive::event::FeedsDiffer& found) {
    try {
      judge(found.difference);
    } catch (const Violation& violation) {
      complaint_ = violation;
    }
  });
  // Called under Feed's lock, which is the machine's below: nobody may wait for a simulated one
  // here.
  listening_ = world_.feed.listen(
      [this](const receive::event::Streaming& each) { told_.emplace_back(each); },
      [this](const receive::event::DurableEnd& each) {
        if (!told_.empty() && std::holds_alternative<receive::event::DurableEnd>(told_.back()))
          told_.pop_back();
        told_.emplace_back(each);
      });
  world_.scheduler.start_beside("compare news", [this, seed] { run(seed); });
}

SimCompare::~SimCompare() = default;

void SimCompare::run(std::uint64_t seed) {
  const auto rate = seed % 4 == 0 ? std::uint64_t{300'000} : std::uint64_t{1} << 40;
  compare_ = std::make_unique<receive::CompareFeed>(
      receive::CompareFeed::Options{.conninfo = "host=reference",
                                    .archive = {},
                                    .bytes_per_second = rate,
                                    .look_every = std::chrono::milliseconds(1 + seed % 400)},
      receive::CompareFeed::World{.servers = world_.reference,
                                  .machine = machine_,
                                  .feed = feed_,
                                  .board = world_.board,
                                  .log = *log_,
                                  .open = [this] { return world_.disk.open(); },
                                  .seed = seed});
  while (!closing_) {
    News news(*this, false);
    world_.scheduler.wait(&news, std::nullopt);
    while (!told_.empty() && !closing_) {
      const auto next = std::move(told_.front());
      told_.pop_front();
      receive::on(
          next, [this](const receive::event::Streaming& each) { on_streaming(each); },
          [this](const receive::event::DurableEnd& each) { on_durable(each); });
    }
  }
  closed_ = true;
}

void SimCompare::on_streaming(const receive::event::Streaming& streaming) {
  if (parts_.empty() || parts_.back().timeline != streaming.timeline ||
      streaming.start > parts_.back().durable)
    parts_.push_back({streaming.timeline, streaming.start, streaming.start});
  feed_.publish(streaming);
}

void SimCompare::on_durable(const receive::event::DurableEnd& durable) {
  if (!parts_.empty() && parts_.back().timeline == durable.timeline)
    parts_.back().durable = std::max(parts_.back().durable, durable.end);
  feed_.publish(durable);
}

void SimCompare::judge(const receive::FeedDifference& found) const {
  const auto& [timeline, at] = std::pair(found.timeline, found.at);
  const auto ours = world_.lineage.bytes(timeline, at, at + 1)[0];
  const auto theirs = world_.reference.bytes(timeline, at, at + 1)[0];
  if (ours == theirs || found.archive_byte != ours || found.other_byte != theirs)
    throw Violation{
        "P7", fmt::format("a difference is reported where there is none: {}", found.to_string())};
  const auto segment = kSegment.start_of(at);
  const auto first = world_.lineage.first_wrong(timeline, segment,
                                                world_.reference.bytes(timeline, segment, at + 1));
  if (first && *first < at)
    throw Violation{"P7", fmt::format("the first difference is at {}, and this is reported: {}",
                                      *first, found.to_string())};
}

void SimCompare::look() {
  if (!compare_ && !closed_) return;
  world_.board.update([this](const receive::ReceiverView& view) {
    if (view.comparison) seen_ = *view.comparison;
  });
}

void SimCompare::check() {
  look();
  if (complaint_) throw Violation{*complaint_};
  if (world_.reference.complaint()) throw Violation{*world_.reference.complaint()};
  if ((seen_.differences == 0) != (log_->told == 0) && seen_.differences == 0)
    throw Violation{"P7", "an error is logged, and no difference is shown"};
  for (const auto& part : parts_) {
    const auto wrong = world_.reference.wrong(part.timeline);
    if (!wrong) continue;
    if (seen_.differences > 0 || seen_.skipped_bytes > 0) return;
    const bool compared = seen_.timeline > part.timeline ||
                          (seen_.timeline == part.timeline && seen_.position >= wrong->end);
    if (compared && part.start <= wrong->byte && wrong->end <= part.durable)
      throw Violation{"P7", fmt::format("WAL of timeline {} counts as compared up to {}, and the "
                                        "difference at {} was not reported",
                                        part.timeline, seen_.position, wrong->byte)};
  }
  if (seen_.differences == 0) return;
  for (wal::TimelineId timeline = 1; timeline <= world_.lineage.newest(); ++timeline)
    if (world_.reference.wrong(timeline)) return;
  throw Violation{"P7", fmt::format("a difference is reported, and there is none: {}",
                                    seen_.difference.value_or(""))};
}

bool SimCompare::done() {
  if (!told_.empty() || parts_.empty()) return false;
  look();
  const auto& last = parts_.back();
  if (last.durable <= last.start || seen_.differences > 0) return true;
  // (Of a record that begins before the stream, nothing counts as compared.)
  const auto complete = world_.lineage.timeline(last.timeline).wal.complete_end(last.durable);
  const bool any = complete > world_.lineage.first_read_from(last.timeline, last.start);
  if (seen_.problem.empty() && seen_.timeline == last.timeline &&
      seen_.position >= (any ? complete : last.start))
    return true;
  // It says why not, the server has removed the WAL, or a difference is not reported before the
  // record is complete on both sides; and nothing else happens for a while.
  const State state{seen_.problem, seen_.position, seen_.skipped_bytes};
  if (state != state_) {
    state_ = state;
    state_since_ = world_.story.now;
  }
  const auto wrong = world_.reference.wrong(last.timeline);
  return (!seen_.problem.empty() || seen_.skipped_bytes > 0 ||
          (wrong && wrong->byte < last.durable)) &&
         world_.story.now > state_since_ + 70s;
}

void SimCompare::end() {
  const auto begun = world_.story.now;
  closing_ = true;
  News news(*this, true);
  world_.scheduler.wait(&news, std::nullopt);
  compare_.reset();
  world_.story.tell("comparing ends after {} ms", (world_.story.now - begun) / 1ms);
}

}  // namespace weir::sim
