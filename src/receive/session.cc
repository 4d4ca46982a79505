// Timeline switches are slowed down after 64 of them in ten minutes: each leaves a history file.

#include "receive/session.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "archive/border.h"
#include "archive/compress.h"
#include "archive/find_losses.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "base/units.h"
#include "receive/alarms.h"
#include "receive/background_compression.h"
#include "receive/confirm_stored.h"
#include "receive/connection_secrets.h"
#include "receive/habits.h"
#include "receive/host_survey.h"
#include "receive/inspection.h"
#include "receive/loss_watch.h"
#include "receive/memory_plan.h"
#include "receive/preferred_moves.h"
#include "receive/questions.h"
#include "receive/server.h"
#include "receive/session_state.h"
#include "receive/size_watch.h"
#include "receive/slot_guard.h"
#include "receive/slot_keeper.h"
#include "receive/streaming.h"
#include "wal/server_version.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// Performs the steps that the engine returns. Each function is one step.
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
        inspection_(environment.directory, *habits_, environment.machine, environment.log),
        shuffle_(environment.seed),
        alarms_(environment.feed, environment.durability_lost),
        secrets_({options, *habits_, environment.servers, environment.machine, environment.board,
                  environment.log}),
        confirm_stored_(options, environment.store, environment.log),
        moves_({environment.servers, environment.machine, options}, hosts_, environment.log),
        streaming_({options, environment, *habits_, inspection_, alarms_, moves_, secrets_}) {}

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
  void perform(const step::ReadOldest& step);
  void perform(const step::CompareTail& step);
  void perform(const step::Stream& step);
  void perform(const step::Disconnect&);
  void perform(const step::Wait& step);
  void perform(const step::Stop&) {}  // handled by run()

  StreamOutcome stream(const step::Stream& step);
  void on_lost(const archive::Loss& loss);
  [[nodiscard]] Time now() { return machine_.now(); }
  void connect(std::size_t first_host);
  void connect_to_the_same();
  std::function<void(const std::string&)> server_notice();
  void find_hosts();
  void step_failed(const Error& error);
  void pause(std::chrono::milliseconds time);
  void expect_slot(bool expected);
  void tidy_up();
  void show_losses();
  void watch_losses();
  void watch_sizes(const step::InspectArchive& step,
                   const std::shared_ptr<const archive::Listing>& listing);
  void start_compression(wal::SegmentSize segment_size);
  void plan_memory(wal::SegmentSize segment_size);

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
  std::minstd_rand shuffle_;  ///< load_balance_hosts=random
  std::unique_ptr<Server> server_;
  HostList hosts_;
  std::unique_ptr<Server> asked_;  ///< the chosen host's, over which it was queried
  Alarms alarms_;
  ConnectionSecrets secrets_;
  ConfirmStored confirm_stored_;
  PreferredMoves moves_;
  std::optional<BackgroundCompression> compression_;
  std::optional<SlotGuard> slot_guard_;
  std::optional<SlotKeeper> slot_keeper_;
  std::mutex loss_watch_mutex_;
  std::optional<LossWatch> loss_watch_;
  bool told_no_loss_watch_ = false;      ///< guarded likewise
  unsigned file_mode_ = 0600;            ///< of the archive's files
  std::uint64_t system_identifier_ = 0;  ///< of the server
  MemoryPlan memory_;
  bool told_memory_ = false;
  bool told_no_size_watch_ = false;
  Streaming streaming_;
  std::optional<SizeWatch> size_watch_;  ///< destroyed first: it reports to the others
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
  tidy_up();
  for (;;) {
    const auto step = state_.next();
    if (const auto* stop = std::get_if<step::Stop>(&step)) {
      if (stop->error) alarms_.trouble(*stop->error);
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
      step_failed(error);
    } catch (const std::system_error& error) {
      step_failed(unexpected(error));  // usually a temporary lack of threads
    }
  }
}

void Session::step_failed(const Error& error) {
  if (error.kind() == ErrorKind::durability) alarms_.durability_lost(error);
  alarms_.trouble(error);
  inspection_.forget_names();
  state_.failed(error, now());
}

/// After `archive_taken`, which may create a file: the names that are read here are still valid
/// then.
void Session::tidy_up() {
  try {
    inspection_.tidy_up();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) alarms_.durability_lost(error);
    throw;
  }
}

/// Before anything is streamed after them. Until the session has read them, which it does once it
/// is connected, those that the board was given at the start count.
void Session::show_losses() {
  auto losses = state_.losses();
  const bool has_read = state_.knows_losses() || !losses.empty();
  if (!has_read) losses = board_.read().losses;
  if (!losses.empty()) watch_losses();
  if (has_read) board_.set_losses(std::move(losses));
}

