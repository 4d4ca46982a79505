#include "receive/session.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <type_traits>
#include <utility>
#include <variant>

#include "archive/border.h"
#include "archive/compress.h"
#include "archive/find_losses.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/segment_writer.h"
#include "base/units.h"
#include "pq/replication_stream.h"
#include "receive/compression.h"
#include "receive/habits.h"
#include "receive/host_survey.h"
#include "receive/inspection.h"
#include "receive/intake.h"
#include "receive/loss_watch.h"
#include "receive/memory_plan.h"
#include "receive/prefer_watch.h"
#include "receive/questions.h"
#include "receive/server.h"
#include "receive/session_state.h"
#include "receive/shutdown_watch.h"
#include "receive/size_watch.h"
#include "receive/slot_guard.h"
#include "receive/spare.h"
#include "receive/stream_loop.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::hours kNever(24 * 365);
/// To write more before streaming begins would take too long.
constexpr std::uint64_t kLargestPreparedAtOnce = std::uint64_t{64} << 20;

/// Performs the steps that the engine asks for. Each function is one step.
class Session {
 public:
  Session(const Options& options, const Environment& environment)
      : options_(options),
        environment_(environment),
        directory_(environment.directory),
        log_(environment.log),
        feed_(environment.feed),
        board_(environment.board),
        machine_(environment.machine),
        habits_(make_habits(options)),
        state_(options, *habits_, environment.log, environment.seed),
        inspection_(environment.directory, *habits_, environment.log),
        shuffle_(environment.seed) {}

  void run();

 private:
  void take_archive();
  void finish(bool well);
  void perform(const step::AskHosts&);
  void perform(const step::Connect& step);
  void perform(const step::Identify&);
  void perform(const step::ReadParameters&);
  void perform(const step::CreateSlot&);
  void perform(const step::DropSlot&);
  void perform(const step::ReadSlot&);
  void perform(const step::FetchHistory& step);
  void perform(const step::InspectArchive& step);
  void perform(const step::StoreHistory& step);
  void perform(const step::FindEnd& step);
  void perform(const step::RecordLoss& step);
  void perform(const step::Probe& step);
  void perform(const step::CompareTail& step);
  void perform(const step::Stream& step);
  void perform(const step::Disconnect&);
  void perform(const step::Wait& step);
  void perform(const step::Stop&) {}  // seen by run()

  StreamOutcome stream(const step::Stream& step);
  [[nodiscard]] StreamState::Options state_options(const step::Stream& step) const;
  wal::RecordVerifier verifier_for(const step::Stream& step);
  void prepare_first_segment(const step::Stream& step, archive::SegmentWriter& writer);
  StreamLoop::Hooks hooks();
  [[nodiscard]] Time now() { return machine_.now(); }
  void connect(std::size_t first_host);
  std::function<void(const std::string&)> server_notice();
  void find_hosts();
  std::optional<bool> role_of_server();
  std::unique_ptr<PreferWatch> watch_for_preferred(const step::Stream& step,
                                                   std::optional<bool> standby, StreamLoop& loop);
  void pause(std::chrono::milliseconds time);
  void expect_slot(bool expected);
  void announce_streaming(const step::Stream& step);
  void show_losses();
  void watch_losses();
  void watch_sizes(const step::InspectArchive& step);
  void disk_full(bool full);
  void trouble(const Error& error);
  [[noreturn]] void durability_lost(const Error& error);
  std::function<void(const Error&)> durability_lost_hook();
  void start_compression(wal::SegmentSize segment_size);
  [[nodiscard]] codec::Compression quick_compression() const;
  void plan_memory(wal::SegmentSize segment_size);
  void note_unfinished(const step::Stream& step, const StreamOutcome& outcome);
  void compress_unfinished();

