// Each event is published once (`receive/feed.h`): streaming, the durable end, a complete or
// compressed segment, a timeline switch, a sync and its duration, a full disk, errors, the end. The
// status board, the notifications, the progress line, systemd and the warning about slow syncs are
// listeners. They are independent of each other, and none may block. Facts found by a watcher (the
// slot's health, acknowledgements of losses) are written to the board directly, because they are
// not events. `event::DurableEnd` is raised where `StreamPolicy::on_sync_done` has advanced the
// flush position, under the stream's lock, so that it never goes back; code that serves WAL
// downstream must use that, and nothing else. The stream loop does three things by calls instead of
// events. The first WAL is a hook: `Streaming` then publishes that it streams, and a listener may
// not publish. A full disk goes through `Alarms`, which remembers reports across streams, and
// publishes only changes. Complete segments are handed to the compressor after all listeners were
// notified: were it one of them, others could learn that a segment is compressed before they learn
// that it is complete.

#include "receive/streaming.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "archive/border.h"
#include "archive/compress.h"
#include "archive/find_losses.h"
#include "archive/history_store.h"
#include "archive/kept_slots.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "wal/page.h"
#include "wire/shutdown_sign.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::hours kNever(24 * 365);
/// If another host may be promoted: an idle server answers at once, a hanging one does not.
constexpr std::chrono::milliseconds kAsksForLifeAfter{2'000};
/// Writing more before streaming starts would take too long.
constexpr std::uint64_t kLargestPreparedAtOnce = std::uint64_t{64} << 20;

/// The board queries the loop during its lifetime.
class LiveStatus {
 public:
  LiveStatus(Feed& feed, StatusBoard& board, StreamLoop& loop) : feed_(feed), board_(board) {
    board_.set_live([&loop] { return loop.snapshot(); });
    feed_.publish(event::StreamRuns{true});
  }
  ~LiveStatus() {
    board_.set_live({});
    feed_.publish(event::StreamRuns{false});
  }
  LiveStatus(const LiveStatus&) = delete;
  LiveStatus& operator=(const LiveStatus&) = delete;

 private:
  Feed& feed_;
  StatusBoard& board_;
};

/// The slots of the other servers are advanced with the stream during its lifetime.
class KeptLine {
 public:
  explicit KeptLine(SlotKeeper* keeper) : keeper_(keeper) {}
  ~KeptLine() {
    if (keeper_ != nullptr) keeper_->end_line();
  }
  KeptLine(const KeptLine&) = delete;
  KeptLine& operator=(const KeptLine&) = delete;

 private:
  SlotKeeper* const keeper_;
};

wal::RecordVerifier::Options verifier_options(const step::Stream& step, const Server& server) {
  return {.segment_size = step.segment_size,
          .timeline = step.timeline,
          .system_identifier = step.system_identifier,
          .server_major = server.major()};
}

ArchivedSoFar archived_at_begin(const step::Stream& step, const Streaming::Partners& partners) {
  ArchivedSoFar ours{.system_identifier = step.system_identifier,
                     .segment_size = step.segment_size,
                     .end = {.timeline = step.timeline, .start = step.start},
                     .position = step.start};
  if (partners.history && partners.history->timeline() == step.timeline)
    ours.end.history = partners.history;
  return ours;
}

/// The server has ended the stream, and accepts commands again.
bool ended_by_server(const StreamOutcome& outcome) {
  return outcome.how == StreamOutcome::How::timeline_ended ||
         outcome.how == StreamOutcome::How::dropped ||
         (outcome.error && outcome.error->kind() == ErrorKind::gap);
}

}  // namespace

Streaming::Streaming(const World& world)
    : world_(world),
      options_(world.options),
      environment_(world.environment),
      directory_(world.environment.directory),
      log_(world.environment.log),
      feed_(world.environment.feed),
      machine_(world.environment.machine) {}

StreamOutcome Streaming::run(const step::Stream& step, const Partners& partners) {
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::failed;
  outcome.reached = step.start;
  try {
    return stream(step, partners);
  } catch (const Error& error) {
    outcome.error = error;
  } catch (const std::system_error& error) {
    outcome.error = unexpected(error);  // usually a temporary lack of threads
  }
  return outcome;
}

