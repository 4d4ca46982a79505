#include "sim_run.h"

#include <algorithm>
#include <cerrno>

#include "ledger.h"
#include "lineage.h"
#include "random.h"
#include "sim_receiver.h"
#include "sim_upstream.h"
#include "support/sim_disk.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;
using Effect = SimDisk::Effect;
using Operation = SimDisk::Operation;

/// Steps of a quiet time in which everything has to be archived; far more than are needed.
constexpr std::uint64_t kQuietSteps = 20'000;
constexpr std::uint64_t kProcesses = 300;

class Run {
 public:
  Run(std::uint64_t seed, Mutant mutant, Telling telling)
      : random_(seed),
        story_(telling),
        lineage_(Lineage::variant(random_.below(Lineage::kVariants))),
        options_(upstream_options(random_)),
        upstream_(lineage_, options_, random_, story_),
        ledger_(lineage_, story_),
        world_{.upstream = upstream_,
               .disk = disk_,
               .ledger = ledger_,
               .random = random_,
               .story = story_,
               .mutant = mutant,
               .tick = [this] { return tick(); }} {
    receiver_options_.slot = options_.slot ? std::optional<std::string>("weir") : std::nullopt;
    receiver_options_.on_gap = random_.one_in(4) ? receive::OnGap::go_on : receive::OnGap::stop;
    if (random_.one_in(3)) receiver_options_.flush = {receive::FlushPolicy::Mode::interval, 20ms};
    if (random_.one_in(6)) receiver_options_.flush = {receive::FlushPolicy::Mode::segment, 0ms};
    if (random_.one_in(4)) receiver_options_.apply = receive::ApplyPosition::none;
    if (random_.one_in(4)) receiver_options_.on_disk_full = receive::OnDiskFull::stop;
    if (random_.one_in(3)) receiver_options_.compression = {codec::Method::zstd, 1};
    if (random_.one_in(4)) receiver_options_.loop = false;
    wild_steps_ = random_.between(50, 1200);
  }

  RunResult run() {
    story_.tell("lineage of {} timeline(s), {} node(s){}{}", lineage_.newest(),
                upstream_.nodes().size(), options_.slot ? ", slot" : "",
                options_.removes_wal ? ", WAL is removed" : "");
    try {
      while (steps_ < wild_steps_) process();
      begin_quiet_time();
      for (bool done = false; !done;) done = process();
      end();
    } catch (const Violation& violation) {
      story_.tell("{}: {}", violation.promise, violation.what);
      result_.violation = violation;
    }
    result_.story = story_.lines();
    return result_;
  }

 private:
  static SimUpstream::Options upstream_options(Random& random) {
    SimUpstream::Options options;
    options.two_nodes = random.coin();
    options.slot = random.one_in(3);
    options.removes_wal = options.slot || random.one_in(3);
    options.begins_as_standby = !options.two_nodes && random.coin();
    return options;
  }

  bool tick() {
    ++steps_;
    if (quiet_ && ++quiet_steps_ > kQuietSteps)
      throw Violation{"progress", "the archive does not reach the server's end"};
    story_.now += std::chrono::microseconds(random_.between(20, 3000));
    if (random_.one_in(60)) story_.now += std::chrono::milliseconds(random_.between(1, 600));
    if (!quiet_ && random_.one_in(500)) story_.now += 40s;
    upstream_.tick(quiet_);
    if (quiet_) return upstream_.at_the_end() && archived_all();
    if (steps_ >= wild_steps_) return true;
    trouble();
    return random_.one_in(400);
  }

  [[nodiscard]] bool archived_all() const {
    const auto& last = lineage_.timeline(lineage_.newest());
    return ledger_.reported(last.id) == last.received;
  }