  const Options& options_;
  const Environment& environment_;
  io::Directory& directory_;
  Log& log_;
  Feed& feed_;
  StatusBoard& board_;
  Machine& machine_;
  const std::unique_ptr<Habits> habits_;
  SessionState state_;
  Inspection inspection_;
  std::mt19937_64 shuffle_;  ///< load_balance_hosts=random
  std::unique_ptr<Server> server_;
  HostList hosts_;
  std::unique_ptr<Server> asked_;  ///< the chosen host's, over the connection that it was asked by
  /// Moves to a host of the preferred role that came to nothing, in a row.
  int vain_moves_ = 0;
  bool moved_ = false;  ///< and what has come of it is not known yet
  std::optional<CompressionThread> compression_;
  std::optional<SlotGuard> slot_guard_;
  /// What was read of the archive's end to compare it: the stream that follows begins there.
  struct Border {
    wal::TimelineId timeline;
    wal::Lsn end;
    wal::RecordVerifier verifier;
  };
  std::optional<Border> border_;
  std::mutex loss_watch_mutex_;
  std::optional<LossWatch> loss_watch_;
  unsigned file_mode_ = 0600;       ///< of the archive's files
  std::atomic<bool> mute_ = false;  ///< nothing may be acknowledged any more (P6)
  std::map<wal::SegmentName, std::uint64_t> unfinished_;  ///< and how much was written of each
  /// A stream was begun on the connection: it takes no command before that has ended.
  bool connection_streams_ = false;
  std::uint64_t system_identifier_ = 0;  ///< of the server
  MemoryPlan memory_;
  std::atomic<bool> disk_full_ = false;  ///< as it was published
  bool told_memory_ = false;
  bool told_unchecked_ = false;
  bool first_segment_prepared_ = false;
  std::chrono::nanoseconds longest_pause_{};  ///< of the disk
  std::optional<SizeWatch> size_watch_;  ///< the first to go: it tells the others what it finds
};

/// The board asks the loop as long as this lives.
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

}  // namespace

void receive(const Options& options, const Environment& environment) {
  Session(options, environment).run();
}

namespace {

void Session::run() {
  take_archive();
  find_hosts();
  const auto kept = environment_.archive_taken ? environment_.archive_taken() : nullptr;
  for (;;) {
    const auto step = state_.next();
    if (const auto* stop = std::get_if<step::Stop>(&step)) {
      if (stop->error) trouble(*stop->error);
      finish(!stop->error);
      if (stop->error) throw *stop->error;
      return;
    }
    show_losses();
    try {
      std::visit([this](const auto& each) { perform(each); }, step);
    } catch (const net::Interrupted&) {
      state_.request_stop();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost(error);
      trouble(error);
      state_.failed(error, now());
    }
  }
}

/// From the first moment on, that is before anything is streamed behind them.
void Session::show_losses() {
  auto losses = state_.losses();
  if (!losses.empty()) watch_losses();
  board_.set_losses(std::move(losses));
}

/// Any thread.
void Session::watch_losses() {
  const std::lock_guard lock(loss_watch_mutex_);
  if (!loss_watch_) loss_watch_.emplace(directory_, machine_.threads(), board_, log_);
}

/// Only the newest segment has to be looked at before streaming begins. (pg_receivewal looks at all
/// of them, and so does who stands in for it.)
void Session::watch_sizes(const step::InspectArchive& step) {
  // (A directory that is none of the machine's has none.)
  const auto identity = io::identity_of_directory(directory_);
  if (size_watch_ || habits_->replaces_wrong_sizes() || !identity) return;
  size_watch_.emplace(
      SizeWatch::Archive{.path = directory_.path(),
                         .identity = *identity,
                         .file_mode = file_mode_,
                         .segment_size = step.segment_size,
                         .system_identifier = step.system_identifier},
      SizeWatch::Hooks{
          .log = log_,
          .board = board_,
          .durability_lost = durability_lost_hook(),
          .found = [this](const archive::Loss& loss) { feed_.publish(event::LossRecorded{loss}); },
          .shown = [this] { watch_losses(); }});
}

void Session::finish(bool well) {
  size_watch_.reset();
  server_.reset();
  asked_.reset();
  feed_.publish(event::StateChanged{"stopping"});
  if (const auto time = habits_->time_to_compress(well); compression_ && time)
    compression_->drain(environment_.stop, *time);
  compression_.reset();
  try {
    if (habits_->compresses_unfinished()) compress_unfinished();
    archive::clean_up(directory_, archive::list_archive_names(directory_));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) durability_lost(error);
    log_.warning("the archive could not be tidied up, the next start will: {}", error.what());
  }
}

/// What this run began and did not finish gets the form the user asked for. Its content is durable
/// in one form or the other at any time.
void Session::compress_unfinished() {
  const auto method = options_.compression.method;
  // pg_receivewal knows no zstd, so there is no form of its own to be kept to: raw is better.
  const bool compressed = method == codec::Method::gzip || method == codec::Method::lz4;
  for (const auto& [segment, written] : unfinished_)
    if (compressed) archive::compress_partial(directory_, segment, method, written);
}

