#include "sim_receiver.h"

#include <algorithm>

#include "archive/border.h"
#include "archive/compress.h"
#include "archive/find_losses.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "mutant_directory.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;
using receive::StreamOutcome;
using receive::StreamTurns;
using wal::Lsn;

}  // namespace

/// What receive::Compression does, without its thread.
struct SimReceiver::Compressor {
  Compressor(Surroundings& surroundings, std::shared_ptr<io::Directory> archive,
             codec::Compression how)
      : world(surroundings), directory(std::move(archive)), compression(how) {}

  void work() {
    Mutant mutant = Mutant::none;
    if (world.mutant == Mutant::compressed_not_synced || world.mutant == Mutant::raw_removed_first)
      mutant = world.mutant;
    MutantDirectory mutated(*directory, mutant);
    auto& through = mutant == Mutant::none ? *directory : mutated;
    while (!stop && !queue.empty()) {
      const auto segment = queue.front();
      queue.pop_front();
      try {
        if (archive::compress_segment(through, segment, kSegment, compression,
                                      [this] { return stop; }))
          world.story.tell("compressed {}", segment.to_string());
      } catch (const Error& error) {
        world.story.tell("compressing {}: {}", segment.to_string(), error.what());
        if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
        if (error.kind() == ErrorKind::damage || error.kind() == ErrorKind::conflict)
          throw Violation{"P2", error.what()};
      }
    }
  }

  Surroundings& world;
  const std::shared_ptr<io::Directory> directory;
  const codec::Compression compression;
  std::deque<wal::SegmentName> queue;
  bool stop = false;
};

struct SimReceiver::Streaming {
  Streaming(std::shared_ptr<io::Directory> archive, const receive::Options& options,
            const receive::step::Stream& step, int major, Mutant mutant, bool stock_habits,
            std::chrono::nanoseconds longest_pause, receive::Time now)
      : directory(std::move(archive)),
        writer(*directory, {.segment_size = step.segment_size, .compression = options.compression}),
        verifier(verifier_at(*directory, verifier_options(step, major), step.start, mutant)),
        intake(verifier, writer),
        state({.flush = options.flush,
               .apply = options.apply,
               .endpos = options.endpos,
               .segment_size = step.segment_size,
               .status_interval = options.status_interval,
               .silence_limit = options.silence_limit,
               .unsynced_limit = kUnsyncedLimit},
              step.timeline, step.start, now),
        turns({.on_disk_full = options.on_disk_full,
               .stock_habits = stock_habits,
               .segment_size = step.segment_size,
               .longest_pause = longest_pause},
              state) {}

  [[nodiscard]] StreamTurns::Held held() const {
    return {.wal = intake.holds_something(), .disputed = intake.disputes()};
  }

  static wal::RecordVerifier verifier_at(io::Directory& archive,
                                         const wal::RecordVerifier::Options& options, Lsn start,
                                         Mutant mutant) {
    const wal::RecordVerifier fresh(options, start);
    if (mutant == Mutant::border_not_checked) return fresh;
    auto verifier = archive::verifier_at(archive, options, start);
    // It ends with the empty rest behind an xlog switch.
    const bool empty = !verifier.inside_record() && verifier.records_end() < start;
    return mutant == Mutant::link_not_carried && empty ? fresh : verifier;
  }

  static wal::RecordVerifier::Options verifier_options(const receive::step::Stream& step,
                                                       int major) {
    return {.segment_size = step.segment_size,
            .timeline = step.timeline,
            .system_identifier = step.system_identifier,
            .server_major = major};
  }

  const std::shared_ptr<io::Directory> directory;
  archive::SegmentWriter writer;
  wal::RecordVerifier verifier;
  receive::Intake intake;
  receive::StreamState state;
  StreamTurns turns;
  std::vector<Sync> syncs;  ///< in the order they were taken
  /// The thread that reads and writes sleeps, as it was told to.
  std::optional<StreamTurns::Rest> rest;
  bool writing = false;  ///< or hangs in a write
  Lsn dropped;           ///< the end of it
  receive::Time cared_at{};
};

