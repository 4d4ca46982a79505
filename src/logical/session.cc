#include "logical/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/units.h"
#include "logical/borders.h"
#include "logical/habits.h"
#include "logical/publications.h"
#include "net/wait.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "pq/parameters.h"
#include "pq/slot_view.h"
#include "pq/stuck_reader.h"
#include "wal/server_version.h"
#include "wal/timeline_history.h"
#include "wire/shutdown_sign.h"

namespace weir::logical {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kFinishTimeout = 10s;
/// Maximum time that a message stays in memory before it is written to the file.
constexpr auto kFlushDelay = 20ms;
/// libpq's for what it receives.
constexpr std::size_t kReadBuffer = 128 * 1024;
/// A read that brought so much has probably left something.
constexpr std::uint64_t kFullRead = 64 * 1024;

/// How long messages are collected while they arrive in a steady flow, so that one wakeup and one
/// read take many. A longer time would let the server's side of the socket fill up and delay the
/// decoding: the time is adapted to the result.
class Gathering {
 public:
  /// By a Unix-domain socket each message is a buffer of its own, and there is room for few.
  explicit Gathering(bool by_unix_socket) : message_cost_(by_unix_socket ? 1000 : 30) {}
  void took(std::uint64_t bytes) { gathered_ += bytes + message_cost_; }
  /// Waits, or returns false if there is no steady flow. `now`: the available input has just been
  /// read.
  bool wait(Clock::time_point now) {
    const auto gathered = std::exchange(gathered_, 0);
    if (gathered == 0) return false;
    const bool flow = now - last_ < time_ + kNoPause;
    last_ = now;
    if (!flow) return false;
    if (gathered > kMuch) time_ = std::max(time_ * 3 / 4, kLeast);
    if (gathered < kLittle) time_ = std::min(time_ * 5 / 4, kMost);
    std::this_thread::sleep_for(time_);
    return true;
  }

 private:
  static constexpr auto kNoPause = 2ms;
  static constexpr std::uint64_t kLittle = 64 * 1024;
  static constexpr std::uint64_t kMuch = 112 * 1024;
  static constexpr std::chrono::microseconds kLeast{100};
  static constexpr std::chrono::microseconds kMost{4000};
  std::chrono::microseconds time_{500};
  std::uint64_t message_cost_;
  std::uint64_t gathered_ = 0;
  Clock::time_point last_{};
};

/// The output has not taken everything, or not synced it. This is not retried: the next start
/// truncates the file.
bool is_of_output(ErrorKind kind) {
  return kind == ErrorKind::durability || kind == ErrorKind::disk_full || kind == ErrorKind::io;
}

/// The server's information about the slot.
struct SlotFacts {
  std::string plugin;
  std::string database;
  std::optional<wal::Lsn> confirmed;
};

}  // namespace

void complete_pgoutput_options(int server_major, pq::PluginOptions& options) {
  const auto has = [&](std::string_view name) {
    return std::any_of(options.begin(), options.end(),
                       [&](const auto& option) { return option.first == name; });
  };
  if (!has("publication_names"))
    throw Error(ErrorKind::usage, "pgoutput needs the names of the publications to decode")
        .hint(
            "CREATE PUBLICATION name FOR ALL TABLES (or some) in the database, then give "
            "--option publication_names=name.");
  if (!has("proto_version")) {
    const int version = wal::ServerVersion(server_major).pgoutput_protocol();
    options.emplace_back("proto_version", std::to_string(version));
  }
}

namespace {

class Session {
 public:
  Session(const Options& options, const Environment& environment)
      : options_(options),
        environment_(environment),
        habits_(options.stock_habits ? stock_habits() : own_habits(environment.seed)) {}

  Summary run() {
    for (;;) {
      try {
        stream_once();
        break;
      } catch (const net::Interrupted&) {
        // (The slot that was to be created is there: the original starts to stream, and ends.)
        if (!output_ && !(slot_made_ && !habits_->explains())) throw;
        tell("received interrupt signal, exiting");
        break;  // while connecting again
      } catch (const Error& error) {
        if (wait_out(error)) continue;
        if (!is_of_output(error.kind())) leave_whole();
        throw;
      }
    }
    leave_whole();
    return summary();
  }