void Session::note_unfinished(const step::Stream& step, const StreamOutcome& outcome) {
  const auto& size = step.segment_size;
  const auto written = size.offset(outcome.reached);
  if (written == 0 || outcome.reached < step.start) return;
  const wal::SegmentName segment(step.timeline, size.segno(outcome.reached), size);
  auto& most = unfinished_[segment];
  most = std::max(most, written);
  const auto method = options_.compression.method;
  const archive::SegmentFileName name{
      segment, method == codec::Method::zstd ? codec::Method::none : method, true};
  feed_.publish(event::LeftUnfinished{name.to_string()});
}

/// The lock comes first (P5): what else looks at the directory or changes it happens under it.
void Session::take_archive() {
  archive::require_not_a_server_directory(directory_);
  if (!directory_.try_lock())
    throw Error(ErrorKind::conflict, "another process is writing into this archive")
        .with("directory", directory_.path())
        .hint("Two receivers need two directories. \"pgweir status\" shows who it is.");
  archive::clean_up(directory_, archive::list_archive_names(directory_));
  board_.update([this](auto& content) { content.slot = options_.slot; });
  if (options_.slot && options_.monitor_conninfo)
    slot_guard_.emplace(environment_.servers, machine_, *options_.monitor_conninfo, *options_.slot,
                        !options_.create_slot, log_, board_);
}

std::function<void(const std::string&)> Session::server_notice() {
  return [this](const std::string& text) { log_.info("server: {}", text); };
}

void Session::connect(std::size_t first_host) {
  server_ = environment_.servers.connect(options_, first_host, server_notice(), environment_.stop);
  connection_streams_ = false;
}

/// (With one host there is nothing to choose, and pg_receivewal tries several in turn.)
void Session::find_hosts() {
  if (!habits_->asks_all_hosts()) return;
  hosts_ = environment_.servers.hosts(options_);
  state_.on_hosts(static_cast<int>(hosts_.names.size()), hosts_.prefers_standby);
}

/// The connection of the one that is chosen is kept; those of the others end here.
void Session::perform(const step::AskHosts&) {
  feed_.publish(event::StateChanged{"connecting"});
  auto archive = inspection_.so_far();
  HostSurvey survey({environment_.servers, machine_, options_, server_notice()}, archive);
  std::vector<std::pair<int, std::string>> hosts;
  for (const auto& name : hosts_.names) hosts.emplace_back(static_cast<int>(hosts.size()), name);
  auto answers = survey.ask(hosts, environment_.stop);
  if (archive) inspection_.find_position(*archive, answers);
  if (hosts_.shuffled) std::shuffle(answers.begin(), answers.end(), shuffle_);
  state_.on_hosts_asked(std::move(answers), std::move(archive), now());
  board_.update([this](auto& content) { content.hosts = state_.verdicts(); });
  if (const auto chosen = state_.chosen_host()) asked_ = survey.take(*chosen, environment_.stop);
}

/// Throws net::Interrupted.
void Session::pause(std::chrono::milliseconds time) {
  if (raised_within(machine_, environment_.stop.fd(), time)) throw net::Interrupted{};
}

void Session::perform(const step::Connect& step) {
  feed_.publish(event::StateChanged{"connecting"});
  if (asked_)
    server_ = std::move(asked_);
  else
    connect(static_cast<std::size_t>(step.first_host));
  connection_streams_ = false;
  Upstream upstream;
  upstream.name = server_->name();
  upstream.host_index = static_cast<int>(server_->host_index());
  upstream.host_count = static_cast<int>(server_->host_count());
  upstream.major = server_->major();
  upstream.standby = server_->in_hot_standby();
  feed_.publish(event::ServerChanged{upstream.name, server_->version()});
  state_.on_connected(std::move(upstream));
}

void Session::perform(const step::Identify&) {
  const auto identity = server_->identify_system();
  system_identifier_ = identity.system_identifier;
  state_.on_identified(identity);
}

void Session::perform(const step::ReadParameters&) {
  ServerParameters parameters;
  parameters.segment_size = server_->wal_segment_size();
  parameters.wal_sender_timeout = server_->wal_sender_timeout();
  // As the server allows its group to read its files (initdb --allow-group-access) or not.
  const auto mode = server_->data_directory_mode();
  file_mode_ = (mode & 040) != 0 ? 0640 : 0600;
  io::set_file_mode(directory_, file_mode_);
  plan_memory(parameters.segment_size);
  state_.on_parameters(parameters);
}