SimReceiver::SimReceiver(const receive::Options& options, Surroundings& surroundings,
                         std::uint64_t seed)
    : options_(options),
      world_(surroundings),
      directory_(surroundings.disk.open()),
      state_(options, surroundings.story, seed),
      stock_habits_(surroundings.random.one_in(8)),
      collects_(!stock_habits_ && surroundings.random.coin()) {
  if (world_.mutant == Mutant::sync_tried_again || world_.mutant == Mutant::close_error_ignored ||
      world_.mutant == Mutant::archive_not_locked) {
    // The directory behind it has to live as long.
    const auto real = directory_;
    directory_ =
        std::shared_ptr<io::Directory>(new MutantDirectory(*real, world_.mutant),
                                       [real](io::Directory* directory) { delete directory; });
  }
}

std::optional<Error> SimReceiver::run() {
  run_to_the_end();
  if (compressor_) {
    // What is under way is broken off and left raw.
    compressor_->stop = true;
    world_.actors.finish("compressor");
  }
  return result_;
}

void SimReceiver::take_archive(io::Directory& directory) {
  if (!directory.try_lock())
    throw Error(ErrorKind::conflict, "another process is writing into this archive");
  archive::clean_up(directory, archive::list_archive_names(directory));
}

void SimReceiver::run_to_the_end() {
  try {
    take_archive(*directory_);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
    if (error.kind() == ErrorKind::conflict)
      throw Violation{"P5", "the lock of a process that is gone is still held"};
    result_ = error;
    return;
  }
  for (;;) {
    if (world_.tick()) stop_ = true;
    if (stop_) state_.request_stop();  // also where it came while streaming and the stream failed
    const auto step = state_.next();
    // A hole that is found later is no excuse for having made it.
    for (const auto& loss : state_.losses())
      if (loss.kind == archive::Loss::Kind::hole && loss.cause.starts_with("accepted"))
        world_.ledger.on_hole({loss.begin, loss.end});
    if (const auto* stop = std::get_if<receive::step::Stop>(&step)) {
      result_ = stop->error;
      return;
    }
    try {
      perform(step);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
      state_.failed(error, world_.story.now);
    }
  }
}