StreamOutcome Streaming::stream(const step::Stream& step, const Partners& partners) {
  auto& server = partners.server;
  archive::SegmentWriter writer(directory_, writer_options(step, partners.memory));
  writer.begin(step.timeline, step.start, step.open);
  prepare_first_segment(step, writer);
  minimal_wal_.begin({.timeline = step.timeline,
                      .start = step.start,
                      .server_end = step.server_end,
                      .system_identifier = step.system_identifier,
                      .segment_size = step.segment_size,
                      .server = server.name()},
                     partners.losses);
  auto verifier = verifier_for(step, server);
  Intake intake(verifier, writer);
  if (server.major() <= wal::kNewestKnownMajor &&
      std::any_of(step.open.begin(), step.open.end(),
                  [](const auto& open) { return open.trusted_end > open.first_record; }))
    intake.expect_known_version();

  // Read the archive before the server streams: from then on it expects replies.
  std::optional<FirstWal> first_wal;
  auto line = kept_line(step, partners, intake, first_wal);
  releases_xmin_ = may_release_xmin();
  const auto standby = world_.moves.role_of(server);
  if (line) line->primary = standby == false;
  const auto stream = server.start(options_.slot, step.start, step.timeline);
  holds_connection_ = true;

  bool announced = false;
  StreamLoop::Hooks hooks;
  hooks.first_wal = [&] {
    announced = true;
    announce(step, partners);
  };
  hooks.unchecked = [&] { warn_of_unchecked(server.major()); };
  // A server first reports that it streams, and then that it no longer has the WAL. So streaming is
  // reported when WAL has arrived, or if there is none yet that could be missing.
  if (world_.habits.believes_that_it_streams() || step.server_end <= step.start)
    std::exchange(hooks.first_wal, {})();
  // A restart must not take the WAL that follows for the far side of a hole. Not here: it may wait
  // for the disk, and the loop replies to the server.
  bool removed = step.void_losses.empty();
  hooks.before_writing = [&] {
    if (!removed) archive::remove_losses(directory_, step.void_losses);
    removed = true;
    if (const auto read_to = verifier.position(); minimal_wal_.must_record(read_to))
      minimal_wal_.record(directory_, format_time(machine_.wall_clock()), partners.lost, read_to);
  };

  Spare spare(writer, machine_.threads(), log_, world_.alarms.durability_lost_hook());
  ShutdownWatch shutdown_watch(server.shutdown_probe(), machine_.threads(), log_);
  auto outcome = carry(step, partners,
                       {.stream = *stream,
                        .writer = writer,
                        .intake = intake,
                        .spare = spare,
                        .shutdown_watch = shutdown_watch,
                        .hooks = std::move(hooks),
                        .line = std::move(line),
                        .standby = standby});
  if (ended_by_server(outcome)) holds_connection_ = false;
  spare.stop();
  writer.end();
  publish_end(step, outcome);
  if (announced)
    log_.info("stopped streaming timeline {} at {}; all of it is durable", step.timeline,
              outcome.reached);
  return outcome;
}

/// Runs the loop, and the components that accompany it.
StreamOutcome Streaming::carry(const step::Stream& step, const Partners& partners,
                               Carriers carriers) {
  StreamState state(state_options(step, partners), step.timeline, step.start, machine_.now());
  StreamPolicy policy(policy_options(step), state);
  StreamLoop loop({.stream = carriers.stream,
                   .state = state,
                   .policy = policy,
                   .writer = carriers.writer,
                   .intake = carriers.intake,
                   .spare = carriers.spare,
                   .shutdown_watch = carriers.shutdown_watch,
                   .machine = machine_,
                   .stop = environment_.stop,
                   .feed = feed_,
                   .alarms = world_.alarms,
                   .log = log_,
                   .compression = partners.compression,
                   .downstream = environment_.downstream,
                   .store = environment_.store},
                  std::move(carriers.hooks));
  const LiveStatus live(feed_, environment_.board, loop);
  const KeptLine kept(partners.slot_keeper);
  if (carriers.line) partners.slot_keeper->begin_line(std::move(*carriers.line));
  const auto watch = watch_for_preferred(step, partners, carriers.standby, loop);
  const auto successor = watch_for_successor(step, partners, loop);
  const auto stalled = watch_for_stall(step, partners, carriers.standby, loop);
  const auto secrets_watch = world_.secrets.watch(partners.server, [&loop] { loop.leave(); });
  auto outcome = loop.run();
  longest_pause_ = policy.longest_pause();
  return outcome;
}

archive::SegmentWriter::Options Streaming::writer_options(const step::Stream& step,
                                                          const MemoryPlan& memory) const {
  return {.segment_size = step.segment_size,
          .replaceable = world_.inspection.wrong_sizes(),
          .compression = quick_compression(memory),
          .largest_buffered = memory.buffer_segments ? environment_.scale.largest_buffered : 0,
          .threads = &machine_.threads()};
}

/// The method, if it keeps up with the server. Otherwise WAL should rather be durable early than
/// small: segments are archived raw, and compressed in the background.
codec::Compression Streaming::quick_compression(const MemoryPlan& memory) const {
  constexpr int kHighestQuickLevel = 3;
  const auto& wanted = memory.compression;
  const bool quick = wanted.method == codec::Method::zstd && wanted.level <= kHighestQuickLevel;
  return quick && memory.quick ? wanted : codec::Compression{};
}