/// Told once, before anything is begun that might be killed for its memory.
void Session::plan_memory(wal::SegmentSize segment_size) {
  const auto limit = machine_.memory_limit();
  const auto bytes = limit ? std::optional(limit->bytes) : std::nullopt;
  const auto plan = receive::plan_memory(bytes, options_.compression, segment_size);
  if (!plan)
    throw Error(ErrorKind::usage, "the memory that this process is allowed does not suffice")
        .with("limit", format_size(limit->bytes))
        .with("by", limit->from)
        .with("needed", format_size(least_memory(options_.compression, segment_size)))
        .hint(
            "Raise the limit (MemoryMax= of a systemd unit, the limit of a container), or "
            "compress with less memory (--compress).");
  memory_ = *plan;
  if (!memory_.unsynced_limit) memory_.unsynced_limit = environment_.scale.unsynced_limit;
  if (std::exchange(told_memory_, true)) return;
  if (memory_.compression.level != options_.compression.level)
    log_.warning(
        "compressing at level {} instead of {}: more memory than {} is not allowed ({}); see "
        "docs/service.md for what each level needs",
        memory_.compression.level, options_.compression.level, format_size(limit->bytes),
        limit->from);
  else if (!plan->buffer_segments || plan->unsynced_limit)
    log_.info("catching up with less memory: more than {} is not allowed ({})",
              format_size(limit->bytes), limit->from);
}

void Session::perform(const step::CreateSlot&) {
  state_.on_slot_created(server_->create_physical_slot(*options_.slot));
  expect_slot(true);
}

/// The connection may still be in the stream that was given up: then the slot is in use by our own
/// walsender, and another connection to the same host and cluster ends what this one began.
void Session::perform(const step::DropSlot&) {
  constexpr auto kPatience = 5s;
  constexpr std::string_view kInUse = "55006";
  expect_slot(false);
  if (connection_streams_) {
    const auto host = server_->host_index();
    server_.reset();
    connect(host);
    const auto identity = server_->identify_system();
    if (server_->host_index() != host || identity.system_identifier != system_identifier_)
      throw Error(ErrorKind::retry, "another server answers").with("server", server_->name());
  }
  const auto deadline = now() + kPatience;
  for (;;) {
    try {
      server_->drop_slot(*options_.slot);
      break;
    } catch (const Error& error) {
      if (error.sqlstate() != kInUse || now() >= deadline) throw;
    }
    pause(50ms);
  }
  state_.on_slot_dropped();
}

void Session::expect_slot(bool expected) {
  if (slot_guard_) slot_guard_->expect(expected);
}

void Session::perform(const step::ReadSlot&) {
  constexpr std::string_view kNotSupported = "0A000";  // the slot is a logical one
  try {
    // Asked only of servers that know the command.
    const auto slot = server_->read_replication_slot(*options_.slot);
    PGWEIR_CHECK(slot.has_value());
    state_.on_slot(*slot);
    if (slot->exists) expect_slot(true);
  } catch (const Error& error) {
    if (error.sqlstate() != kNotSupported) throw;
    state_.on_slot({.exists = true, .type = "logical"});
  }
}

void Session::perform(const step::FetchHistory& step) {
  constexpr std::string_view kUndefinedFile = "58P01";
  try {
    state_.on_history(step.timeline, server_->timeline_history(step.timeline));
  } catch (const Error& error) {
    if (error.sqlstate() != kUndefinedFile) throw;
    state_.on_history_absent(step.timeline, error.message());
  }
}

void Session::perform(const step::InspectArchive& step) {
  auto inspected = inspection_.run(step.system_identifier, step.segment_size);
  if (!compression_ && options_.compression.method != codec::Method::none) {
    start_compression(step.segment_size);
    if (habits_->compresses_older_segments())
      compression_->add(archive::uncompressed_segments(inspected.listing));
  }
  state_.on_archive(std::move(inspected.facts));
  watch_sizes(step);
}

void Session::disk_full(bool full) {
  if (disk_full_.exchange(full) != full) feed_.publish(event::DiskFull{full});
}