void SimReceiver::perform(const receive::Step& step) {
  namespace step_ns = receive::step;
  auto& upstream = world_.upstream;
  if (const auto* connect = std::get_if<step_ns::Connect>(&step)) {
    receive::Upstream connected;
    connected.host_index = upstream.connect(connect->first_host);
    connected.name = fmt::format("node {}", connected.host_index);
    connected.host_count = static_cast<int>(upstream.nodes().size());
    connected.major = upstream.lineage().server_major();
    if (connected.major >= 14) connected.standby = upstream.connected().standby;
    state_.on_connected(std::move(connected));
  } else if (std::holds_alternative<step_ns::Identify>(step)) {
    state_.on_identified(upstream.identify());
  } else if (std::holds_alternative<step_ns::ReadParameters>(step)) {
    state_.on_parameters({kSegment, 60'000ms});
  } else if (std::holds_alternative<step_ns::ReadSlot>(step)) {
    state_.on_slot(upstream.read_slot());
  } else if (const auto* fetch = std::get_if<step_ns::FetchHistory>(&step)) {
    state_.on_history(fetch->timeline, upstream.history(fetch->timeline));
  } else if (const auto* archive = std::get_if<step_ns::InspectArchive>(&step)) {
    inspect(*archive);
  } else if (const auto* history = std::get_if<step_ns::StoreHistory>(&step)) {
    store_history(*history);
  } else if (const auto* end = std::get_if<step_ns::FindEnd>(&step)) {
    state_.on_end_found(archive::sound_end(*directory_, archive::list_archive_names(*directory_),
                                           end->timeline, end->from, kSegment));
  } else if (const auto* loss = std::get_if<step_ns::RecordLoss>(&step)) {
    record_loss(*loss);
  } else if (const auto* probe = std::get_if<step_ns::Probe>(&step)) {
    state_.on_probed(upstream.has(probe->timeline, probe->lsn));
  } else if (const auto* compare = std::get_if<step_ns::CompareTail>(&step)) {
    compare_tail(*compare);
  } else if (const auto* stream_step = std::get_if<step_ns::Stream>(&step)) {
    stream(*stream_step);
  } else if (std::holds_alternative<step_ns::Disconnect>(step)) {
    upstream.disconnect();
    state_.on_disconnected();
  } else if (const auto* wait = std::get_if<step_ns::Wait>(&step)) {
    world_.story.now += wait->time;
    state_.on_waited();
  }
}

/// As Session::perform(InspectArchive) does it.
void SimReceiver::inspect(const receive::step::InspectArchive& step) {
  for (;;) {
    const auto listing = archive::list_archive(*directory_);
    try {
      inspect(step, listing);
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw;
      // What failed on a listing that is out of date, because of the compressor, says nothing.
      const auto same_name = [](const auto& a, const auto& b) { return a.name == b.name; };
      const auto after = archive::list_archive(*directory_).segments;
      if (std::equal(listing.segments.begin(), listing.segments.end(), after.begin(), after.end(),
                     same_name))
        throw;
    }
  }
}

void SimReceiver::inspect(const receive::step::InspectArchive& step,
                          const archive::Listing& listing) {
  if (world_.mutant != Mutant::cluster_not_checked)
    if (const auto identity = archive::read_identity(*directory_, listing))
      archive::require_same_cluster(*identity, step.system_identifier, step.segment_size,
                                    directory_->path());
  receive::ArchiveFacts facts;
  facts.resume = archive::find_resume_point(*directory_, listing, step.segment_size);
  for (const auto& history : listing.histories)
    if (auto content = archive::read_history(*directory_, history.timeline))
      facts.histories.emplace(history.timeline, std::move(*content));
  look_for_losses(listing, facts);
  if (world_.mutant != Mutant::end_not_made_durable)
    archive::make_end_durable(*directory_, listing);
  if (!compressor_ && options_.compression.method != codec::Method::none) {
    compressor_ = std::make_shared<Compressor>(world_, directory_, options_.compression);
    compress(archive::uncompressed_segments(listing));
  }
  if (facts.resume) {
    world_.story.tell("the archive ends on timeline {} at {}, {} open segment(s)",
                      facts.resume->timeline, facts.resume->start, facts.resume->open.size());
    if (world_.mutant == Mutant::resume_at_newest_partial && facts.resume->open.size() > 1) {
      facts.resume->open = {facts.resume->open.back()};
      facts.resume->start = facts.resume->open.front().start;
    }
  }
  state_.on_archive(std::move(facts));
}

void SimReceiver::look_for_losses(const archive::Listing& listing, receive::ArchiveFacts& facts) {
  try {
    archive::close_losses(*directory_, listing);
    facts.losses = archive::read_losses(*directory_, listing);
    if (!facts.resume) return;
    const auto timelines = archive::Timelines::read(*directory_, listing);
    facts.found =
        archive::find_unrecorded_losses(*directory_, listing, timelines, kSegment, facts.losses);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    world_.story.tell("losses: {}", error.what());
  }
}

void SimReceiver::record_loss(const receive::step::RecordLoss& step) {
  auto loss = step.loss;
  if (loss.kind == archive::Loss::Kind::lost_branch)
    archive::count_commits(*directory_, archive::list_archive_names(*directory_), loss);
  const bool branch = loss.kind == archive::Loss::Kind::lost_branch;
  if (loss.cause.starts_with("accepted")) world_.ledger.on_hole_accepted({loss.begin, loss.end});
  if (world_.mutant == Mutant::loss_recorded_too_late) {
    late_losses_.push_back(loss);
  } else if (world_.mutant != Mutant::lost_branch_not_told || !branch) {
    MutantDirectory directory(*directory_, world_.mutant);
    archive::record_loss(directory, loss);
    world_.story.tell("recorded {} to {}: {}", loss.id(), loss.end, loss.cause);
  }
  state_.on_loss_recorded(std::move(loss));
}

void SimReceiver::store_late_losses() {
  for (const auto& loss : std::exchange(late_losses_, {})) archive::record_loss(*directory_, loss);
}

void SimReceiver::compress(const std::vector<wal::SegmentName>& segments) {
  if (!compressor_ || segments.empty()) return;
  compressor_->queue.insert(compressor_->queue.end(), segments.begin(), segments.end());
  if (!world_.actors.running("compressor"))
    world_.actors.start("compressor", [compressor = compressor_] { compressor->work(); });
}

void SimReceiver::store_history(const receive::step::StoreHistory& step) {
  if (world_.mutant == Mutant::history_too_late) {
    late_history_ = step;
  } else {
    std::vector<std::uint64_t> never_completed;
    if (world_.mutant == Mutant::history_not_synced) world_.deferring = &never_completed;
    archive::store_history(*directory_, step.timeline, step.content);
    world_.deferring = nullptr;
    world_.story.tell("stored the history of timeline {}", step.timeline);
  }
  state_.on_history_stored(step.timeline);
}

/// As Session::perform(CompareTail) does it.
void SimReceiver::compare_tail(const receive::step::CompareTail& step) {
  using receive::TailComparison;
  // (What a record over the border had damaged in front differs from the server's, too.)
  if (world_.mutant == Mutant::tail_not_compared || world_.mutant == Mutant::border_not_checked) {
    state_.on_tail_compared({});
    return;
  }
  const auto tail = archive::tail_before(*directory_,
                                         {.segment_size = step.segment_size,
                                          .timeline = step.timeline,
                                          .system_identifier = step.system_identifier,
                                          .server_major = world_.upstream.lineage().server_major()},
                                         step.end);
  if (!tail) {
    state_.on_tail_compared({});
    return;
  }
  TailComparison comparison{
      .how = TailComparison::How::same, .file = tail->file, .at = tail->begin};
  try {
    const auto theirs =
        world_.upstream.read(tail->timeline, tail->begin, tail->begin + tail->wal.size());
    const auto differs =
        std::mismatch(tail->wal.begin(), tail->wal.end(), theirs.begin()).first - tail->wal.begin();
    comparison.at = tail->begin + static_cast<std::uint64_t>(differs);
    if (comparison.at < tail->begin + tail->wal.size())
      comparison.how = TailComparison::How::differs;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::gap) throw;
    comparison.how = TailComparison::How::not_there;
    comparison.server = error.message();
  }
  state_.on_tail_compared(comparison);
}

void SimReceiver::stream(const receive::step::Stream& step) {
  StreamOutcome outcome;
  if (world_.mutant == Mutant::old_timeline_skipped && skip_old_timeline(step)) return;
  const auto failed = [&](const Error& error) {
    outcome.how = StreamOutcome::How::failed;
    outcome.error = error;
    outcome.reached = step.start;
  };
  try {
    auto from = step;
    if (world_.mutant == Mutant::gap_skipped)
      from.start = std::max(from.start, world_.upstream.connected().oldest);
    if (const auto over = std::exchange(over_dropped_, std::nullopt))
      from.start = std::max(from.start, kSegment.start_of(*over));
    outcome = stream_wal(from);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
    failed(error);
  }
  store_late_losses();
  if (late_history_) {
    archive::store_history(*directory_, late_history_->timeline, late_history_->content);
    late_history_.reset();
  }
  state_.on_stream_ended(outcome, world_.story.now);
}

bool SimReceiver::skip_old_timeline(const receive::step::Stream& step) {
  if (step.timeline >= world_.upstream.connected().timeline) return false;
  StreamOutcome outcome;
  outcome.how = StreamOutcome::How::timeline_ended;
  outcome.next = pq::EndOfStream::Next{
      step.timeline + 1, world_.upstream.lineage().timeline(step.timeline).switchpoint};
  // It says it had received all of it: an honest position would be refused.
  outcome.reached = std::max(step.start, outcome.next->switchpoint);
  state_.on_stream_ended(outcome, world_.story.now);
  return true;
}

/// What StreamLoop's threads do, one thing at a time.
StreamOutcome SimReceiver::stream_wal(const receive::step::Stream& step) {
  auto& upstream = world_.upstream;
  auto& random = world_.random;
  const auto& node = upstream.connected();
  if (node.foreign && !node.other_branch && world_.ledger.promised_anything())
    throw Violation{"P4", "WAL of another cluster is asked for to go on with this archive"};
  // Of a server that is too new to be known, WAL is not checked: so the mutant says it is one.
  const int major =
      world_.mutant == Mutant::wal_not_checked ? 99 : upstream.lineage().server_major();
  const auto shared = std::make_shared<Streaming>(directory_, options_, step, major, world_.mutant,
                                                  stock_habits_, longest_pause_, world_.story.now);
  auto& streaming = *shared;
  streaming.writer.begin(step.timeline, step.start, step.open);
  upstream.start(step.start, step.timeline);
  world_.story.tell("streaming timeline {} from {}", step.timeline, step.start);
  world_.ledger.on_stream(step.timeline, step.start);
  if (const auto& other = upstream.other_wal()) world_.ledger.on_other_wal(*other);
  world_.ledger.on_losses_told(state_.losses());
  archive::remove_losses(*directory_, step.void_losses);

  auto& state = streaming.state;
  auto& turns = streaming.turns;
  const bool prepares = random.one_in(3);
  bool spare_asked = false;
  bool hung = false;
  auto last_turn = world_.story.now;
  for (;;) {
    if (world_.tick() && !stop_) {
      stop_ = true;
      turns.request_stop();
      streaming.rest.reset();
    }
    const bool hangs = world_.story.now < world_.disk_hangs_until;
    if (hangs) {
      // The thread that writes hangs there and hears nothing; the guardian goes on.
      if (streaming.intake.holds_something()) {
        state.on_deaf();
        if (turns.may_write() && !std::exchange(streaming.writing, true))
          turns.on_write_begun(world_.story.now);
      }
      world_.story.now += std::chrono::milliseconds(random.between(10, 400));
    } else if (hung) {
      state.on_listening(world_.story.now);
    }
    hung = hangs;
    if (state.silent_for_too_long(world_.story.now))
      fail(streaming, Error(ErrorKind::retry, "no message from the server"));

    // The guardian is never late by much.
    const bool late = world_.story.now - last_turn > 100ms;
    last_turn = world_.story.now;
    const bool waits_for_disk =
        world_.mutant == Mutant::status_waits_for_disk && (hangs || !streaming.syncs.empty());
    if ((hangs || late || random.below(4) != 0) && !waits_for_disk) report(streaming);
    if (!turns.failed() && !state.stopping())
      if (const auto complaint = upstream.complaint(); !complaint.empty())
        throw Violation{"P8", complaint};
    care(streaming);
    if (const auto waits = upstream.held_up(); !waits.empty()) throw Violation{"P13", waits};
    if (state.finished() && streaming.syncs.empty()) break;

    // One thing that could happen now.
    if (streaming.writing && !hangs) {
      write_held(streaming);
      continue;
    }
    auto& rest = streaming.rest;
    if (rest && rest->until && world_.story.now >= *rest->until) rest.reset();
    const auto held = streaming.held();
    auto turn = StreamTurns::Turn::wait;  // of the thread that hangs or sleeps
    if (rest ? rest->hears : !held)
      turn = turns.next();
    else if (!rest && !hangs)
      turn = turns.next(held, world_.story.now);
    if (world_.mutant == Mutant::reads_without_bound && !held && !state.stopping())
      turn = StreamTurns::Turn::read;
    const auto due = turns.sync_at();
    const bool may_sync = !rest && due && *due <= world_.story.now;
    const auto choice = random.below(10);
    if (hangs) {
      if (choice < 6 && turn == StreamTurns::Turn::read) {
        take_message(streaming, world_.mutant == Mutant::reads_without_bound);
      } else if (choice == 6 && may_sync) {
        begin_sync(streaming);
      } else if (choice == 7 && turn == StreamTurns::Turn::wait && !rest && !streaming.writing) {
        sleep(streaming);
      }
      continue;
    }
    if (turn == StreamTurns::Turn::wait && !rest && random.coin()) {
      sleep(streaming);
    } else if (turn == StreamTurns::Turn::drop) {
      streaming.intake.drop();
    } else if (turn == StreamTurns::Turn::settle) {
      try {
        streaming.intake.settle();
      } catch (const Error& error) {
        fail(streaming, error);
      }
    } else if (choice < 4 && turn == StreamTurns::Turn::write) {
      write_held(streaming);
    } else if (choice < 5 && turn == StreamTurns::Turn::read) {
      take_message(streaming, random.below(8) != 0);
    } else if (choice < 8 && may_sync) {
      begin_sync(streaming);
    } else if (!streaming.syncs.empty()) {
      move_sync(streaming, random.below(streaming.syncs.size()));
    } else if (prepares && choice == 9 && !spare_asked && !streaming.writer.spare_ready()) {
      spare_asked = true;
      world_.actors.start("spare", [shared, &story = world_.story] {
        try {
          shared->writer.prepare_spare();
        } catch (const Error& error) {
          if (error.kind() == ErrorKind::durability) throw ProcessDied{error};
          story.tell("no spare: {}", error.what());
        }
      });
    }
    if (spare_asked && random.one_in(50)) spare_asked = world_.actors.running("spare");
  }
  world_.actors.finish("spare");
  streaming.writer.end();
  auto outcome = turns.outcome();
  longest_pause_ = turns.longest_pause();
  if (outcome.how == StreamOutcome::How::dropped) {
    upstream.end_stream();
    if (world_.mutant == Mutant::stream_over_dropped) over_dropped_ = streaming.dropped;
  }
  if (stop_ && outcome.how == StreamOutcome::How::stopped) upstream.disconnect();
  world_.story.tell("streaming ended at {}", outcome.reached);
  return outcome;
}

/// What StreamLoop's guardian does when it wakes.
void SimReceiver::care(Streaming& streaming) {
  const auto now = world_.story.now;
  // At least once a second, and no more often than that if nothing wakes it.
  if (now < streaming.cared_at + 1s && !world_.random.one_in(20)) {
    if (streaming.state.discarding()) discard(streaming);
    return;
  }
  streaming.cared_at = now;
  switch (streaming.turns.care(now)) {
    case StreamTurns::Care::discard:
      world_.story.tell("the disk is stuck: what comes behind {} is dropped",
                        streaming.state.received());
      streaming.rest.reset();
      break;
    case StreamTurns::Care::let_go:
      if (world_.mutant == Mutant::leaving_server_held) break;
      world_.story.tell("the server is let go");
      world_.upstream.disconnect();
      fail(streaming, Error(ErrorKind::retry, "the server shuts down"));
      break;
    case StreamTurns::Care::close:
      world_.upstream.disconnect();
      break;
    case StreamTurns::Care::none:
      break;
  }
  if (streaming.state.discarding()) discard(streaming);
}

void SimReceiver::discard(Streaming& streaming) {
  if (world_.mutant == Mutant::discarding_left_out) return;
  auto& state = streaming.state;
  const auto now = world_.story.now;
  try {
    for (auto most = world_.random.below(6); most > 0 && !state.ended(); --most) {
      if (state.drops_at() > now) return;
      const auto event = world_.upstream.next();
      if (std::holds_alternative<pq::NothingYet>(event)) return;
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        state.on_dropped(*data, now);
        streaming.dropped = data->start + data->wal.size();
        world_.story.tell("dropped up to {}", streaming.dropped);
        ++world_.dropped;
      } else if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
        state.on_keepalive(*keepalive, now);
      } else if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
        world_.story.tell("the timeline ends at {}, and what was dropped of it is to be had",
                          end->next->switchpoint);
        streaming.turns.on_end_of_stream(*end);
      }
    }
  } catch (const Error& error) {
    fail(streaming, error);
  }
}