  /// Faults of the disk that begin and end.
  void trouble() {
    if (full_) {
      if (random_.one_in(20)) {
        full_ = false;
        disk_.set_capacity(std::nullopt);
        story_.tell("there is space on the disk again");
      }
    } else if (random_.one_in(250)) {
      full_ = true;
      ++result_.full_disks;
      disk_.set_capacity(disk_.used_bytes() + random_.below(20'000));
      story_.tell("the disk is almost full");
    }
    if (random_.one_in(400)) failing_sync_ = true;
    if (random_.one_in(600)) failing_call_ = true;
    if (random_.one_in(50)) disk_.write_back_some(random_.engine());
  }

  Effect on_call(const SimDisk::Call& call) {
    const bool sync = call.operation == Operation::sync;
    const bool sync_directory = call.operation == Operation::sync_directory;
    if (down_at_ && call.number >= *down_at_ && (!down_at_names_ || sync_directory)) {
      story_.tell("the end comes at disk call {}: {} {}", call.number, name(call.operation),
                  call.name);
      return Effect::down();
    }
    if (world_.mutant == Mutant::directory_sync_left_out && sync_directory) return Effect::defer();
    if (world_.mutant == Mutant::data_sync_left_out && sync) return Effect::defer();
    if (failing_sync_ && (sync || sync_directory || call.operation == Operation::close)) {
      failing_sync_ = false;
      ++result_.failed_syncs;
      story_.tell("{} {} fails", name(call.operation), call.name);
      ledger_.on_failed_sync();
      return Effect::fail(EIO);
    }
    if (failing_call_ &&
        (call.operation == Operation::write || call.operation == Operation::read ||
         call.operation == Operation::open || call.operation == Operation::create ||
         call.operation == Operation::rename || call.operation == Operation::allocate)) {
      failing_call_ = false;
      story_.tell("{} {} fails", name(call.operation), call.name);
      return Effect::fail(random_.coin() ? EIO : ENOSPC);
    }
    if (world_.deferring != nullptr && (sync || world_.mutant == Mutant::history_not_synced)) {
      if (sync || sync_directory) {
        world_.deferring->push_back(call.number);
        return Effect::defer();
      }
    }
    return Effect::proceed();
  }

  static const char* name(Operation operation) {
    static const char* const names[] = {"create", "open",  "write",  "read",   "allocate",
                                        "sync",   "close", "rename", "remove", "sync of directory",
                                        "list",   "find"};
    return names[static_cast<int>(operation)];
  }

  /// One process from its start to its end, however that comes. True if it ended well.
  bool process() {
    if (++result_.processes > kProcesses)
      throw Violation{"progress", "the receiver ends again and again"};
    ledger_.on_process();
    world_.deferring = nullptr;
    down_at_.reset();
    failing_sync_ = failing_call_ = false;
    if (!quiet_ && random_.below(4) != 0) down_at_ = disk_.calls() + random_.any_size(600);
    down_at_names_ = random_.one_in(4);
    disk_.set_hook([this](const SimDisk::Call& call) { return on_call(call); });
    story_.tell("a process starts");
    bool well = false;
    bool power_lost = false;
    try {
      SimReceiver receiver(receiver_options_, world_, random_.below(1'000'000));
      const auto error = receiver.run();
      well = !error;
      story_.tell("the process ends: {}", error ? error->what() : "as asked");
      if (error) judge(*error);
    } catch (const MachineDown&) {
      power_lost = random_.below(3) != 0;
      story_.tell("{}", power_lost ? "power loss" : "kill -9");
    } catch (const ProcessDied& died) {
      story_.tell("the process ends at once: {}", died.error.what());
    }
    upstream_.disconnect();
    disk_.set_hook({});
    // A process that ended leaves the page cache behind; the power may fail then, too.
    if (power_lost || random_.one_in(4))
      lose_power();
    else {
      ++result_.kills;
      disk_.kill();
    }
    return well;
  }

  void lose_power() {
    ++result_.power_losses;
    disk_.crash(random_.engine());
    ledger_.check(disk_, false);
  }

  /// An error that ends the program has to be one that had to come. What it asks of a person is
  /// done.
  void judge(const Error& error) {
    switch (error.kind()) {
      case ErrorKind::retry:
        if (receiver_options_.loop) break;
        return;
      case ErrorKind::disk_full:
        if (quiet_) break;
        return;
      case ErrorKind::io:
        if (quiet_) break;
        return;
      case ErrorKind::gap:
        ++result_.refusals;
        if (!options_.removes_wal || options_.slot)
          throw Violation{"P3", fmt::format("a gap where there cannot be one: {}", error.what())};
        receiver_options_.on_gap = receive::OnGap::go_on;
        return;
      case ErrorKind::conflict:
        ++result_.refusals;
        if (!upstream_.has_old_primary()) break;
        upstream_.repair();
        return;
      default:
        break;
    }
    throw Violation{"progress", fmt::format("ended without need: {}", error.what())};
  }

  void begin_quiet_time() {
    story_.tell("quiet time begins");
    quiet_ = true;
    disk_.set_capacity(std::nullopt);
    receiver_options_.loop = true;
    upstream_.repair();
  }

  void end() {
    lose_power();
    ledger_.check(disk_, true);
    ledger_.check_continuity(disk_);
    result_.timelines = lineage_.newest();
  }

  Random random_;
  Story story_;
  const Lineage& lineage_;
  const SimUpstream::Options options_;
  SimDisk disk_;
  SimUpstream upstream_;
  Ledger ledger_;
  Surroundings world_;
  receive::Options receiver_options_;
  RunResult result_;

  std::uint64_t steps_ = 0;
  std::uint64_t wild_steps_ = 0;
  std::uint64_t quiet_steps_ = 0;
  bool quiet_ = false;
  bool full_ = false;
  bool failing_sync_ = false;
  bool failing_call_ = false;
  std::optional<std::uint64_t> down_at_;
  bool down_at_names_ = false;  ///< not before a sync of the directory: names are in the balance
};

}  // namespace

RunResult simulate(std::uint64_t seed, Mutant mutant, Telling telling) {
  return Run(seed, mutant, telling).run();
}

const char* to_string(Mutant mutant) {
  switch (mutant) {
    case Mutant::none:
      return "none";
    case Mutant::data_sync_left_out:
      return "data sync left out";
    case Mutant::directory_sync_left_out:
      return "directory sync left out";
    case Mutant::rename_before_sync:
      return "rename before sync";
    case Mutant::report_before_sync:
      return "report before the sync is done";
    case Mutant::report_past_undecided:
      return "report past an undecided older sync";
    case Mutant::history_too_late:
      return "history stored after the first segment";
    case Mutant::history_not_synced:
      return "history not synced";
    case Mutant::sync_tried_again:
      return "retry after a failed sync";
    case Mutant::resume_at_newest_partial:
      return "resume at the newest of two partials";
    case Mutant::old_timeline_skipped:
      return "old timeline not finished";
    case Mutant::gap_skipped:
      return "gap skipped without a word";
    case Mutant::write_reported_as_flush:
      return "write position reported as flush";
    case Mutant::mutants_end:
      break;
  }
  return "?";
}

}  // namespace weir::sim