 private:
  void stream_once();
  [[noreturn]] void throw_explained(const Error& error);
  pq::ReplicationStream start(pq::Connection& connection);
  void check_publications(pq::Connection& connection, std::string_view plugin) const {
    if (habits_->asks_first() && plugin == "pgoutput")
      require_publications(connection, options_.plugin_options);
  }
  void require_creatable_here(pq::Connection& connection) const;
  bool make_slot(pq::Connection& connection);
  bool drop_made_slot(pq::Connection& connection) const;
  [[nodiscard]] std::string slot_left(const pq::Connection& connection) const;
  pq::ReplicationStream prepare(pq::Connection& connection);
  void take_back_slot(pq::Connection& connection);
  void prepare_output(pq::Connection& connection);
  void require_usable_here(const pq::Connection& connection,
                           const std::optional<pq::ServerSlot>& slot, bool standby) const;
  SlotFacts slot_facts(pq::Connection& connection);
  void check_positions(pq::Connection& connection, const SlotFacts& facts);
  void check_timeline(pq::Connection& connection, wal::TimelineId timeline, bool standby);
  void copy(pq::ReplicationStream& stream);
  bool look_around(pq::ReplicationStream& stream, Clock::time_point now);
  void wait(pq::ReplicationStream& stream, Clock::time_point now);
  bool take(pq::ReplicationStream& stream, const pq::StreamEvent& event);
  bool take_data(const wire::XLogData& data);
  void confirm(pq::ReplicationStream& stream);
  void leave_if_it_shuts_down(const wire::Keepalive& keepalive);
  bool wait_out(const Error& error);
  void leave_whole();
  [[nodiscard]] Summary summary() const;
  void tell(const std::string& text) const {
    if (environment_.verbose) environment_.verbose(text);
  }
  void tell_progress() const {
    if (environment_.progress)
      environment_.progress({.streaming = true,
                             .plugin = plugin_,
                             .server = server_,
                             .durable = output_->durable(),
                             .error = {}});
  }
  /// It writes, or waits for a disk or a reader of the output; otherwise it listens.
  void busy(bool is) const {
    if (stuck_reader_) is ? stuck_reader_->enter() : stuck_reader_->leave();
    if (environment_.busy) environment_.busy(is);
  }