/// Nothing is to be done: StreamLoop's leader would sleep.
void SimReceiver::sleep(Streaming& streaming) {
  const auto& state = streaming.state;
  const auto due = streaming.turns.sync_at();
  if (due && *due <= world_.story.now) return;
  const auto held = streaming.held();
  const auto rest = streaming.turns.rest(held, world_.story.now);
  const bool wakes = rest.until || rest.hears || (rest.needs_sync && !streaming.syncs.empty());
  if (!wakes && (state.may_read() || held || state.flush() < state.write()))
    throw Violation{"P8", "who reads and writes sleeps, and nothing will end that"};
  streaming.rest = rest;
}

void SimReceiver::take_message(Streaming& streaming, bool write) {
  auto& state = streaming.state;
  try {
    const auto event = world_.upstream.next();
    if (std::holds_alternative<pq::NothingYet>(event)) {
      if (!streaming.rest && world_.random.coin()) sleep(streaming);
      return;
    }
    streaming.rest.reset();
    if (const auto* data = std::get_if<wire::XLogData>(&event)) {
      state.on_wal(*data, world_.story.now);
      world_.ledger.on_received(state.received());
      if (const auto& damage = world_.upstream.damage_sent()) world_.ledger.on_damage(*damage);
      accept(streaming, write ? at_its_place(streaming, data->wal) : data->wal);
      if (state.received() - state.flush() > kUnsyncedLimit + kLargestMessage)
        throw Violation{"P8", fmt::format("{} bytes are received and not durable",
                                          state.received() - state.flush())};
      if (write && streaming.turns.may_write()) write_held(streaming);
    } else if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
      state.on_keepalive(*keepalive, world_.story.now);
    } else if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
      world_.story.tell("the timeline ends at {}, next is {}", end->next->switchpoint,
                        end->next->timeline);
      streaming.turns.on_end_of_stream(*end);
    }
  } catch (const Error& error) {
    fail(streaming, error);
  }
}