void Session::trouble(const Error& error) {
  if (error.kind() == ErrorKind::disk_full) disk_full_ = true;  // the listeners see that themselves
  feed_.publish(event::Trouble{error});
}

/// Any thread. Telling the reason may take a moment; until the end nothing more is acknowledged.
void Session::durability_lost(const Error& error) {
  mute_ = true;
  environment_.durability_lost(error);
  std::terminate();
}

std::function<void(const Error&)> Session::durability_lost_hook() {
  return [this](const Error& error) { durability_lost(error); };
}

void Session::start_compression(wal::SegmentSize segment_size) {
  compression_.emplace(directory_, memory_.compression, segment_size, machine_.threads(), log_,
                       feed_, board_, durability_lost_hook());
}

/// The method, if it keeps up with what a server sends. Else WAL is better safe soon than small
/// soon: segments are archived raw, and compressed in the background.
codec::Compression Session::quick_compression() const {
  constexpr int kHighestQuickLevel = 3;
  const auto& wanted = memory_.compression;
  const bool quick = wanted.method == codec::Method::zstd && wanted.level <= kHighestQuickLevel;
  return quick && memory_.quick ? wanted : codec::Compression{};
}

void Session::perform(const step::StoreHistory& step) {
  if (archive::store_history(directory_, step.timeline, step.content))
    log_.info("stored the history of timeline {}", step.timeline);
  disk_full(false);
  state_.on_history_stored(step.timeline);
}

void Session::perform(const step::FindEnd& step) {
  state_.on_end_found(archive::sound_end(directory_, archive::list_archive_names(directory_),
                                         step.timeline, step.from,
                                         state_.parameters()->segment_size));
}

void Session::perform(const step::RecordLoss& step) {
  auto loss = step.loss;
  if (loss.found.empty()) loss.found = format_time(machine_.wall_clock());
  if (loss.server.empty()) loss.server = server_->name();
  if (loss.kind == archive::Loss::Kind::lost_branch && !loss.commits)
    archive::count_commits(directory_, archive::list_archive_names(directory_), loss);
  archive::record_loss(directory_, loss);
  disk_full(false);
  feed_.publish(event::LossRecorded{loss});
  state_.on_loss_recorded(std::move(loss));
  // The mark of an earlier version, which the record replaces.
  archive::close_losses(directory_, archive::list_archive_names(directory_));
}

void Session::perform(const step::Probe& step) {
  const Questioner questioner{*server_, machine_, environment_.stop};
  state_.on_probed(questioner.has_wal_at(step.timeline, step.lsn));
}

void Session::perform(const step::CompareTail& step) {
  const auto tail = archive::tail_before(directory_,
                                         {.segment_size = step.segment_size,
                                          .timeline = step.timeline,
                                          .system_identifier = step.system_identifier,
                                          .server_major = server_->major()},
                                         step.end);
  border_.reset();
  if (tail && tail->verifier) border_ = Border{step.timeline, step.end, *tail->verifier};
  const Questioner questioner{*server_, machine_, environment_.stop};
  state_.on_tail_compared(tail ? questioner.compare(*tail) : TailComparison{});
}

void Session::perform(const step::Stream& step) {
  inspection_.on_recorded();
  auto outcome = stream(step);
  if (outcome.error) {
    if (outcome.error->kind() == ErrorKind::durability) durability_lost(*outcome.error);
    trouble(*outcome.error);
  }
  state_.on_stream_ended(outcome, now());
}