  const Options& options_;
  const Environment& environment_;
  const std::unique_ptr<Habits> habits_;
  std::string plugin_;
  std::string server_;
  pq::PluginOptions plugin_options_;
  std::unique_ptr<Output> output_;
  ExactOutput* exact_ = nullptr;  ///< the same, if it is one
  std::optional<Borders> borders_;
  std::optional<Formatter> formatter_;
  bool slot_made_ = false;
  bool unused_slot_ = false;  ///< made by this start, in this connection or one before
  bool streamed_ = false;     ///< a stream was started before
  wal::Lsn failed_at_;        ///< the stream's position at its last failure
  Clock::time_point last_look_{};
  Clock::time_point last_flush_{};
  Clock::time_point last_sync_{};
  Clock::time_point last_status_{};
  std::uint64_t messages_ = 0;
  std::chrono::milliseconds wal_sender_timeout_{};
  std::optional<wire::ShutdownSign> shutdown_sign_;  ///< of this stream
  wal::Lsn asked_at_;
  mutable std::optional<pq::StuckReader> stuck_reader_;
};

// One connection: from its start to the end of the stream, or an error.
void Session::stream_once() {
  auto connection =
      pq::Connection::open({.conninfo = options_.conninfo,
                            .replication = pq::Replication::logical,
                            .fallback_application_name = options_.fallback_application_name},
                           environment_.requests.stop_wake());
  if (options_.create && !slot_made_) {
    check_publications(connection, options_.create->plugin);
    unused_slot_ = make_slot(connection);
  }
  auto stream = [&] {
    try {
      return prepare(connection);
    } catch (const Error& error) {
      if (unused_slot_ && habits_->asks_first() && error.kind() != ErrorKind::retry)
        take_back_slot(connection);
      throw;
    }
  }();
  struct Watch {
    std::optional<pq::StuckReader>& reader;
    ~Watch() { reader.reset(); }
  } const watch{stuck_reader_};
  if (const auto patience = habits_->patience(wal_sender_timeout_); patience > 0ms) {
    stuck_reader_.emplace(patience, [this, &stream, patience] {
      environment_.log.warning(
          "the output has accepted no data for {}: disconnecting from the server, which would have "
          "to wait",
          format_duration(patience));
      stream.let_go();
    });
    stuck_reader_->enter();
  }
  unused_slot_ = false;
  // Only now: while another process had the slot it may have been writing to the file.
  output_->begin();
  if (environment_.requests.take_reopen()) output_->reopen();  // requested while disconnected
  if (borders_) borders_->reset();
  formatter_->reset();
  shutdown_sign_.emplace(wire::ShutdownSign::soon_again(wal_sender_timeout_));
  if (habits_->explains() && !streamed_)
    environment_.log.info("streaming from slot \"{}\" ({}) of {} at {}", options_.slot, plugin_,
                          connection.server_name(), output_->start());
  streamed_ = true;
  server_ = connection.server_name();
  tell("streaming initiated");
  tell_progress();
  try {
    copy(stream);
  } catch (const Error& error) {
    throw_explained(error);
  }
  try {
    confirm(stream);
    if (stuck_reader_) stuck_reader_->leave();
    stream.finish(kFinishTimeout);
  } catch (const Error& error) {
    if (is_of_output(error.kind())) throw;
    // All is on disk; unconfirmed transactions are sent again and skipped.
    environment_.log.warning("the stream did not end cleanly: {}", error.what());
  }
}

/// Up to the beginning of the stream.
pq::ReplicationStream Session::prepare(pq::Connection& connection) {
  if (!output_) {
    prepare_output(connection);
  } else if (habits_->asks_first()) {
    const auto facts = slot_facts(connection);
    if (exact_ != nullptr) exact_->look_again();
    check_positions(connection, facts);
    check_publications(connection, plugin_);  // while we were away one may have been dropped
  }
  wal_sender_timeout_ = pq::show_wal_sender_timeout(connection);
  pq::enlarge_buffer(connection, kReadBuffer);
  if (environment_.begins) environment_.begins();
  tell(fmt::format("starting log streaming at {} (slot {})", output_->start(), options_.slot));
  return start(connection);
}

/// If the start is rejected after all, an unused slot would retain WAL and dead rows. A slot whose
/// snapshot was copied is needed to continue the copy: it is kept.
void Session::take_back_slot(pq::Connection& connection) {
  if (options_.with_snapshot) {
    environment_.log.warning(
        "{}; it is needed to continue the copy that was made with its "
        "snapshot",
        slot_left(connection));
    return;
  }
  if (drop_made_slot(connection)) slot_made_ = false;
}

std::string Session::slot_left(const pq::Connection& connection) const {
  return fmt::format(
      "replication slot \"{}\", made by this start on {}, still exists and retains WAL. To "
      "remove it: SELECT pg_drop_replication_slot('{}')",
      options_.slot, connection.server_name(), options_.slot);
}

/// False, after a warning: it is still there.
bool Session::drop_made_slot(pq::Connection& connection) const {
  try {
    pq::drop_slot(connection, options_.slot);
  } catch (const Error& error) {
    environment_.log.warning("{}", slot_left(connection));
    environment_.log.warning("{}", error.what());
    return false;
  }
  environment_.log.info("dropped replication slot \"{}\" on {}, which this start had created",
                        options_.slot, connection.server_name());
  return true;
}

/// Errors of decoding are permanent.
void Session::throw_explained(const Error& error) {
  if (error.sqlstate() == "42704" && plugin_ == "pgoutput" && habits_->explains())
    throw younger_publication(error)
        .with("slot", options_.slot)
        .with("everything is confirmed up to", output_->durable());
  const bool too_large =
      error.sqlstate() == "54000" ||
      error.message().find("invalid memory alloc request size") != std::string::npos;
  if (!too_large || !habits_->explains()) throw error;
  throw Error(ErrorKind::refused,
              "a change is too large for the server to send: " + error.message())
      .with_sqlstate(error.sqlstate())
      .with("slot", options_.slot)
      .with("plugin", plugin_)
      .with("everything is confirmed up to", output_->durable())
      .hint(
          "A plugin's message is limited to 1 GB, and the text form of bytea doubles its size. "
          "pgoutput with --option binary=true sends the bytes as they are. Otherwise skip the "
          "transaction: copy its changes in another way, then call pg_replication_slot_advance() "
          "with a position after its commit.");
}

pq::ReplicationStream Session::start(pq::Connection& connection) {
  try {
    return pq::ReplicationStream::start_logical(connection, options_.slot, output_->start(),
                                                plugin_options_, environment_.requests.stop_wake());
  } catch (const Error& error) {
    // load_file() in dfmgr.c: the file has the plugin's name.
    if (error.sqlstate() == "58P01" && habits_->explains() &&
        error.message().find('"' + plugin_ + '"') != std::string::npos)
      throw Error(ErrorKind::refused, error.message())
          .with_sqlstate(error.sqlstate())
          .with("server", connection.server_name())
          .with("plugin", plugin_)
          .hint("The output plugin is not installed on this server. Install it, then start again.");
    if (error.sqlstate().empty() || !habits_->explains() || !error.hint().empty()) throw;
    throw Error(error).hint(
        fmt::format("The plugin {} rejected the stream. See its documentation for its options "
                    "(--option), and the server's log.",
                    plugin_));
  }
}

constexpr const char* kCannotDecode =
    "the server is a standby, and cannot decode before PostgreSQL 16";

Error not_before_promotion(const pq::Connection& connection, const std::string& why) {
  return Error(ErrorKind::retry, why)
      .with("server", connection.server_name())
      .hint(
          "It can be used after a promotion. To connect to the primary of several hosts only, "
          "add target_session_attrs=read-write to --dbname.");
}

/// The server would reject the command, even if the slot exists (ReplicationSlotCreate() in slot.c,
/// or see require_usable_here()).
void Session::require_creatable_here(pq::Connection& connection) const {
  const bool decodes = wal::ServerVersion(connection.server_major()).decodes_on_standbys();
  if (decodes && !options_.create->failover) return;
  if (connection.execute("SELECT pg_catalog.pg_is_in_recovery()").at(0).at(0) != "t") return;
  throw not_before_promotion(
      connection,
      decodes ? "the server is a standby, where no failover slot can be created" : kCannotDecode);
}

/// True if it is new.
bool Session::make_slot(pq::Connection& connection) {
  if (habits_->asks_first()) require_creatable_here(connection);
  auto create = *options_.create;
  if (options_.with_snapshot) create.snapshot = pq::Snapshot::export_;
  tell(fmt::format("creating replication slot \"{}\"", options_.slot));
  const auto slot = pq::create_logical_slot(connection, options_.slot, create);
  if (!slot && (!options_.if_not_exists || options_.with_snapshot))
    throw Error(ErrorKind::refused,
                fmt::format("replication slot \"{}\" already exists", options_.slot))
        .with("server", connection.server_name())
        .hint(options_.with_snapshot
                  ? "Only a new slot has a snapshot: drop the slot, or omit --snapshot-command."
                  : "Omit --create-slot to stream from it.");
  if (!slot || !options_.with_snapshot) {
    slot_made_ = true;
    return slot.has_value();
  }
  bool done = false;
  std::exception_ptr failure;
  try {
    done = options_.with_snapshot(slot->snapshot, slot->consistent_point);
  } catch (...) {
    failure = std::current_exception();
  }
  // Without the copy, the data before its start would be missing: a slot that remains, because the
  // connection is lost as well, must not be streamed from.
  slot_made_ = done;
  if (done) return true;
  const bool dropped = drop_made_slot(connection);
  if (failure) std::rethrow_exception(failure);
  throw Error(ErrorKind::refused, "the snapshot command failed")
      .hint(dropped ? "The slot was dropped again. Correct the command, and start with the same "
                      "options."
                    : fmt::format("The slot could not be dropped. Remove it: SELECT "
                                  "pg_drop_replication_slot('{}'). Correct the command, and start "
                                  "with the same options.",
                                  options_.slot));
}

void Session::prepare_output(pq::Connection& connection) {
  const auto facts = habits_->asks_first() ? slot_facts(connection) : SlotFacts();
  plugin_ = facts.plugin;
  plugin_options_ = options_.plugin_options;
  check_publications(connection, plugin_);
  if (plugin_ == "pgoutput") complete_pgoutput_options(connection.server_major(), plugin_options_);
  if (habits_->explains() && plugin_ == "pgoutput" && options_.directory != nullptr &&
      options_.form == Form::plugin)
    environment_.log.warning(
        "pgoutput's messages are binary, and a file of them does not show where each one ends; "
        "--format jsonl decodes them");
  // As the server allows its group to read its files (initdb --allow-group-access) or not: so does
  // pg_recvlogical since the minor releases of August 2026 (18.6, 17, 16, 15, 14).
  const unsigned mode = pq::show_file_mode(connection);
  if (options_.directory == nullptr) {
    output_ =
        std::make_unique<PlainOutput>(options_.path, mode, options_.startpos.value_or(wal::Lsn()));
  } else {
    borders_.emplace(plugin_, plugin_options_);
    State state;
    state.system_identifier = pq::identify_system(connection).system_identifier;
    state.database = facts.database;
    state.slot = options_.slot;
    state.plugin = plugin_;
    state.position = facts.confirmed.value_or(wal::Lsn());
    io::set_file_mode(*options_.directory, mode);
    auto exact = std::make_unique<ExactOutput>(*options_.directory, options_.path, state,
                                               options_.rotation, environment_.log);
    exact_ = exact.get();
    output_ = std::move(exact);
  }
  output_->set_advances([this] {
    if (stuck_reader_) stuck_reader_->advance();
  });
  formatter_.emplace(options_.form, plugin_);
  // Last: if this fails, the next connection finds everything prepared.
  check_positions(connection, facts);
}

/// In a list of hosts, the first one that accepts connections may be a standby that is promoted
/// later. Until then it cannot decode (CheckLogicalDecodingRequirements() in
/// replication/logical/logical.c before 16), or not from a slot that it copies from its primary
/// (CreateDecodingContext(), 17 and later). Such a slot is removed and created again if the standby
/// has invalidated it (drop_local_obsolete_slots() in slotsync.c), and there may be none yet.
void Session::require_usable_here(const pq::Connection& connection,
                                  const std::optional<pq::ServerSlot>& slot, bool standby) const {
  if (!standby) return;
  if (!wal::ServerVersion(connection.server_major()).decodes_on_standbys())
    throw not_before_promotion(connection, kCannotDecode);
  if (slot && slot->synchronized)
    throw not_before_promotion(
        connection,
        fmt::format(
            "the server is a standby, and synchronizes replication slot \"{}\" from its primary",
            options_.slot));
  if (!slot && output_ && connection.host_count() > 1)
    throw not_before_promotion(
        connection,
        fmt::format("the server is a standby, and has no replication slot \"{}\"", options_.slot));
}

SlotFacts Session::slot_facts(pq::Connection& connection) {
  const auto place =
      connection.execute("SELECT pg_catalog.current_database(), pg_catalog.pg_is_in_recovery()")
          .at(0);
  const auto& database = place.at(0);
  const bool standby = place.at(1) == "t";
  const auto slot = pq::find_slot(connection, options_.slot);
  require_usable_here(connection, slot, standby);
  SlotFacts facts;
  if (!slot)
    throw Error(ErrorKind::refused,
                fmt::format("replication slot \"{}\" does not exist", options_.slot))
        .with("server", connection.server_name())
        .hint(
            "Use --create-slot to create it. If it existed before, a new slot does not provide "
            "the changes since its last confirmed position.");
  if (slot->type != "logical")
    throw Error(ErrorKind::refused,
                fmt::format("replication slot \"{}\" is physical", options_.slot))
        .with("server", connection.server_name())
        .hint("Changes need a logical slot; \"pgweir slot list\" shows all slots.");
  if (slot->database != database)
    throw Error(ErrorKind::refused,
                fmt::format("replication slot \"{}\" belongs to another database", options_.slot))
        .with("slot's database", slot->database.value_or(""))
        .with("connected to", database.value_or(""))
        .hint("Connect to the slot's database (--dbname).");
  // The WAL may exist, but lack what decoding needs (wal_level_insufficient, rows_removed).
  const auto& reason = slot->view.invalidation_reason;
  const bool wal_is_there = reason && reason != "wal_removed" && reason != "idle_timeout";
  if (slot->view.wal_status == "lost")
    throw Error(ErrorKind::gap,
                wal_is_there
                    ? fmt::format("replication slot \"{}\" is lost: the server has invalidated it "
                                  "({})",
                                  options_.slot, *reason)
                    : fmt::format("replication slot \"{}\" is lost: the server has removed WAL it "
                                  "needs",
                                  options_.slot))
        .with("server", connection.server_name())
        .hint(
            "The changes since its confirmed position can no longer be decoded. Drop it, and "
            "start with a new slot and a new copy of the tables (--snapshot-command). " +
            pq::why_invalidated(reason, connection.server_major()));
  facts.plugin = slot->plugin.value_or("");
  facts.database = slot->database.value_or("");
  if (slot->confirmed_lsn) facts.confirmed = wal::Lsn::parse(*slot->confirmed_lsn);
  return facts;
}

Error not_on_the_server(bool standby) {
  return Error(standby ? ErrorKind::retry : ErrorKind::conflict,
               "the output file contains transactions that the server does not have")
      .hint(standby ? "The standby has not replayed them yet."
                    : "The server was restored from a backup, or promoted without its last "
                      "transactions. The file is ahead of it and must be corrected by hand.");
}

/// Prevents what the server would do silently: start after the end of our output, or skip
/// transactions that it lacks.
void Session::check_positions(pq::Connection& connection, const SlotFacts& facts) {
  if (exact_ == nullptr) return;
  const wal::Lsn start = output_->start();
  if (facts.confirmed && start < *facts.confirmed)
    throw Error(ErrorKind::gap, "the slot was advanced beyond the end of the output file")
        .with("slot", options_.slot)
        .with("file", start)
        .with("slot's position", *facts.confirmed)
        .hint(
            "Another client has advanced it (pg_logical_slot_get_changes, another receiver, "
            "pg_replication_slot_advance), or the file is an old copy. The changes in between "
            "cannot be received again. To accept their loss, move the file and its .state file "
            "away, and restart.");
  const auto identity = pq::identify_system(connection);
  const auto rows = connection.execute("SELECT pg_catalog.pg_is_in_recovery()");
  const bool standby = rows.at(0).at(0) == "t";
  if (identity.flush_position < start)
    throw not_on_the_server(standby)
        .with("server", connection.server_name())
        .with("file", start)
        .with("server's end", identity.flush_position);
  check_timeline(connection, identity.timeline, standby);
  // That of a standby may change while it streams.
  exact_->on_timeline(standby ? 0 : identity.timeline);
}

/// A server that was promoted before the file's position has other WAL from there on. It would skip
/// the transactions that have committed in it up to that position.
void Session::check_timeline(pq::Connection& connection, wal::TimelineId timeline, bool standby) {
  const auto ours = exact_->timeline();
  if (ours == 0 || ours == timeline) return;
  std::optional<wal::TimelineHistory> history(timeline);
  if (timeline > 1) {
    try {
      history = wal::TimelineHistory::parse(timeline, pq::timeline_history(connection, timeline));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::conflict) throw;
      history.reset();
    }
    if (!history) {
      environment_.log.warning(
          "{} has no history of its timeline {}: it is unknown whether it has all transactions of "
          "the file",
          connection.server_name(), timeline);
      return;
    }
  }
  const wal::Lsn start = output_->start();
  const auto left = history->end_of(ours);
  if (left && start <= *left) return;
  throw not_on_the_server(standby)
      .with("server", connection.server_name())
      .with("file", fmt::format("{} on timeline {}", start, ours))
      .with("server's timeline",
            left ? fmt::format("{}, since {}", timeline, *left) : fmt::format("{}", timeline));
}