/// Where there is much to come, the kernel puts many a message where the writer wants it.
std::span<const std::byte> SimReceiver::at_its_place(Streaming& streaming,
                                                     std::span<const std::byte> wal) {
  const auto place = streaming.writer.place();
  if (streaming.intake.disputes() || place.size() < wal.size() || wal.size() % 2 != 0) return wal;
  std::copy(wal.begin(), wal.end(), place.begin());
  return place.first(wal.size());
}

void SimReceiver::accept(Streaming& streaming, std::span<const std::byte> wal) {
  try {
    streaming.intake.accept(wal);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::damage && !world_.ledger.damage_was_sent() &&
        !world_.upstream.other_wal())
      throw Violation{"P7", fmt::format("sound WAL is refused: {}", error.what())};
    if (world_.mutant == Mutant::damage_tolerated) {
      streaming.writer.write(wal);
      streaming.state.on_written(streaming.writer.position(), world_.story.now);
      return;
    }
    streaming.state.drop_unwritten();
    throw;
  }
}

void SimReceiver::write_held(Streaming& streaming) {
  // Most of what is received is new here; so segments are collected whether the server has the
  // whole of the next one or not.
  if (!std::exchange(streaming.writing, false)) streaming.turns.on_write_begun(world_.story.now);
  streaming.writer.collect_new_segments(collects_ && world_.random.below(4) != 0);
  std::optional<Error> error;
  try {
    streaming.intake.write(streaming.turns.most_to_write());
  } catch (const Error& caught) {
    error = caught;
    world_.story.tell("write: {}", caught.what());
  }
  const auto verdict = streaming.turns.on_written(
      streaming.writer.position(), streaming.writer.collected_end(), error, world_.story.now);
  tell(verdict.news);
  if (verdict.what != StreamTurns::What::fail) return;
  streaming.intake.drop();
  fail(streaming, *error);
}