/// Any thread.
void Session::watch_losses() {
  const std::lock_guard lock(loss_watch_mutex_);
  if (loss_watch_) return;
  try {
    loss_watch_.emplace(directory_, machine_.threads(), board_, log_);
  } catch (const std::system_error& error) {
    // The next step tries again.
    if (!std::exchange(told_no_loss_watch_, true))
      log_.warning("could not start the thread that monitors recorded losses: {}", error.what());
  }
}

/// Only the newest segment must be checked before streaming starts. (pg_receivewal checks all of
/// them, and so does pgweir in its place.)
void Session::watch_sizes(const step::InspectArchive& step,
                          const std::shared_ptr<const archive::Listing>& listing) {
  // (A directory that is not the machine's has none.)
  const auto identity = io::identity_of_directory(directory_);
  if (size_watch_ || habits_->replaces_wrong_sizes() || !identity) return;
  std::set<std::string> recorded;
  for (const auto& loss : state_.losses())
    if (loss.recorded) recorded.insert(loss.id());
  SizeWatch::Archive archive{.path = directory_.path(),
                             .identity = *identity,
                             .file_mode = file_mode_,
                             .segment_size = step.segment_size,
                             .system_identifier = step.system_identifier,
                             .listing = listing,
                             .recorded = std::move(recorded)};
  SizeWatch::Hooks hooks{
      .log = log_,
      .board = board_,
      .durability_lost = alarms_.durability_lost_hook(),
      .found = [this](const archive::Loss& loss) { feed_.publish(event::LossRecorded{loss}); },
      .shown = [this] { watch_losses(); }};
  try {
    size_watch_.emplace(std::move(archive), std::move(hooks));
  } catch (const std::system_error& error) {
    // The next connection tries again.
    if (!std::exchange(told_no_size_watch_, true))
      log_.warning("could not start the thread that checks the sizes of the segments: {}",
                   error.what());
  }
}

void Session::finish(bool well) {
  size_watch_.reset();
  slot_keeper_.reset();
  server_.reset();
  asked_.reset();
  feed_.publish(event::StateChanged{"stopping"});
  if (const auto time = habits_->time_to_compress(well); compression_ && time)
    compression_->drain(environment_.stop, *time);
  compression_.reset();
  try {
    if (habits_->compresses_unfinished()) streaming_.compress_unfinished();
    archive::clean_up(directory_, archive::list_archive_names(directory_));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) alarms_.durability_lost(error);
    log_.warning("the archive could not be tidied up, the next start will: {}", error.what());
  }
}

/// The lock comes first (P5): everything else that reads or changes the directory needs it.
void Session::take_archive() {
  archive::require_not_a_server_directory(directory_);
  if (!directory_.try_lock())
    throw Error(ErrorKind::conflict, "another process is writing into this archive")
        .with("directory", directory_.path())
        .hint("Two receivers need two directories. \"pgweir status\" shows the other one.");
  board_.update([this](auto& content) { content.slot = options_.slot; });
  const bool stored = options_.confirm == Confirm::stored;
  if (options_.slot && options_.monitor_conninfo)
    slot_guard_.emplace(
        environment_.servers, machine_, *options_.monitor_conninfo, *options_.slot,
        !options_.create_slot, log_, board_,
        [this](const std::string& names) { confirm_stored_.hear(names); },
        stored ? "; with --confirm stored, the slot retains WAL that is not in the object store: "
                 "see \"pgweir status\""
               : "");
  if (options_.slot && options_.slot_hosts == SlotHosts::all)
    slot_keeper_.emplace(options_, environment_.servers, machine_, log_, feed_, board_,
                         environment_.seed);
}

std::function<void(const std::string&)> Session::server_notice() {
  return [this](const std::string& text) { log_.info("server: {}", text); };
}

/// A host that was chosen among several: no other one, which the choice may have excluded, takes
/// its place (load_balance_hosts=random and target_session_attrs=prefer-standby would prefer
/// others).
void Session::connect(std::size_t first_host) {
  auto& servers = environment_.servers;
  if (hosts_.names.size() > 1) {
    server_ = servers.connect_to(options_, first_host, server_notice(), environment_.stop);
    server_->interrupted_by(environment_.stop);
  } else {
    server_ = servers.connect(options_, first_host, server_notice(), environment_.stop);
  }
  streaming_.on_connected();
}

/// (With one host there is no choice, and pg_receivewal tries several in turn.)
void Session::find_hosts() {
  if (!habits_->asks_all_hosts()) return;
  hosts_ = environment_.servers.hosts(options_);
  state_.on_hosts(static_cast<int>(hosts_.names.size()), hosts_.prefers_standby);
}