void Session::copy(pq::ReplicationStream& stream) {
  struct Leaving {
    const Session& session;
    ~Leaving() { session.busy(true); }
  } const leaving{*this};
  if (environment_.alive) environment_.alive();
  busy(false);
  auto now = Clock::now();
  last_sync_ = last_status_ = last_flush_ = now;
  Gathering gathering(stream.by_unix_socket());
  // Available data is read without polling; in a steady flow some is left to accumulate briefly, so
  // that one read returns many messages.
  for (;;) {
    std::uint64_t taken = 0;
    for (;;) {
      const auto event = stream.next();
      if (std::holds_alternative<pq::NothingYet>(event)) break;
      if (const auto* data = std::get_if<wire::XLogData>(&event)) {
        gathering.took(data->wal.size());
        taken += data->wal.size();
      }
      busy(true);
      if (!take(stream, event)) return;
      busy(false);
    }
    now = Clock::now();
    if (environment_.alive) environment_.alive();
    if (now - last_look_ >= kFlushDelay || taken == 0) {
      last_look_ = now;
      busy(true);
      if (!look_around(stream, now)) return;
      busy(false);
    }
    if (taken < kFullRead && !gathering.wait(now)) wait(stream, now);
    stream.receive();
  }
}

/// Waits until there is input, or work is due.
void Session::wait(pq::ReplicationStream& stream, Clock::time_point now) {
  auto deadline = now + 1h;
  if (options_.status_interval > 0ms)
    deadline = std::min(deadline, last_status_ + options_.status_interval);
  if (output_->dirty() && options_.fsync_interval > 0ms)
    deadline = std::min(deadline, last_sync_ + options_.fsync_interval);
  if (output_->buffered()) deadline = std::min(deadline, now + kFlushDelay);
  if (environment_.alive_interval)
    deadline = std::min(deadline, now + *environment_.alive_interval);
  try {
    net::wait_for_socket(stream.socket(), true, !stream.flush(), &environment_.requests.any(),
                         deadline);
  } catch (const net::Interrupted&) {
    last_look_ = {};  // a signal
  }
}