void SimReceiver::begin_sync(Streaming& streaming) {
  std::unique_ptr<archive::SyncJob> job;
  try {
    job = streaming.writer.take_sync_job();
  } catch (const Error& error) {
    world_.story.tell("no sync can begin: {}", error.what());
    const auto verdict = streaming.turns.on_no_job(error, world_.story.now);
    if (verdict.what == StreamTurns::What::lost) throw ProcessDied{error};
    tell(verdict.news);
    return;
  }
  if (!job) return;
  auto& sync = streaming.syncs.emplace_back();
  sync.turn = streaming.turns.on_sync_begun(job->end(), job->publishes(), world_.story.now);
  sync.began = world_.story.now;
  sync.job = std::move(job);
  world_.story.tell("sync {} begins: up to {}{}", sync.turn.ticket, sync.job->end(),
                    sync.turn.publishes ? ", with a segment to finish" : "");
  tell(sync.turn.news);
  if (world_.mutant == Mutant::report_before_sync) count(streaming, sync);
}

/// A sync goes one step on.
void SimReceiver::move_sync(Streaming& streaming, std::size_t index) {
  using Phase = Sync::Phase;
  auto& turns = streaming.turns;
  auto& sync = streaming.syncs[index];
  const auto erase = [&] {
    streaming.syncs.erase(streaming.syncs.begin() + static_cast<std::ptrdiff_t>(index));
  };
  if (sync.given_up) {
    if (!turns.may_give_up(sync.turn)) return;
    world_.story.tell("sync {} is given up", sync.turn.ticket);
    turns.give_up(*sync.given_up);
    streaming.rest.reset();
    erase();
    return;
  }
  if (!stop_ && world_.story.now < sync.retry_at) return;
  const auto before = sync.phase;
  try {
    do_part(streaming, index);
  } catch (const Error& error) {
    world_.story.tell("sync {}: {}", sync.turn.ticket, error.what());
    // (What a mutant has counted too early is tried again, come what may.)
    if (sync.counted && error.kind() == ErrorKind::disk_full) return;
    const auto verdict = turns.on_sync_part(sync.turn, error);
    tell(verdict.news);
    if (verdict.what == StreamTurns::What::lost) throw ProcessDied{error};
    if (verdict.what == StreamTurns::What::wait)
      sync.retry_at = world_.story.now + verdict.wait;
    else if (verdict.what == StreamTurns::What::give_up)
      sync.given_up = error;
    else
      erase();
    return;
  }
  if (sync.phase == before || sync.phase == Phase::syncing) return;
  tell(turns.on_sync_part(sync.turn, std::nullopt).news);
  if (sync.phase != Phase::finished) return;
  count(streaming, sync);
  if (streaming.rest && streaming.rest->needs_sync) streaming.rest.reset();
  erase();
}