/// The connection of the chosen host is kept; the others are closed here.
void Session::perform(const step::AskHosts&) {
  feed_.publish(event::StateChanged{"connecting"});
  auto archive = inspection_.so_far();
  secrets_.look();
  HostSurvey survey({environment_.servers, machine_, options_, server_notice()}, archive);
  std::vector<std::pair<int, std::string>> hosts;
  for (const auto& name : hosts_.names) hosts.emplace_back(static_cast<int>(hosts.size()), name);
  auto answers = survey.ask(hosts, environment_.stop);
  if (archive) inspection_.find_position(*archive, answers);
  moves_.mark(answers);
  if (hosts_.shuffled) std::shuffle(answers.begin(), answers.end(), shuffle_);
  state_.on_hosts_asked(std::move(answers), std::move(archive), now());
  board_.update([this](auto& content) { content.hosts = state_.verdicts(); });
  if (const auto chosen = state_.chosen_host()) asked_ = survey.take(*chosen, environment_.stop);
}

/// Over a new connection, since the old one is not usable any more. Throws Error{retry} if another
/// server answers there.
void Session::connect_to_the_same() {
  const auto host = server_->host_index();
  server_.reset();
  connect(host);
  const auto identity = server_->identify_system();
  if (server_->host_index() != host || identity.system_identifier != system_identifier_)
    throw Error(ErrorKind::retry, "another server answers").with("server", server_->name());
}

/// Throws net::Interrupted.
void Session::pause(std::chrono::milliseconds time) {
  if (raised_within(machine_, environment_.stop.fd(), time)) throw net::Interrupted{};
}

void Session::perform(const step::Connect& step) {
  feed_.publish(event::StateChanged{"connecting"});
  if (asked_) {
    server_ = std::move(asked_);
  } else {
    secrets_.look();
    connect(static_cast<std::size_t>(step.first_host));
  }
  streaming_.on_connected();
  secrets_.on_connected(*server_);
  Upstream upstream;
  upstream.name = server_->name();
  upstream.host_index = static_cast<int>(server_->host_index());
  upstream.host_count = static_cast<int>(server_->host_count());
  upstream.major = server_->major();
  upstream.standby = wal::ServerVersion(upstream.major).reports_in_hot_standby()
                         ? server_->in_hot_standby()
                         : server_->ask_for_role();
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
  // Depends on whether the server allows its group to read its files (initdb --allow-group-access).
  file_mode_ = server_->file_mode();
  board_.update([name = server_->cluster_name()](auto& content) { content.cluster_name = name; });
  io::set_file_mode(directory_, file_mode_);
  plan_memory(parameters.segment_size);
  confirm_stored_.ask(*server_);
  state_.on_parameters(parameters);
}