/// Does the work that is due besides reading. Returns false if a stop was requested.
bool Session::look_around(pq::ReplicationStream& stream, Clock::time_point now) {
  if (environment_.requests.stopped()) {
    tell("received interrupt signal, exiting");
    return false;
  }
  if (environment_.requests.take_reopen()) output_->reopen();
  if (options_.fsync_interval > 0ms && now - last_sync_ >= options_.fsync_interval) {
    if (output_->dirty()) confirm(stream);
    last_sync_ = now;
  }
  if (options_.status_interval > 0ms && now - last_status_ >= options_.status_interval)
    confirm(stream);
  if (now - last_flush_ >= kFlushDelay) {
    output_->flush();
    last_flush_ = now;
  }
  stream.flush();
  return true;
}

/// False: that was the end.
bool Session::take(pq::ReplicationStream& stream, const pq::StreamEvent& event) {
  if (const auto* data = std::get_if<wire::XLogData>(&event)) {
    shutdown_sign_->clear();
    return take_data(*data);
  }
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
    const auto border =
        borders_ ? borders_->at_keepalive(*keepalive) : std::optional(keepalive->server_end);
    if (border && *border >= output_->last_border()) {
      output_->border(*border);
    }
    const bool end = options_.endpos && (borders_ ? output_->last_border()
                                                  : keepalive->server_end) >= *options_.endpos;
    if (end) {
      if (!borders_) output_->border(std::min(keepalive->server_end, *options_.endpos));
      tell(fmt::format("end position {} reached by keepalive", *options_.endpos));
      return false;
    }
    // The server requests a reply before it ends the connection, and at its shutdown until all is
    // confirmed.
    if (keepalive->reply_requested) {
      confirm(stream);
      leave_if_it_shuts_down(*keepalive);
    }
    return true;
  }
  throw Error(ErrorKind::retry, "the server ended the stream")
      .hint("It is shutting down, or its process was terminated.");
}