/// Its disk calls begin, they end, its segments get their names.
void SimReceiver::do_part(Streaming& streaming, std::size_t index) {
  auto& sync = streaming.syncs[index];
  switch (sync.phase) {
    case Sync::Phase::taken:
      if (world_.mutant == Mutant::rename_before_sync && index == 0 && sync.turn.publishes)
        static_cast<void>(sync.job->publish());
      if (world_.random.coin()) world_.deferring = &sync.deferred;
      try {
        sync.job->sync_data();
      } catch (...) {
        world_.deferring = nullptr;
        throw;
      }
      world_.deferring = nullptr;
      sync.phase = Sync::Phase::syncing;
      return;
    case Sync::Phase::syncing:
      if (world_.mutant != Mutant::data_sync_left_out)
        for (const auto call : sync.deferred) world_.disk.complete(call);
      sync.phase = sync.turn.publishes ? Sync::Phase::synced : Sync::Phase::finished;
      if (world_.mutant == Mutant::report_past_undecided)
        for (std::size_t i = 0; i < index; ++i) count(streaming, streaming.syncs[i]);
      return;
    case Sync::Phase::synced: {
      // publish() waits until all that began before are done; here it just is not called earlier.
      if (index != 0) return;
      const auto finished = sync.job->publish();
      for (const auto& segment : finished) world_.story.tell("finished {}", segment.to_string());
      compress(finished);
      sync.phase = Sync::Phase::finished;
      return;
    }
    case Sync::Phase::finished:
      return;
  }
}