/// Reported once, before anything starts that might be killed for its memory.
void Session::plan_memory(wal::SegmentSize segment_size) {
  const auto limit = machine_.memory_limit();
  const auto bytes = limit ? std::optional(limit->bytes) : std::nullopt;
  const auto beside = environment_.memory_beside ? environment_.memory_beside(segment_size) : 0;
  const auto plan = receive::plan_memory(bytes, options_.compression, segment_size, beside);
  if (!plan)
    throw Error(ErrorKind::usage, "the memory limit of this process is too low")
        .with("limit", format_size(limit->bytes))
        .with("by", limit->from)
        .with("needed", format_size(least_memory(options_.compression, segment_size, beside)))
        .hint(
            "Raise the limit (MemoryMax= of a systemd unit, the limit of a container), or "
            "compress with less memory (--compress). With --store-compression, fewer --store-jobs "
            "need less, too.");
  memory_ = *plan;
  if (limit) io::limit_dirty_pages(directory_, limit->bytes);
  if (!memory_.unsynced_limit) memory_.unsynced_limit = environment_.scale.unsynced_limit;
  if (std::exchange(told_memory_, true)) return;
  if (memory_.compression.level != options_.compression.level)
    log_.warning(
        "compressing at level {} instead of {}: more memory than {} is not allowed ({}); see "
        "docs/sizing.md for what each level needs",
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

/// The connection may still be in the abandoned stream: then our own walsender uses the slot, and
/// another connection to the same host and cluster completes the work.
void Session::perform(const step::DropSlot&) {
  constexpr auto kPatience = 5s;
  constexpr std::string_view kInUse = "55006";
  // connect_to_the_same() may have failed before.
  if (!server_) throw Error(ErrorKind::retry, "the connection has ended");
  expect_slot(false);
  if (streaming_.holds_connection()) connect_to_the_same();
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
  if (slot_guard_) slot_guard_->expect(expected, server_->name());
}

void Session::perform(const step::ReadSlot&) {
  constexpr std::string_view kNotSupported = "0A000";  // the slot is a logical one
  try {
    // Only for servers that have the command.
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
  try {
    state_.on_history(step.timeline, server_->timeline_history(step.timeline));
  } catch (const Error& error) {
    if (!state_.lacks_history(step.timeline, error.sqlstate())) throw;
    state_.on_history_absent(step.timeline, error.message());
  }
}

void Session::perform(const step::InspectArchive& step) {
  auto inspected = inspection_.run(step.system_identifier, step.segment_size);
  if (!compression_ && options_.compression.method != codec::Method::none) {
    start_compression(step.segment_size);
    if (habits_->compresses_older_segments())
      compression_->add(archive::uncompressed_segments(*inspected.listing));
  }
  state_.on_archive(std::move(inspected.facts));
  watch_sizes(step, inspected.listing);
}

void Session::start_compression(wal::SegmentSize segment_size) {
  const BackgroundCompression::Options options{
      .compression = memory_.compression,
      .segment_size = segment_size,
      .most_threads = std::min(memory_.compressions, machine_.processors())};
  compression_.emplace(directory_, options, machine_.threads(), log_, feed_, board_,
                       alarms_.durability_lost_hook());
}

void Session::perform(const step::StoreHistory& step) {
  if (archive::store_history(directory_, step.timeline, step.content))
    log_.info("stored the history of timeline {}", step.timeline);
  alarms_.disk_full(false);
  state_.on_history_stored(step.timeline);
}

void Session::perform(const step::FindEnd& step) {
  // An archive that starts after the switchpoint, with part of a record, has lost nothing.
  const auto end =
      archive::archived_end(directory_, archive::list_archive_names(directory_), step.timeline,
                            step.from, state_.parameters()->segment_size);
  state_.on_end_found(end.value_or(wal::Lsn()));
}

void Session::perform(const step::RecordLoss& step) {
  auto loss = step.loss;
  if (loss.found.empty()) loss.found = format_time(machine_.wall_clock());
  if (loss.server.empty()) loss.server = server_->name();
  if (loss.kind == archive::Loss::Kind::lost_branch && !loss.commits)
    archive::count_commits(directory_, archive::list_archive_names(directory_), loss);
  archive::record_loss(directory_, loss);
  alarms_.disk_full(false);
  feed_.publish(event::LossRecorded{loss});
  state_.on_loss_recorded(std::move(loss));
  // The marker of an earlier version, which the record replaces.
  inspection_.close_losses();
}

void Session::perform(const step::Probe& step) {
  Questioner questioner{*server_, machine_, environment_.stop};
  const bool available = questioner.has_wal_at(step.timeline, step.lsn);
  if (questioner.spoilt) connect_to_the_same();
  state_.on_probed(available);
}

void Session::perform(const step::ReadOldest& step) {
  Questioner questioner{*server_, machine_, environment_.stop};
  const auto wal = questioner.read(step.timeline, step.lsn, step.bytes);
  if (questioner.spoilt) connect_to_the_same();
  state_.on_oldest_read(wal);
}

void Session::perform(const step::CompareTail& step) {
  const auto tail = archive::tail_before(directory_,
                                         {.segment_size = step.segment_size,
                                          .timeline = step.timeline,
                                          .system_identifier = step.system_identifier,
                                          .server_major = server_->major(),
                                          .observer = &streaming_.observer()},
                                         step.end);
  streaming_.set_border(std::nullopt);
  if (tail && tail->verifier)
    streaming_.set_border(Streaming::Border{step.timeline, step.end, *tail->verifier});
  const Questioner questioner{*server_, machine_, environment_.stop};
  state_.on_tail_compared(tail ? questioner.compare(*tail) : TailComparison{});
}

void Session::perform(const step::Stream& step) {
  inspection_.on_recorded();
  auto outcome = stream(step);
  inspection_.on_streamed(
      {step.timeline, step.segment_size.segno(outcome.reached), step.segment_size});
  if (outcome.error) {
    if (outcome.error->kind() == ErrorKind::durability) alarms_.durability_lost(*outcome.error);
    alarms_.trouble(*outcome.error);
  }
  state_.on_stream_ended(outcome, now());
}

StreamOutcome Session::stream(const step::Stream& step) {
  return streaming_.run(step, {.server = *server_,
                               .parameters = *state_.parameters(),
                               .history = state_.server_history(),
                               .memory = memory_,
                               .compression = compression_ ? &*compression_ : nullptr,
                               .slot_keeper = slot_keeper_ ? &*slot_keeper_ : nullptr,
                               .slot_guard = slot_guard_ ? &*slot_guard_ : nullptr,
                               .losses = state_.losses(),
                               .lost = [this](const archive::Loss& loss) { on_lost(loss); }});
}

/// Runs on the thread that leads the stream; the session's thread waits for the stream's end.
void Session::on_lost(const archive::Loss& loss) {
  feed_.publish(event::LossRecorded{loss});
  state_.on_loss_noticed(loss);
  show_losses();
}

void Session::perform(const step::Disconnect&) {
  server_.reset();
  asked_.reset();
  streaming_.set_border(std::nullopt);
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