/// Commits wait from the start, and a sync of blocks written before takes half the time: so the
/// first segment is prepared like later ones, if it is to be created and there is little to catch
/// up. Once, so that reconnects do not repeat the write.
void Streaming::prepare_first_segment(const step::Stream& step, archive::SegmentWriter& writer) {
  if (std::exchange(first_segment_prepared_, true) || !step.open.empty() ||
      step.segment_size.bytes() > kLargestPreparedAtOnce ||
      step.server_end >= step.start + step.segment_size.bytes())
    return;
  try {
    writer.prepare_spare();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.debug("no spare segment could be prepared: {}", error.what());
  }
}

wal::RecordVerifier Streaming::verifier_for(const step::Stream& step, const Server& server) {
  const auto known = std::exchange(border_, std::nullopt);
  if (known && known->timeline == step.timeline && known->end == step.start) return known->verifier;
  auto options = verifier_options(step, server);
  options.observer = &minimal_wal_;
  return archive::verifier_at(directory_, options, step.start);
}

void Streaming::warn_of_unchecked(int major) {
  if (std::exchange(told_unchecked_, true)) return;
  log_.warning(
      "the WAL of this server (PostgreSQL {}) is newer than this pgweir knows: it is archived, and "
      "checked only as far as its format is still that of PostgreSQL {}; use a newer pgweir",
      major, wal::kNewestKnownMajor);
}

StreamState::Options Streaming::state_options(const step::Stream& step,
                                              const Partners& partners) const {
  const auto timeout = partners.parameters.wal_sender_timeout;
  // Replies must reach the server within wal_sender_timeout, regardless of the disk.
  auto interval = options_.status_interval;
  if (interval == 0ms)
    interval = kNever;
  else if (timeout > 0ms)
    interval = std::min<std::chrono::milliseconds>(interval, std::max(timeout / 3, 100ms));
  return {.flush = options_.flush,
          .apply = options_.apply,
          .report_flush = options_.report_flush,
          .confirm_stored = options_.confirm == Confirm::stored,
          .slot_position = step.slot_position,
          .releases_xmin = releases_xmin_,
          .held_end = step.held_end,
          .endpos = options_.endpos,
          .endpos_inclusive = options_.endpos_inclusive,
          .segment_size = step.segment_size,
          .status_interval = interval,
          .silence_limit = options_.silence_limit,
          .asks_for_life_after = partners.server.host_count() > 1 && world_.habits.asks_all_hosts()
                                     ? std::optional(kAsksForLifeAfter)
                                     : std::nullopt,
          .unsynced_limit = partners.memory.unsynced_limit,
          .largest_buffered = environment_.scale.largest_buffered,
          .server_end = step.server_end,
          .soon_again = wire::ShutdownSign::soon_again(timeout),
          .catch_up_bytes = environment_.scale.catch_up_bytes};
}

/// Not while a slot of the archive holds one: its client may return, and --serve with it.
bool Streaming::may_release_xmin() const {
  if (!options_.slot || options_.stock_habits || environment_.downstream != nullptr) return false;
  try {
    const auto kept = archive::read_slots(directory_).value_or(archive::KeptSlots{});
    return std::all_of(kept.slots.begin(), kept.slots.end(), [](const archive::KeptSlot& slot) {
      return slot.xmin == 0 && slot.catalog_xmin == 0;
    });
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.debug("the slots of the archive could not be read: {}", error.what());
    return false;
  }
}

StreamPolicy::Options Streaming::policy_options(const step::Stream& step) const {
  return {.on_disk_full = options_.on_disk_full,
          .one_segment_at_a_time = world_.habits.one_segment_at_a_time(),
          .segment_size = step.segment_size,
          .endpos = options_.endpos,
          .silence_limit = options_.silence_limit,
          .longest_pause = longest_pause_,
          .progress_interval = environment_.progress_interval};
}