/// Commits are waited for from the first moment on, and blocks that were written before are synced
/// in half the time: so the first segment is prepared like the later ones, if it is to be begun and
/// there is little to catch up with. Once: who connects again and again shall not write each time.
void Session::prepare_first_segment(const step::Stream& step, archive::SegmentWriter& writer) {
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

wal::RecordVerifier Session::verifier_for(const step::Stream& step) {
  const auto known = std::exchange(border_, std::nullopt);
  if (known && known->timeline == step.timeline && known->end == step.start) return known->verifier;
  return archive::verifier_at(directory_,
                              {.segment_size = step.segment_size,
                               .timeline = step.timeline,
                               .system_identifier = step.system_identifier,
                               .server_major = server_->major()},
                              step.start);
}

StreamOutcome Session::stream(const step::Stream& step) {
  const auto failed = [&](const Error& error) {
    StreamOutcome outcome;
    outcome.how = StreamOutcome::How::failed;
    outcome.error = error;
    outcome.reached = step.start;
    return outcome;
  };
  try {
    archive::SegmentWriter writer(
        directory_, {.segment_size = step.segment_size,
                     .replaceable = inspection_.wrong_sizes(),
                     .compression = quick_compression(),
                     .largest_buffered = memory_.buffer_segments ? archive::kLargestBuffered : 0,
                     .threads = &machine_.threads()});
    writer.begin(step.timeline, step.start, step.open);
    prepare_first_segment(step, writer);
    auto verifier = verifier_for(step);
    if (!wal::magic_of_major_version(server_->major()) && !told_unchecked_) {
      told_unchecked_ = true;
      log_.warning(
          "PostgreSQL {} is newer than this pgweir knows: its WAL is archived, but not checked",
          server_->major());
    }
    Intake intake(verifier, writer);

    const auto standby = role_of_server();
    const auto stream = server_->start(options_.slot, step.start, step.timeline);
    connection_streams_ = true;
    // A server answers that it streams, and then that it no longer has the WAL. That it streams is
    // said when WAL has come, or where there is none yet that could be missing.
    bool announced = false;
    const auto streams = [&] {
      announced = true;
      announce_streaming(step);
    };
    if (habits_->believes_that_it_streams() || step.server_end <= step.start) streams();

    StreamState stream_state(state_options(step), step.timeline, step.start, now());
    StreamPolicy policy({.on_disk_full = options_.on_disk_full,
                         .one_segment_at_a_time = habits_->one_segment_at_a_time(),
                         .segment_size = step.segment_size,
                         .endpos = options_.endpos,
                         .silence_limit = options_.silence_limit,
                         .longest_pause = longest_pause_},
                        stream_state);
    Spare spare(writer, machine_.threads(), log_, durability_lost_hook());
    auto loop_hooks = hooks();
    loop_hooks.want_spare = [&spare] { spare.prepare(); };
    if (!announced) loop_hooks.first_wal = streams;
    // A start must not take what comes now for the far side of a hole. Not here: it may wait for
    // the disk, and the server is answered by the loop.
    if (!step.void_losses.empty())
      loop_hooks.before_writing = [&] { archive::remove_losses(directory_, step.void_losses); };
    ShutdownWatch shutdown_watch(server_->shutdown_probe(), machine_.threads(), log_);
    loop_hooks.server_shuts_down = [&](bool wanted) { return shutdown_watch.shuts_down(wanted); };
    StreamLoop loop({.stream = *stream,
                     .state = stream_state,
                     .policy = policy,
                     .writer = writer,
                     .intake = intake,
                     .machine = machine_,
                     .stop = environment_.stop,
                     .feed = feed_,
                     .log = log_},
                    std::move(loop_hooks));
    auto outcome = [&] {
      const LiveStatus live(feed_, board_, loop);
      const auto watch = watch_for_preferred(step, standby, loop);
      return loop.run();
    }();
    longest_pause_ = policy.longest_pause();
    if (outcome.how == StreamOutcome::How::timeline_ended ||
        outcome.how == StreamOutcome::How::dropped ||
        (outcome.error && outcome.error->kind() == ErrorKind::gap))
      connection_streams_ = false;  // the server has ended it
    else if (outcome.how == StreamOutcome::How::failed)
      stream->let_go();  // nobody reads it any more, and what follows may hang in the disk (P13)
    spare.stop();
    writer.end();
    if (outcome.how == StreamOutcome::How::stopped)
      feed_.publish(event::Stopped{step.timeline, outcome.reached, environment_.stop.raised()});
    note_unfinished(step, outcome);
    if (outcome.how == StreamOutcome::How::timeline_ended)
      feed_.publish(event::TimelineSwitched{outcome.next->timeline, outcome.next->switchpoint});
    if (announced)
      log_.info("stopped streaming timeline {} at {}; all of it is durable", step.timeline,
                outcome.reached);
    return outcome;
  } catch (const Error& error) {
    return failed(error);
  }
}

/// It may have been promoted since it was asked last. nullopt where nobody wants to know.
std::optional<bool> Session::role_of_server() {
  if (options_.prefer == Prefer::any || hosts_.names.size() < 2) return std::nullopt;
  return server_->ask_for_role();
}

/// nullptr where there is nothing to look for. A move that came to nothing is not made again soon.
std::unique_ptr<PreferWatch> Session::watch_for_preferred(const step::Stream& step,
                                                          std::optional<bool> standby,
                                                          StreamLoop& loop) {
  constexpr int kMostDoublings = 7;  // 30 s become an hour
  const auto prefer = options_.prefer;
  if (!standby || *standby == (prefer == Prefer::standby)) {
    moved_ = false;
    vain_moves_ = 0;
    return nullptr;
  }
  if (std::exchange(moved_, false)) vain_moves_ = std::min(vain_moves_ + 1, kMostDoublings);
  std::vector<std::pair<int, std::string>> others;
  for (std::size_t i = 0; i < hosts_.names.size(); ++i)
    if (i != server_->host_index()) others.emplace_back(static_cast<int>(i), hosts_.names[i]);
  ArchivedSoFar ours{.system_identifier = step.system_identifier,
                     .segment_size = step.segment_size,
                     .end = {.timeline = step.timeline, .start = step.start},
                     .position = step.start};
  if (const auto history = state_.server_history(); history && history->timeline() == step.timeline)
    ours.end.history = history;
  return std::make_unique<PreferWatch>(
      PreferWatch::Task{
          .world = {environment_.servers, machine_, options_},
          .hosts = std::move(others),
          .prefer = prefer,
          .after = options_.prefer_after * (1 << vain_moves_),
          .ours =
              [ours, &loop]() mutable {
                ours.position = loop.snapshot().flush;
                ours.end.start = ours.segment_size.start_of(ours.position);
                return ours;
              },
          .found =
              [this, &loop](const std::string& host) {
                log_.info("moving to {}, which has the role that is preferred (--prefer {})", host,
                          options_.prefer == Prefer::standby ? "standby" : "primary");
                moved_ = true;
                loop.leave();
              }},
      log_);
}

StreamState::Options Session::state_options(const step::Stream& step) const {
  const auto timeout = state_.parameters()->wal_sender_timeout;
  // The server must hear from us within wal_sender_timeout, whatever the disk does.
  auto interval = options_.status_interval;
  if (interval == 0ms)
    interval = kNever;
  else if (timeout > 0ms)
    interval = std::min<std::chrono::milliseconds>(interval, std::max(timeout / 3, 100ms));
  // By itself it asks when it has heard nothing for half of that time.
  std::chrono::milliseconds soon_again = 1s;
  if (timeout > 0ms) soon_again = std::min(soon_again, timeout / 4);
  return {.flush = options_.flush,
          .apply = options_.apply,
          .report_flush = options_.report_flush,
          .endpos = options_.endpos,
          .endpos_inclusive = options_.endpos_inclusive,
          .segment_size = step.segment_size,
          .status_interval = interval,
          .silence_limit = options_.silence_limit,
          .unsynced_limit = memory_.unsynced_limit,
          .server_end = step.server_end,
          .soon_again = soon_again,
          .catch_up_bytes = environment_.scale.catch_up_bytes};
}

void Session::announce_streaming(const step::Stream& step) {
  log_.info("streaming timeline {} from {} ({})", step.timeline, step.start, server_->name());
  feed_.publish(event::StateChanged{"streaming"});
  disk_full(false);  // a stream that met one may have ended before there was space again
  expect_slot(true);
  feed_.publish(event::Streaming{step.timeline, step.start});
}

StreamLoop::Hooks Session::hooks() {
  StreamLoop::Hooks hooks;
  hooks.segments_finished = [this](const std::vector<wal::SegmentName>& segments) {
    const auto size = state_.parameters()->segment_size;
    for (const auto& segment : segments) {
      log_.debug("finished segment {}", segment);
      feed_.publish(event::SegmentFinished{segment, size.start(segment.segno(size) + 1)});
    }
    if (compression_) compression_->add(segments);
  };
  hooks.durability_lost = durability_lost_hook();
  hooks.mute = &mute_;
  hooks.downstream = environment_.downstream;
  hooks.progress_interval = environment_.progress_interval;
  hooks.disk_full = [this](bool full) { disk_full(full); };
  return hooks;
}

void Session::perform(const step::Disconnect&) {
  server_.reset();
  asked_.reset();
  border_.reset();
  feed_.publish(event::ServerChanged{});
  state_.on_disconnected();
}

void Session::perform(const step::Wait& step) {
  feed_.publish(event::StateChanged{"waiting"});
  pause(step.time);
  state_.on_waited();
}

}  // namespace

}  // namespace weir::receive