bool Session::take_data(const wire::XLogData& data) {
  const std::string_view text(reinterpret_cast<const char*>(data.wal.data()), data.wal.size());
  if (!borders_) {
    if (options_.endpos && data.start > *options_.endpos) {
      tell(
          fmt::format("end position {} reached by WAL record at {}", *options_.endpos, data.start));
      return false;
    }
  } else if (options_.endpos && data.start > *options_.endpos) {
    output_->undo();  // whole transactions only, and this one ends after it
    return false;
  }
  if (options_.form == Form::plugin) {  // unchanged: it may be large, and many are small
    output_->append(text);
    output_->append("\n");
  } else {
    output_->append(formatter_->line(data.start, text));
  }
  ++messages_;
  if (!borders_) {
    if (data.start.valid()) output_->border(data.start);
    if (options_.endpos && data.start == *options_.endpos) {
      tell(
          fmt::format("end position {} reached by WAL record at {}", *options_.endpos, data.start));
      return false;
    }
    return true;
  }
  const auto border = borders_->after_message(data.start, text);
  if (!border) return true;
  if (*border <= output_->last_border()) {
    output_->undo();  // sent again, although the start is after it
  } else if (options_.endpos && *border > *options_.endpos) {
    output_->undo();  // a document of wal2json has the position of its first record
    return false;
  } else {
    output_->border(*border);
    if (options_.endpos && *border >= *options_.endpos) return false;
  }
  return true;
}