void SimReceiver::count(Streaming& streaming, Sync& sync) {
  if (sync.counted) return;
  sync.counted = true;
  if (streaming.turns.on_sync_done(sync.turn, world_.story.now - sync.began, world_.story.now))
    world_.story.tell("sync {} is done: flush {}", sync.turn.ticket, streaming.state.flush());
}

void SimReceiver::tell(StreamTurns::News news) {
  if (news == StreamTurns::News::full) world_.story.tell("the disk is full, which is waited for");
  if (news == StreamTurns::News::space) world_.story.tell("archiving goes on");
}

void SimReceiver::report(Streaming& streaming) {
  auto status = streaming.state.take_status(world_.story.now);
  if (!status) return;
  if (world_.mutant == Mutant::write_reported_as_flush) status->flush = status->write;
  if (world_.mutant == Mutant::dropped_acknowledged && streaming.dropped > status->write) {
    status->flush = status->write = streaming.dropped;
    world_.ledger.on_received(streaming.dropped);
  }
  try {
    world_.upstream.status(*status);
    world_.ledger.on_status(*status);
  } catch (const Error& error) {
    fail(streaming, error);
  }
}

void SimReceiver::fail(Streaming& streaming, const Error& error) {
  const auto what = streaming.turns.fail(error);
  if (what == StreamTurns::What::lost) throw ProcessDied{error};
  if (what != StreamTurns::What::fail) return;
  world_.story.tell("the stream fails: {}", error.what());
  streaming.rest.reset();
}

}  // namespace weir::sim