/// The state for advancing the slots of the other servers; nullopt: there are none. It queries
/// `intake`, and `begins` if set: the first WAL of the timeline, if the stream contains it.
std::optional<SlotKeeper::Line> Streaming::kept_line(const step::Stream& step,
                                                     const Partners& partners, Intake& intake,
                                                     std::optional<FirstWal>& begins) {
  if (partners.slot_keeper == nullptr) return std::nullopt;
  auto history = std::optional(wal::TimelineHistory(1));
  if (step.timeline > 1) {
    history.reset();
    try {
      if (const auto content = archive::read_history(directory_, step.timeline))
        history = wal::TimelineHistory::parse(step.timeline, *content);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw;
      log_.debug("the history of timeline {} could not be read: {}", step.timeline, error.what());
    }
  }
  if (!history) {
    log_.warning(
        "the archive's history of timeline {} cannot be read: it is unknown which other servers "
        "belong to it, so their slots are not maintained until the next connection",
        step.timeline);
    return std::nullopt;
  }
  auto first_wal = world_.inspection.first_wal_before(*history, step.start, step.segment_size);
  if (const auto begin = *history->begin_of(step.timeline); begin.valid() && step.start <= begin)
    intake.show_to(begins.emplace(begin));
  SlotKeeper::Line line{.host = partners.server.host_index(),
                        .system_identifier = step.system_identifier,
                        .segment_size = step.segment_size,
                        .history = *history,
                        .start = step.start,
                        .first_wal = std::move(first_wal),
                        .records_end = [&intake] { return intake.records_end(); },
                        .first_of_timeline = {}};
  if (begins) line.first_of_timeline = [&begins] { return begins->so_far(); };
  return line;
}

std::unique_ptr<PreferWatch> Streaming::watch_for_preferred(const step::Stream& step,
                                                            const Partners& partners,
                                                            std::optional<bool> standby,
                                                            StreamLoop& loop) {
  return world_.moves.watch({.host = partners.server.host_index(),
                             .standby = standby,
                             .ours = archived_at_begin(step, partners),
                             .durable = [&loop] { return loop.snapshot().flush; },
                             .leave = [&loop] { loop.leave(); }});
}

std::unique_ptr<StallWatch> Streaming::watch_for_stall(const step::Stream& step,
                                                       const Partners& partners,
                                                       std::optional<bool> standby,
                                                       StreamLoop& loop) {
  return world_.moves.watch_for_stall(
      {.host = partners.server.host_index(),
       .standby = standby,
       .ours = archived_at_begin(step, partners),
       .durable = [&loop] { return loop.snapshot().flush; },
       .idle_for = [&loop] { return loop.idle_for(); },
       .abandon = [&loop](std::chrono::milliseconds least,
                          const Error& error) { return loop.abandon_if_idle_for(least, error); }});
}

/// (Commits may be waiting for the archive at the new primary: do not wait for --timeout.)
std::unique_ptr<SuccessorWatch> Streaming::watch_for_successor(const step::Stream& step,
                                                               const Partners& partners,
                                                               StreamLoop& loop) {
  if (!world_.habits.asks_all_hosts()) return nullptr;
  return world_.moves.watch_for_successor({.host = partners.server.host_index(),
                                           .ours = archived_at_begin(step, partners),
                                           .durable = [&loop] { return loop.snapshot().flush; },
                                           .silent_for = [&loop] { return loop.silent_for(); },
                                           .abandon =
                                               [&loop](const Error& error) {
                                                 loop.abandon_if_silent_for(
                                                     SuccessorWatch::kSilence, error);
                                               }});
}

void Streaming::announce(const step::Stream& step, const Partners& partners) {
  log_.info("streaming timeline {} from {} ({})", step.timeline, step.start,
            partners.server.name());
  feed_.publish(event::StateChanged{"streaming"});
  // A stream that found a full disk may have ended before there was space again.
  world_.alarms.disk_full(false);
  if (partners.slot_guard != nullptr) partners.slot_guard->expect(true, partners.server.name());
  feed_.publish(event::Streaming{step.timeline, step.start});
}

void Streaming::publish_end(const step::Stream& step, const StreamOutcome& outcome) {
  if (outcome.how == StreamOutcome::How::stopped)
    feed_.publish(event::Stopped{step.timeline, outcome.reached, environment_.stop.raised()});
  note_unfinished(step, outcome);
  if (outcome.how == StreamOutcome::How::timeline_ended)
    feed_.publish(event::TimelineSwitched{outcome.next->timeline, outcome.next->switchpoint});
}

void Streaming::note_unfinished(const step::Stream& step, const StreamOutcome& outcome) {
  const auto& size = step.segment_size;
  const auto written = size.offset(outcome.reached);
  if (written == 0 || outcome.reached < step.start) return;
  const wal::SegmentName segment(step.timeline, size.segno(outcome.reached), size);
  auto& left = unfinished_[segment];
  left = {.size = size, .written = std::max(left.written, written)};
  const auto method = options_.compression.method;
  const archive::SegmentFileName name{
      segment, method == codec::Method::zstd ? codec::Method::none : method, true};
  feed_.publish(event::LeftUnfinished{name.to_string()});
}

void Streaming::compress_unfinished() {
  const auto method = options_.compression.method;
  // pg_receivewal does not support zstd, so there is no naming convention to follow: raw is better.
  const bool compressed = method == codec::Method::gzip || method == codec::Method::lz4;
  for (const auto& [segment, left] : unfinished_)
    if (compressed) archive::compress_partial(directory_, segment, left.size, method, left.written);
}

}  // namespace weir::receive