void Session::confirm(pq::ReplicationStream& stream) {
  if (output_->dirty()) {
    output_->make_durable();
    tell(fmt::format("confirming write up to {}, flush to {} (slot {})", output_->last_border(),
                     output_->durable(), options_.slot));
  }
  last_status_ = Clock::now();
  tell_progress();
  PGWEIR_CHECK(output_->durable() <= output_->last_border());
  // The write position is the last border: a server that sees less than it sent reports when it is
  // between two transactions.
  stream.send({output_->last_border(), output_->durable(), {}, false});
}

/// A server that shuts down waits until its end is confirmed, and that may not be a border: a
/// streamed transaction is open, or the server shows no border any more, since it no longer waits
/// for WAL. It would wait forever (P13). After its restart it sends what is not confirmed again.
void Session::leave_if_it_shuts_down(const wire::Keepalive& keepalive) {
  if (keepalive.server_end != std::exchange(asked_at_, keepalive.server_end))
    shutdown_sign_->clear();
  const auto now = Clock::now();
  shutdown_sign_->on_request(now);
  if (!shutdown_sign_->shown(now)) return;
  throw Error(ErrorKind::retry, "the server is shutting down")
      .with("server", server_)
      .with("everything is confirmed up to", output_->durable())
      .with("server's end", keepalive.server_end);
}

bool Session::wait_out(const Error& error) {
  if (!options_.loop || !habits_->waits_out(error, output_ != nullptr)) return false;
  // After a stop nothing writes the missing part any more: the exit status must not be 0.
  if (is_of_output(error.kind()) && environment_.requests.stopped()) return false;
  if (output_ && streamed_) {
    // The part of a transaction in the file is sent again with its beginning.
    output_->undo();
    try {
      output_->flush();  // a reader must not wait for the next stream
    } catch (const Error& failed) {
      if (!habits_->waits_out(failed, true)) throw;
      return wait_out(failed);
    }
  }
  if (borders_) borders_->reset();
  if (const auto taken = output_ ? output_->last_border() : wal::Lsn(); failed_at_ < taken) {
    failed_at_ = taken;
    habits_->on_progress();
  }
  const auto pause = habits_->pause_after(error, environment_.log);
  if (environment_.progress)
    environment_.progress(
        {.streaming = false, .plugin = {}, .server = {}, .durable = {}, .error = error.message()});
  // Stopped meanwhile: stream_once() starts with a connection, which throws Interrupted.
  static_cast<void>(net::pause(environment_.requests.stop_wake(), pause));
  return true;
}

/// The end, after success or an error: the file ends with a whole transaction.
void Session::leave_whole() {
  if (!output_ || !streamed_) return;
  if (exact_ != nullptr)
    exact_->close();
  else
    output_->make_durable();
}

Summary Session::summary() const {
  Summary summary;
  if (output_) summary.position = output_->durable();
  summary.messages = messages_;
  return summary;
}

}  // namespace

Summary stream(const Options& options, const Environment& environment) {
  return Session(options, environment).run();
}

}  // namespace weir::logical
