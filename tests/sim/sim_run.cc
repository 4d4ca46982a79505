#include "sim_run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <new>
#include <set>

#include "archive/identity.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/upkeep.h"
#include "confirmed_wal.h"
#include "import/import.h"
#include "ledger.h"
#include "lineage.h"
#include "manifest_check.h"
#include "planted.h"
#include "prune/prune.h"
#include "random.h"
#include "recovery.h"
#include "relay/archive_end.h"
#include "relay/checked_wal.h"
#include "scheduler.h"
#include "sim_compare.h"
#include "sim_random.h"
#include "sim_readers.h"
#include "sim_receiver.h"
#include "sim_reference.h"
#include "sim_relay.h"
#include "sim_sizes.h"
#include "sim_standby.h"
#include "sim_store.h"
#include "sim_store_feed.h"
#include "sim_upstream.h"
#include "status/report.h"
#include "store/ledger/mark.h"
#include "store/send/push.h"
#include "store/shelf/near_shelf.h"
#include "support/sim_disk.h"
#include "verify/verify.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;
using Effect = SimDisk::Effect;
using Operation = SimDisk::Operation;

/// Steps of a quiet time in which everything has to be archived; far more than are needed.
constexpr std::uint64_t kQuietSteps = 60'000;
constexpr std::uint64_t kProcesses = 300;

class Run {
 public:
  Run(std::uint64_t seed, Mutant mutant, Telling telling, World world)
      : random_(seed),
        shutdowns_(seed + 77),
        shuts_down_(seed % 8 == 0),
        imports_(seed + 99),
        borders_(seed + 101),
        relays_(seed + 113),
        keeps_(seed + 103),
        prefers_(seed + 107),
        stores_(seed + 127),
        confirms_(seed + 131),
        pushes_(seed + 149),
        memory_(seed + 163),
        compares_(seed + 167),
        sizes_(seed + 173),
        story_(telling),
        lineage_(Lineage::variant(random_.below(Lineage::kVariants))),
        options_(upstream_options(lineage_, random_)),
        upstream_(lineage_, options_, random_, story_),
        ledger_(lineage_, story_, disk_),
        scheduler_(random_, story_),
        world_{.upstream = upstream_,
               .disk = disk_,
               .ledger = ledger_,
               .random = random_,
               .story = story_,
               .scheduler = scheduler_,
               .tick = [this](auto idle_until) { return tick(idle_until); },
               .feedback = [this](const auto& feedback) { on_feedback(feedback); }},
        mutant_(mutant),
        always_serves_(world == World::relay),
        watches_sizes_(sizes_.one_in(4)),
        always_stores_(world == World::store),
        often_hangs_(world == World::stuck),
        often_imports_(world == World::imports) {
    receiver_options_.slot = options_.slot ? std::optional<std::string>("weir") : std::nullopt;
    receiver_options_.on_gap = random_.one_in(4) ? receive::OnGap::go_on : receive::OnGap::stop;
    if (random_.one_in(3)) receiver_options_.flush = {receive::FlushPolicy::Mode::interval, 20ms};
    if (random_.one_in(6)) receiver_options_.flush = {receive::FlushPolicy::Mode::segment, 0ms};
    if (random_.one_in(4)) receiver_options_.apply = receive::ApplyPosition::none;
    if (random_.one_in(4)) receiver_options_.on_disk_full = receive::OnDiskFull::stop;
    if (random_.one_in(4)) receiver_options_.loop = false;
    // (Compression costs more than all the rest. A life with gzip takes seven times as long as
    // others: one in twenty of these took a twentieth of all time.)
    using codec::Method;
    if (random_.one_in(6)) {
      const auto draw = random_.below(60);
      receiver_options_.compression = {draw == 0        ? Method::gzip
                                       : draw % 20 == 1 ? Method::lz4
                                                        : Method::zstd,
                                       1};
    }
    if (receiver_options_.slot && upstream_.nodes().size() > 1 && keeps_.below(3) != 0) {
      receiver_options_.slot_hosts = receive::SlotHosts::all;
      receiver_options_.slot_interval = std::chrono::milliseconds(keeps_.between(100, 800));
    }
    if (options_.two_nodes && prefers_.one_in(3)) {
      receiver_options_.prefer =
          prefers_.coin() ? receive::Prefer::standby : receive::Prefer::primary;
      receiver_options_.prefer_after = std::chrono::milliseconds(prefers_.between(300, 2000));
    }
    // Hosts that say nothing do so for twelve seconds at most: who waits for one that never comes
    // back need not wait for ten minutes, in which a tenth of all lives spent most of all steps.
    receiver_options_.gap_timeout = 30s;
    prunes_ = random_.one_in(3);
    wild_steps_ = random_.between(50, 800);
    if (relays_.one_in(3) || always_serves_)
      for (std::uint64_t number = 1 + relays_.below(3); number > 0; --number)
        standbys_.push_back(std::make_unique<SimStandby>(fmt::format("standby{}", number),
                                                         relays_.coin(), 1000 * number, lineage_,
                                                         ledger_, relays_, story_));
    if (stores_.one_in(6) || always_stores_) make_store();
    if (seed % 8 == 3 || world == World::readers) make_readers(seed);
    if (seed % 8 == 5 && has_one_history())
      reference_.emplace(lineage_, seed + 173, scheduler_, story_);
    world_.ended = [this] { end_comparing(); };
  }

  RunResult run() {
    story_.tell("lineage of {} timeline(s), {} node(s){}{}{}{}", lineage_.newest(),
                upstream_.nodes().size(), options_.slot ? ", slot" : "",
                options_.removes_wal ? ", WAL is removed" : "",
                options_.foreign_host   ? ", one of another cluster"
                : options_.other_branch ? ", one of another branch"
                                        : "",
                receiver_options_.compression.method == codec::Method::none ? "" : ", compressing");
    try {
      if (random_.one_in(10)) copy_first_segment();
      while (steps_ < wild_steps_) process();
      begin_quiet_time();
      for (bool done = false; !done;) done = process();
      end();
    } catch (const Violation& violation) {
      story_.tell("{}: {}", violation.promise, violation.what);
      result_.violation = violation;
    }
    // (A violation may have left them in the middle of something.)
    disk_.set_hook({});
    disk_.kill();
    scheduler_.end();
    result_.steps = steps_;
    result_.dropped = world_.dropped;
    result_.told_to_go = upstream_.told_to_go();
    for (const auto& standby : standbys_) {
      result_.served += standby->received();
      result_.followed += standby->switches();
    }
    result_.slots_moved = upstream_.slots_moved();
    if (readers_) {
      result_.recoveries_beside = readers_->recoveries();
      result_.verified_beside = readers_->verified();
      result_.reported_beside = readers_->reported();
      result_.served_beside = readers_->served();
    }
    if (store_) {
      result_.stored = store_->stored();
      result_.not_stored = store_->failures();
      if (confirmed_) {
        result_.confirmed = confirmed_->segments();
        result_.confirmed_inside = confirmed_->beginnings();
      }
    }
    result_.story = story_.lines();
    return result_;
  }

 private:
  static SimUpstream::Options upstream_options(const Lineage& lineage, Random& random) {
    SimUpstream::Options options;
    options.two_nodes = random.coin();
    options.slot = random.one_in(3);
    options.removes_wal = options.slot || random.one_in(3);
    options.begins_as_standby = !options.two_nodes && random.coin();
    options.foreign_host = random.one_in(4);
    options.other_branch = !options.foreign_host && lineage.other_branch() && random.coin();
    options.damages = random.one_in(4);
    options.sends_away = random.one_in(3);
    options.slot_trouble = options.slot && random.one_in(3);
    options.sibling = options.two_nodes && !options.foreign_host && !options.other_branch &&
                      !options.slot && lineage.sibling() && random.coin();
    // (Behind a hole there may be nothing that tells one branch from the other.)
    if (options.other_branch) options.removes_wal = options.slot_trouble = false;
    return options;
  }

  [[nodiscard]] bool has_one_history() const {
    return !options_.damages && !options_.foreign_host && !options_.other_branch &&
           !options_.sibling;
  }

  void make_readers(std::uint64_t seed) {
    if (!has_one_history()) return;
    readers_.emplace(
        seed + 139,
        SimReaders::World{.lineage = lineage_,
                          .disk = disk_,
                          .ledger = ledger_,
                          .scheduler = scheduler_,
                          .story = story_,
                          .mutant = mutant_,
                          .ask_receiver = [this] { return receiver_->streams(); },
                          .end_needed = [this](const Ledger::Way& way,
                                               bool partial) { return end_needed(way, partial); }});
  }

  /// (Damage that a receiver cannot see yet, at the end of a finished segment, would be sent.)
  void make_store() {
    if (options_.damages) return;
    store_ = std::make_unique<SimStore>(lineage_, scheduler_, stores_, story_);
    world_.lost_by_store = [this](wal::SegmentName segment) { return store_->has_lost(segment); };
    feed_habits_.compresses = receiver_options_.compression.method != codec::Method::none;
    if (stores_.below(3) != 0)
      feed_habits_.keep_local = {.bytes = stores_.any_size(6 * kSegmentBytes)};
    feed_habits_.jobs = stores_.between(1, 3);
    feed_habits_.look_every = std::chrono::milliseconds(stores_.between(200, 3'000));
    feed_habits_.audit_every = std::chrono::milliseconds(stores_.between(500, 10'000));
    if (pushes_.coin())
      feed_habits_.open_every = std::chrono::milliseconds(pushes_.between(10, 500));
    // (When a host of another branch is let in is decided by what the server was told.)
    if (options_.other_branch || confirms_.coin()) return;
    confirmed_.emplace(lineage_, *store_, ledger_);
    feed_habits_.confirm_stored = true;
    receiver_options_.confirm = receive::Confirm::stored;
  }

  /// An archive that is taken over: somebody's "cp" never synced what it copied.
  void copy_first_segment() {
    const auto start = lineage_.start();
    const auto end = start + kSegmentBytes;
    if (lineage_.timeline(1).received < end) return;
    upstream_.has_written(end);
    const auto name = wal::SegmentName(1, kSegment.segno(start), kSegment).to_string();
    disk_.open()->create(name)->write_at(0, lineage_.bytes(1, start, end));
    ledger_.on_copied(start);
    copied_ = name;
    story_.tell("{} is copied into the archive", name);
  }

  /// Nobody has said that it was safe, or somebody that it was not: whoever copied it takes it
  /// away.
  void forget_copy() {
    if (!copied_ || ledger_.promised_anything() || ledger_.served_anything()) return;
    disk_.erase(*copied_);
    ledger_.on_copied(std::nullopt);
    copied_.reset();
  }

  bool tick(std::optional<receive::Time> idle_until) {
    ++steps_;
    // (Of a stop that was asked for nothing may come, either.)
    // (Nor while the disk hangs, or a call of an earlier hang does; others may do a lot meanwhile.)
    if (story_.now < std::max({disk_hangs_until_, spare_hangs_until_, call_hangs_until_}))
      ++hanging_steps_;
    if (!quiet_ && steps_ > wild_steps_ + kQuietSteps + hanging_steps_)
      throw Violation{"progress", "the receiver does not come to its end"};
    // (Who serves, or sends, takes more of them for the same time.)
    if (quiet_ && !waits_for_silent_host()) ++quiet_steps_;
    if (quiet_steps_ > kQuietSteps * (standbys_.empty() && !store_ ? 1 : 10))
      throw Violation{"progress", "the archive does not reach the server's end"};
    story_.now += std::chrono::microseconds(random_.between(20, 3000));
    if (idle_until) pass_time(*idle_until);
    // It asks and is answered without end: that takes its time.
    if (shuts_down_ && story_.now < disk_hangs_until_ && upstream_.shuts_down())
      story_.now += std::chrono::milliseconds(shutdowns_.between(0, 400));
    upstream_.tick(quiet_);
    if (relay_ != nullptr) relay_->tick(quiet_);
    if (reference_) reference_->tick(quiet_);
    if (compare_ != nullptr) compare_->check();
    if (store_) {
      store_->tick(quiet_);
      if (store_->complaint()) throw Violation{*store_->complaint()};
    }
    if (const auto complaint = upstream_.complaint(); !complaint.empty())
      throw Violation{"P8", complaint};
    if (const auto waits = upstream_.held_up(); !waits.empty()) throw Violation{"P13", waits};
    if (complaint_) throw Violation{*complaint_};
    if (quiet_) return upstream_.at_the_end() && archived_all() && stored_all() && compared_all();
    if (steps_ >= wild_steps_) return true;
    trouble();
    return random_.one_in(400);
  }

  /// A host that does not answer may have what the others lack: for that long each process waits,
  /// and clients and store go on meanwhile.
  [[nodiscard]] bool waits_for_silent_host() const {
    return (options_.foreign_host || options_.other_branch || options_.sibling) &&
           story_.now < process_since_ + receiver_options_.gap_timeout + 1min &&
           receiver_->waits_for_silent_host();
  }

  /// Nobody could do anything meanwhile.
  void pass_time(receive::Time until) {
    auto now = story_.now;
    if (now < std::max(disk_hangs_until_, spare_hangs_until_))
      now += std::chrono::milliseconds(random_.between(10, 400));
    if (random_.one_in(20)) now += std::chrono::milliseconds(random_.between(1, 600));
    if (!quiet_ && random_.one_in(200)) now += 40s;
    story_.now = std::max(story_.now, std::min(now, until));
  }

  /// By the stream that runs: an earlier one may have begun there, in an archive that was empty and
  /// stayed so.
  [[nodiscard]] bool archived_all() {
    const auto& last = lineage_.timeline(lineage_.newest());
    const auto durable = ledger_.durable();
    if (!durable || durable->timeline != last.id || durable->flush != last.received) return false;
    if (!ledger_.confirms_stored()) return true;
    // What is finished is confirmed in the end, if the slot does not begin behind it, and if there
    // is a page of WAL that says whose archive it is.
    const auto finished = kSegment.start_of(last.received);
    const auto confirmed = ledger_.confirmed();
    if (confirmed->flush >= finished) return true;
    if (confirmed->flush.valid()) return false;
    return upstream_.slot_was_behind(finished) || (last.received == finished && is_nobodys());
  }

  [[nodiscard]] bool is_nobodys() {
    const auto directory = disk_.open();
    return !archive::read_identity(*directory, archive::list_archive_names(*directory));
  }

  /// What is finished is in the store, too, also what that had lost (but for what looks pruned).
  [[nodiscard]] bool stored_all() {
    if (feed_ == nullptr) return true;
    if (!feed_->settled()) return false;
    // What is gone on both sides is seen when the store is asked for everything, and recorded.
    if (store_->has_lost_any() && story_.now < quiet_since_ + 40s) return false;
    for (const auto& segment : finished_here())
      if (!store_->has(segment) && !store_->seems_pruned(segment)) return false;
    return true;
  }

  [[nodiscard]] bool compared_all() { return compare_ == nullptr || compare_->done(); }

  /// The program waits for that. Only what waits for the disk may take long.
  void end_comparing() {
    if (compare_ == nullptr) return;
    const auto begun = story_.now;
    compare_->end();
    compare_->check();
    if (story_.now > std::max({begun, disk_hangs_until_, call_hangs_until_}) + 6s)
      throw Violation{
          "P13", fmt::format("the comparison delays the end by {} ms", (story_.now - begun) / 1ms)};
  }

  [[nodiscard]] std::set<wal::SegmentName> finished_here() const {
    std::set<wal::SegmentName> finished;
    for (const auto& name : disk_.names())
      if (const auto file = archive::SegmentFileName::parse(name); file && !file->partial)
        finished.insert(file->segment);
    return finished;
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
    if (random_.one_in(50)) disk_.write_back_some(std::ref(random_));
    if (random_.one_in(often_hangs_ ? 25 : 300)) {
      disk_hangs_until_ = story_.now + std::chrono::milliseconds(random_.any_size(150'000));
      only_syncs_hang_ = random_.coin();
      ++result_.hangs;
      story_.tell("{} for {} ms", only_syncs_hang_ ? "syncs hang" : "the disk hangs",
                  (disk_hangs_until_ - story_.now) / std::chrono::milliseconds(1));
    }
    // A disk that hangs while the server shuts down, and for long: would that hold the server?
    if (shuts_down_ && story_.now < disk_hangs_until_ && shutdowns_.one_in(40) &&
        upstream_.shut_down_unconfirmed())
      disk_hangs_until_ += std::chrono::milliseconds(shutdowns_.between(0, 150'000));
    if (random_.one_in(300) && receiver_->has_archive()) second_process();
    if (prunes_ && random_.one_in(80)) begin_prune();
    if (readers_ && receiver_->has_archive() && !copied_) readers_->tick();
    if (store_ && feed_ == nullptr && !scheduler_.running("push") && pushes_.one_in(30))
      begin_push();
    if (!ledger_.told_holes().empty() && imports_.one_in(often_imports_ ? 3 : 30) &&
        receiver_->has_archive())
      begin_import();
    if (options_.sibling && random_.one_in(100)) {
      upstream_.show_foreign(!upstream_.foreign_is_up());
      if (upstream_.foreign_is_up() && random_.coin()) upstream_.disconnect();
    }
    if (options_.foreign_host && random_.one_in(200))
      upstream_.show_foreign(!upstream_.foreign_is_up() && ledger_.promised_anything());
    if (options_.other_branch && random_.one_in(40))
      upstream_.show_foreign(!upstream_.foreign_is_up() && other_branch_would_be_known());
    if (options_.other_branch && !upstream_.foreign_is_up() && ends_behind_a_switch() &&
        random_.one_in(4) && other_branch_would_be_known()) {
      upstream_.show_foreign(true, true);
      upstream_.disconnect();
    }
    // No record crosses the border behind a switch: so WAL that fits shows only by what it says.
    if (options_.other_branch && !upstream_.foreign_is_up() && ends_with_a_segment() &&
        ends_behind_a_switch() && other_branch_would_be_known() && borders_.coin()) {
      upstream_.show_foreign(true);
      upstream_.disconnect();
      if (borders_.coin()) down_at_ = 0;  // so that nothing more is written
    }
  }

  /// All that is archived is finished: nothing of what comes is there to be compared with it.
  [[nodiscard]] bool ends_with_a_segment() const {
    return kSegment.offset(ledger_.reported(lineage_.newest())) == 0;
  }

  /// The archive has what tells its branch from the other one: a segment and more behind the fork.
  [[nodiscard]] bool other_branch_would_be_known() const {
    const auto way = ledger_.way();
    if (!way || way->last != lineage_.newest()) return false;
    const auto differs_from = std::max(way->begin, lineage_.other_branch()->fork);
    return way->end >= kSegment.start_of(differs_from) + 2 * kSegmentBytes;
  }

  /// What is archived ends with the empty rest behind an xlog switch, or in the first record behind
  /// it: only the link to the record before the switch tells which branch it is.
  [[nodiscard]] bool ends_behind_a_switch() const {
    const auto end = ledger_.reported(lineage_.newest());
    const auto& records = lineage_.timeline(lineage_.newest()).wal.records();
    const auto behind = std::partition_point(records.begin(), records.end(),
                                             [&](const auto& each) { return each.end <= end; });
    if (behind == records.begin()) return false;
    const auto& last = *std::prev(behind);
    return last.kind == testing::WalBuilder::Kind::xlog_switch && last.end < kSegment.start_of(end);
  }

  /// Another receiver on the same directory, or an operator who starts one by mistake.
  void second_process() {
    ++result_.second_tries;
    const auto directory = disk_.open();
    if (directory->try_lock())
      throw Violation{"P5", "a second process gets the archive while the first is at work"};
  }

  /// Another process removes what nobody needs, some way behind the end of what is reported: what
  /// precedes a position, or what no base backup needs.
  void begin_prune() {
    const auto way = ledger_.way();
    if (!way || scheduler_.running("prune")) return;
    const auto newest = kSegment.segno(way->end);
    const auto oldest = kSegment.segno(way->begin);
    if (newest < oldest + 2) return;
    const auto keep_from = kSegment.start(random_.between(oldest + 1, newest - 1));
    ++result_.prunes;
    scheduler_.start_beside("prune",
                            [this, options = prune_options(*way, keep_from)] { prune(options); });
  }

  /// Which WAL is kept: from `keep_from` on, in each case.
  prune::Options prune_options(const Ledger::Way& way, wal::Lsn keep_from) {
    prune::Options options;
    const auto later = kSegment.start(kSegment.segno(way.end) - 1);
    switch (random_.below(6)) {
      case 0:
        options.backups = {backup_from(way, keep_from)};
        break;
      case 1:
        options.backups = {backup_from(way, later), backup_from(way, keep_from)};
        break;
      case 2:
        options.keep_from = later;
        options.doubtful = {backup_from(way, keep_from)};
        options.doubtful.front().end.reset();
        options.doubtful.front().end_timeline = 0;
        break;
      case 3:
        options.backups = {backup_from(way, keep_from)};
        options.backups.front().system_identifier = kSystem + 1;
        break;
      default:
        options.keep_from = keep_from;
    }
    return options;
  }

  /// A base backup that starts in that segment.
  archive::BackupPoint backup_from(const Ledger::Way& way, wal::Lsn segment) {
    const auto timeline_at = [&](wal::Lsn at) {
      auto timeline = way.first;
      while (timeline < way.last && lineage_.timeline(timeline).switchpoint <= at) ++timeline;
      return timeline;
    };
    archive::BackupPoint backup;
    backup.start = segment + random_.below(kSegmentBytes) / 8 * 8;
    backup.timeline = timeline_at(backup.start);
    backup.end = std::max(backup.start,
                          std::min(backup.start + random_.any_size(2 * kSegmentBytes), way.end));
    backup.end_timeline = timeline_at(*backup.end);
    backup.system_identifier = kSystem;
    backup.file = "backup_manifest";
    return backup;
  }

  void prune(const prune::Options& options) {
    const auto directory = disk_.open();
    try {
      const archive::Upkeep upkeep(*directory, archive::Upkeep::Kind::prune);
      // (Slots that are made meanwhile it cannot know; where those that are there let go, it may.)
      std::vector<const SimStandby*> holders;
      for (const auto& standby : standbys_)
        if (standby->holds_from()) holders.push_back(standby.get());
      const auto mark = store::read_mark(*directory);
      const auto plan = prune::make_plan(*directory, options);
      auto floor =
          options.keep_from ? std::get<wal::Lsn>(*options.keep_from) : wal::Lsn(UINT64_MAX);
      std::string holder = "who began it";
      const auto keep = [&](wal::Lsn from, const std::string& who) {
        if (kSegment.start_of(from) >= floor) return;
        floor = kSegment.start_of(from);
        holder = who;
      };
      for (const auto* backups : {&options.backups, &options.doubtful})
        for (const auto& backup : *backups) {
          if (plan.files > 0 && backup.system_identifier != kSystem)
            throw Violation{"P12", "a prune believes a base backup of another cluster"};
          keep(backup.start, "a base backup");
        }
      for (const auto* const each : holders)
        if (const auto from = each->holds_from()) keep(*from, "the slot of " + each->name());
      story_.tell("prune: {} file(s) before {}, from where on WAL is kept for {}", plan.files,
                  floor, holder);
      ledger_.on_prune(floor);
      prune::carry_out(*directory, plan, {}, [&](const std::string& file) {
        story_.tell("pruned {}", file);
        const auto name = archive::SegmentFileName::parse(file);
        if (name && name->segment.start(kSegment) >= floor)
          complaint_ = Violation{
              "P12", fmt::format("{} is pruned, and {} needs WAL from {} on", file, holder, floor)};
        if (mark && store_ && name && !name->partial && !store_->has(name->segment) &&
            !store_->has_lost(name->segment) && !store_->seems_pruned(name->segment))
          complaint_ =
              Violation{"P17", fmt::format("{} is pruned, and the store never had it", file)};
      });
    } catch (const Error& error) {
      story_.tell("prune: {}", error.what());
    }
  }

  /// Another process, as cron begins it, uploads what the store lacks.
  void begin_push() {
    scheduler_.start_beside("push", [this, jobs = pushes_.between(1, 3), seed = pushes_()] {
      const auto directory = disk_.open();
      try {
        const auto pushed = store::push(*directory, *store_, store_->layout(),
                                        {.store_name = "simulated",
                                         .shown_name = store_->name(),
                                         .jobs = jobs,
                                         .retry_for = 2s,
                                         .seed = seed},
                                        scheduler_, story_);
        result_.pushed += pushed.segments;
        story_.tell("push: {} segment(s) sent, {} were there, {} file(s) pending", pushed.segments,
                    pushed.were_there, pushed.pending);
      } catch (const Error& error) {
        story_.tell("push: {}", error.what());
      }
    });
  }

  /// An operator brings what is missing: all of a hole or not, sound or not.
  void begin_import() {
    if (scheduler_.running("import")) return;
    const auto& holes = ledger_.told_holes();
    const auto& hole = holes[imports_.below(holes.size())];
    const bool whole = imports_.coin();
    // One bit: of a record that ends in the hole. (Of what leaves it on a side that is open nobody
    // can know, and that is told.)
    const bool sound = !whole || imports_.below(3) != 0;
    bool damaged = false;
    brought_ = std::make_unique<SimDisk>();
    for (wal::TimelineId timeline = 1; timeline <= lineage_.newest(); ++timeline) {
      if (timeline > 1 && !disk_.exists(wal::history_name(timeline))) break;
      for (auto start = kSegment.start_of(hole.begin); start < hole.end;
           start = start + kSegmentBytes) {
        const auto end = start + kSegmentBytes;
        if (lineage_.timeline(timeline).begin >= end || lineage_.end(timeline) < end) continue;
        if (!whole && imports_.one_in(3)) continue;
        const auto bytes = lineage_.bytes(timeline, start, end);
        std::vector<std::byte> content(bytes.begin(), bytes.end());
        if (!sound && !damaged && imports_.coin())
          if (const auto spot = lineage_.spot(timeline, start, end, imports_);
              spot && spot->byte - start >= 2 && spot->end <= hole.end &&
              spot->begin >= hole.begin) {
            content[spot->byte - start] ^= std::byte{1} << imports_.below(8);
            damaged = true;
          }
        brought_->put(wal::SegmentName(timeline, kSegment.segno(start), kSegment).to_string(),
                      content);
      }
    }
    ++result_.imports;
    // (If timelines begin and end inside the hole, there may be no complete segment to bring. The
    // import of an empty directory is reported, because the file system may not be mounted: seeds
    // 30038 and 32759 of e94f7ac.)
    const bool must_fit = whole && sound && !brought_->names().empty() &&
                          !ledger_.damage_was_sent() && !options_.foreign_host &&
                          !options_.other_branch && !upstream_.has_old_primary();
    scheduler_.start_beside("import", [this, must_fit] { import(must_fit); });
  }

  void import(bool must_fit) {
    const auto directory = disk_.open();
    importing::Options options;
    options.receiver = true;
    options.durable_end = [this] { return ledger_.durable(); };
    options.came_in = [this](const std::string& name, const std::string&) {
      ++result_.imported;
      story_.tell("imported {}", name);
    };
    try {
      const std::shared_ptr<io::Directory> source = brought_->open();
      const auto result = importing::import_wal(*directory, {{source}}, options);
      for (const auto& each : result.left_out)
        story_.tell("not imported: {}: {}", each.path, each.what);
      for (const auto& id : result.closed) story_.tell("import closes {}", id);
      // (Beside another hole, or nothing but an empty .partial, there is nothing to compare with.)
      for (const auto& each : result.left_out) {
        // A crash may have torn what was not acknowledged of an unfinished one.
        const bool nothing_beside = each.what.find("adjacent") != std::string::npos ||
                                    each.what.find(".partial") != std::string::npos;
        const bool call_failed = each.what.find("call failed") != std::string::npos;
        if (must_fit && each.reason != importing::Reason::not_asked_for && !nothing_beside &&
            !call_failed)
          complaint_ =
              Violation{"P7", fmt::format("import finds fault with the server's own WAL: {}: {}",
                                          each.path, each.what)};
      }
    } catch (const Error& error) {
      story_.tell("import: {}", error.what());
    }
  }

  Effect on_call(const SimDisk::Call& call) {
    if (over_ || !Fiber::inside()) return Effect::proceed();
    const bool sync = call.operation == Operation::sync;
    const bool sync_directory = call.operation == Operation::sync_directory;
    if (call.name.starts_with(".pgweir-loss-") && scheduler_.current() != "import")
      receiver_->tell_of_holes();
    if (call.operation == Operation::remove && scheduler_.current() == SimStore::kKeeper)
      leave_to_store(call.name);
    if (scheduler_.current() == "compare" && reference_->streams())
      complaint_ =
          Violation{"P13", fmt::format("the reference server streams, and its client waits "
                                       "for the disk: {} {}",
                                       name(call.operation), call.name)};
    // It has begun, and its effect comes in the end.
    take_time(sync || sync_directory);
    if (sync && call.name == archive::kSpareName) let_spare_hang();
    if (down_at_ && call.number >= *down_at_ && (!down_at_names_ || sync_directory)) {
      story_.tell("the end comes at disk call {}: {} {}", call.number, name(call.operation),
                  call.name);
      return Effect::down();
    }
    if (failing_sync_ && (sync || sync_directory || call.operation == Operation::close) &&
        !in_other_process()) {
      failing_sync_ = false;
      in_doubt_ = true;
      ++result_.failed_syncs;
      story_.tell("{} {} fails", name(call.operation), call.name);
      ledger_.on_failed_sync(call.name, disk_hangs_until_);
      return Effect::fail(EIO);
    }
    if (failing_call_ &&
        (call.operation == Operation::write || call.operation == Operation::read ||
         call.operation == Operation::open || call.operation == Operation::create ||
         call.operation == Operation::rename || call.operation == Operation::allocate ||
         call.operation == Operation::list || call.operation == Operation::find ||
         call.operation == Operation::remove)) {
      failing_call_ = false;
      if (readers_) readers_->on_failed_call();
      story_.tell("{} {} fails", name(call.operation), call.name);
      return Effect::fail(random_.coin() ? EIO : ENOSPC);
    }
    return Effect::proceed();
  }

  /// (The slots are given up where their file cannot be synced, and WAL goes on.)
  [[nodiscard]] bool in_other_process() const {
    const auto who = scheduler_.current();
    // (The threads that upload have the names of the receiver's.)
    return scheduler_.running("push") || who == "prune" || who == "import" || who == "slots" ||
           who == "serve alone" || who.starts_with("walsender");
  }

  /// P17.
  void leave_to_store(const std::string& name) {
    const auto file = archive::SegmentFileName::parse(name);
    if (!file || file->partial || !disk_.exists(name)) return;
    story_.tell("{} leaves the archive", name);
    ++result_.left;
    store_->on_left_to_us(file->segment);
    ledger_.on_left_to_store(file->segment.start(kSegment) + kSegmentBytes);
  }

  /// A whole segment of zeros has to reach the disk: that may take far longer than what is little.
  void let_spare_hang() {
    if (quiet_ || !options_.damages || !random_.one_in(6)) return;
    spare_hangs_until_ = story_.now + std::chrono::milliseconds(random_.between(1'000, 150'000));
    ++result_.hangs;
    story_.tell("the sync of the spare hangs for {} ms",
                (spare_hangs_until_ - story_.now) / std::chrono::milliseconds(1));
    hang_until(spare_hangs_until_);
  }

  /// The others get their turn, and time may pass.
  void take_time(bool sync) {
    scheduler_.pause();
    while (story_.now < disk_hangs_until_ && (sync || !only_syncs_hang_))
      hang_until(disk_hangs_until_);
    if (!sync || quiet_ || random_.coin()) return;
    const auto most = slow_syncs_ ? 60'000U : 400U;
    scheduler_.sleep_until(story_.now + std::chrono::microseconds(random_.any_size(most)));
  }

  /// A call that hangs does so to the end of that hang, also where a shorter one has begun since.
  void hang_until(receive::Time end) {
    call_hangs_until_ = std::max(call_hangs_until_, end);
    scheduler_.sleep_until(end);
  }

  static const char* name(Operation operation) {
    switch (operation) {
      case Operation::create:
        return "create";
      case Operation::open:
        return "open";
      case Operation::write:
        return "write";
      case Operation::read:
        return "read";
      case Operation::allocate:
        return "allocate";
      case Operation::truncate:
        return "truncate";
      case Operation::sync:
        return "sync";
      case Operation::close:
        return "close";
      case Operation::rename:
        return "rename";
      case Operation::remove:
        return "remove";
      case Operation::sync_directory:
        return "sync of directory";
      case Operation::list:
        return "list";
      case Operation::find:
        return "find";
    }
    return "";
  }

  /// One process from its start to its end, however that comes. True if it ended well.
  bool process() {
    if (++result_.processes > kProcesses)
      throw Violation{"progress", "the receiver ends again and again"};
    // Who accepted a hole starts it the usual way again.
    if (!quiet_ && gap_accepted_ && random_.one_in(3)) {
      gap_accepted_ = false;
      receiver_options_.on_gap = receive::OnGap::stop;
    }
    planted_later = {};
    planted_start.reset();
    down_at_.reset();
    failing_sync_ = failing_call_ = false;
    if (!quiet_ && random_.below(4) != 0) down_at_ = disk_.calls() + random_.any_size(600);
    down_at_names_ = random_.one_in(4);
    process_since_ = story_.now;
    disk_.set_hook([this](const SimDisk::Call& call) { return on_call(call); });
    slow_syncs_ = random_.coin();
    auto options = receiver_options_;
    options.stock_habits = !quiet_ && random_.one_in(8);
    // (It sends to no store.)
    if (options.stock_habits) options.confirm = receive::Confirm::local;
    const bool confirms_stored = options.confirm == receive::Confirm::stored;
    ledger_.on_process(confirms_stored);
    world_.confirmed = confirms_stored ? &*confirmed_ : nullptr;
    if (options.slot && random_.one_in(3)) options.monitor_conninfo = "the same server";
    story_.tell("a process starts{}{}", options.stock_habits ? ", as pg_receivewal" : "",
                confirms_stored ? ", which confirms what is stored" : "");
    bool well = false;
    bool power_lost = false;
    SimReceiver receiver(options, world_, random_.below(1'000'000));
    receiver_ = &receiver;
    if (!quiet_ && memory_.one_in(8)) receiver.exhaust_memory();
    std::optional<SimRelay> relay;
    // What is in the page cache after a sync has failed may not be on the disk, and a reader cannot
    // know; a receiver writes it again.
    if (!standbys_.empty() && !in_doubt_) {
      relay.emplace(disk_.open(), receiver.feed(), receiver.downstream(), standbys_, scheduler_,
                    ledger_, relays_, story_);
      relay_ = &*relay;
    }
    std::optional<SimStoreFeed> feed;
    if (store_ && !options.stock_habits) {
      feed_habits_.seed = stores_();
      feed.emplace(feed_habits_, disk_.open(), *store_, receiver.feed(), receiver.board(),
                   receiver.store_word(), scheduler_, story_);
      feed_ = &*feed;
    }
    std::optional<SimSizes> sizes;
    // (As pg_receivewal it checks them at its start. What was copied there may become shorter.)
    if (watches_sizes_ && !options.stock_habits && !copied_)
      sizes.emplace(disk_, receiver, std::chrono::milliseconds(sizes_.between(1, 500)), scheduler_,
                    story_);
    sized_ = sizes ? &*sizes : nullptr;
    std::optional<SimCompare> compare;
    if (reference_ && !options.stock_habits) {
      compare.emplace(SimCompare::World{.lineage = lineage_,
                                        .disk = disk_,
                                        .reference = *reference_,
                                        .feed = receiver.feed(),
                                        .board = receiver.board(),
                                        .scheduler = scheduler_,
                                        .story = story_},
                      compares_());
      compare_ = &*compare;
    }
    // It is quicker than the receiver's own uploads, which wait for its end; or nobody else
    // uploads.
    if (store_ && !quiet_ && pushes_.one_in(feed ? 4 : 2)) begin_push();
    struct Ending {  // also where a violation is on its way
      Run& run;
      ~Ending() {
        run.end_threads();
        if (run.compare_ != nullptr) {
          run.result_.compared += run.compare_->bytes();
          run.result_.differences += run.compare_->differences();
        }
        run.compare_ = nullptr;
        if (run.sized_ != nullptr) run.result_.sized += run.sized_->checked();
        run.sized_ = nullptr;
        run.relay_ = nullptr;
        run.feed_ = nullptr;
      }
    } const ending{*this};
    try {
      const auto error = receiver.run();
      well = !error;
      story_.tell("the process ends: {}", error ? error->what() : "as asked");
      if (error) judge(*error, options);
    } catch (const MachineDown&) {
      power_lost = random_.below(3) != 0;
      story_.tell("{}", power_lost ? "power loss" : "kill -9");
    } catch (const ProcessDied& died) {
      story_.tell("the process ends at once: {}", died.error.what());
      in_doubt_ = true;
      if (died.error.kind() == ErrorKind::disk_full)
        throw Violation{"P6", "a full disk ends the process as a failed sync would"};
      forget_copy();
    } catch (const std::bad_alloc&) {
      ++result_.exhausted;
      story_.tell("the process ends: out of memory");
    }
    upstream_.disconnect();
    disk_.set_hook({});
    disk_hangs_until_ = spare_hangs_until_ = call_hangs_until_ = {};
    over_ = true;
    ledger_.on_process_over();
    // A process that ended leaves the page cache behind; the power may fail then, too.
    std::optional<relay::Served> found;
    if (!standbys_.empty() && !in_doubt_ && !copied_ && relays_.one_in(6)) found = serve_alone();
    const auto told = in_doubt_ || copied_ ? archive::DurableEnd{} : receiver.told_durable();
    if (found || power_lost || random_.one_in(4)) {
      lose_power();
      if (found) ledger_.check_found(disk_, found->timeline(), found->end);
      if (told.timeline != 0) ledger_.check_found(disk_, told.timeline, told.flush);
    } else {
      ++result_.kills;
      disk_.kill();
    }
    scheduler_.end();
    over_ = false;
    return well;
  }

  void end_threads() {
    if (scheduler_.empty()) return;
    disk_.set_hook({});
    disk_.kill();
    scheduler_.end();
  }

  void lose_power() {
    ++result_.power_losses;
    disk_.crash(std::ref(random_));
    in_doubt_ = false;
    forget_copy();
    ledger_.check(disk_, false);
    check_losses();
    if (random_.one_in(16)) check_recovery(false);
    if (!store_) return;
    check_mark();
    check_manifests(*store_, *disk_.open());
    if (confirmed_) confirmed_->check_last();
    if (stores_.one_in(4)) recover_from_both(stores_.coin());
    if (stores_.one_in(4)) recover_from_store();
  }

  /// P15: what the mark says is in the store.
  void check_mark() {
    const auto mark = store::read_mark(*disk_.open());
    if (!mark) return;
    for (const auto& run : mark->sent)
      for (auto segno = run.first.segno(kSegment); segno <= run.last.segno(kSegment); ++segno) {
        const wal::SegmentName segment(run.first.timeline(), segno, kSegment);
        if (!store_->has(segment) && !store_->has_lost(segment))
          throw Violation{"P15", fmt::format("the mark says that the store has {}", segment)};
      }
    for (const auto timeline : mark->histories)
      if (!store_->has_history(timeline))
        throw Violation{"P15", fmt::format("the mark says that the store has the history of "
                                           "timeline {}",
                                           timeline)};
  }

  /// P9, from the archive and the store. `away`: it stops answering somewhere in it.
  void recover_from_both(bool away) {
    const auto way = ledger_.way_with_store();
    if (!way) return;
    ++result_.from_both;
    const auto directory = disk_.open();
    store::NearShelf stored([this]() -> store::ObjectStore& { return *store_; }, "the store",
                            store_->layout(), {.retry_for = 0ms, .seed = 0}, 1);
    const std::array<io::Shelf*, 2> both{directory.get(), &stored};
    if (away) store_->answer_only(stores_.any_size(40) - 1);
    const auto found = Recovery(lineage_, story_, mutant_).run(both, *way, false);
    store_->answer_only(std::nullopt);
    if (found.error) story_.tell("restore stops: {}", found.error->what());
    // (A history may be in the store alone: seed 2117 of 84ed3f2f.)
    const auto needed = store_->has_history(way->last + 1)
                            ? std::min(end_needed(*way, false),
                                       kSegment.start_of(lineage_.timeline(way->last).switchpoint))
                            : end_needed(*way, false);
    if (found.end >= needed) return;
    if (!found.error)
      throw Violation{"P9", fmt::format("recovery from the archive and the store ends at {} as if "
                                        "that were all, and WAL up to {} was reported as flushed",
                                        found.end, way->end)};
    if (!away && !store_->has_lost_any())
      throw Violation{"P9", fmt::format("restore from the archive and the store stops at {} "
                                        "without need: {}",
                                        found.at, found.error->what())};
  }

  /// P9, where the machine is gone, and there is an old copy of the archive's first segments, or
  /// nothing: a store that stops answering somewhere never makes a recovery end before the place
  /// where it ends while it answers.
  void recover_from_store() {
    const auto way = ledger_.way_with_store();
    if (!way) return;
    ++result_.from_both;
    SimDisk old_copy;
    const auto& first = lineage_.timeline(way->first);
    const auto end = way->first < lineage_.newest() ? first.switchpoint : way->end;
    auto at = way->begin;
    for (auto left = stores_.below(3); left > 0 && at + kSegmentBytes <= end; --left) {
      old_copy.put(wal::SegmentName(way->first, kSegment.segno(at), kSegment).to_string(),
                   lineage_.bytes(way->first, at, at + kSegmentBytes));
      at = at + kSegmentBytes;
    }
    const auto recover = [&] {
      const auto old = old_copy.open();
      store::NearShelf stored([this]() -> store::ObjectStore& { return *store_; }, "the store",
                              store_->layout(), {.retry_for = 0ms, .seed = 0}, 1);
      const std::array<io::Shelf*, 2> both{old.get(), &stored};
      return Recovery(lineage_, story_, mutant_).run(both, *way, false);
    };
    const auto whole = recover();
    store_->answer_only(stores_.any_size(60) - 1);
    const auto found = recover();
    store_->answer_only(std::nullopt);
    if (!found.error && found.end < whole.end)
      throw Violation{"P9",
                      fmt::format("recovery from the store, which stops answering, ends at {} "
                                  "as if that were all, and it has WAL up to {}",
                                  found.end, whole.end)};
  }

  /// P15: each finished segment is in the store, once, and the same.
  void check_store() {
    for (const auto& segment : finished_here()) {
      if (store_->seems_pruned(segment)) continue;
      if (!store_->has(segment))
        throw Violation{"P15", fmt::format("the store has not got {}", segment)};
      if (const auto count = store_->count(segment); count != 1 && !store_->came_twice(segment))
        throw Violation{"P15", fmt::format("the store has {} {} times", segment, count)};
    }
    check_lost();
  }

  /// P14: what was sent, and is gone on both sides, is a recorded hole for whoever has the store
  /// alone.
  void check_lost() {
    const auto mark = store::read_mark(*disk_.open());
    if (!mark || !store_->has_lost_any()) return;
    store::NearShelf stored([this]() -> store::ObjectStore& { return *store_; }, "the store",
                            store_->layout(), {.retry_for = 0ms, .seed = 0}, 1);
    const auto losses = archive::read_losses(stored, archive::list_archive(stored));
    const auto here = finished_here();
    for (const auto& run : mark->sent)
      for (auto segno = run.first.segno(kSegment); segno <= run.last.segno(kSegment); ++segno) {
        const wal::SegmentName segment(run.first.timeline(), segno, kSegment);
        if (!store_->has_lost(segment) || here.contains(segment) || store_->seems_pruned(segment))
          continue;
        const auto begin = segment.start(kSegment);
        if (std::none_of(losses.begin(), losses.end(), [&](const archive::Loss& loss) {
              return loss.kind == archive::Loss::Kind::hole && loss.begin <= begin &&
                     begin + kSegmentBytes <= loss.end;
            }))
          throw Violation{"P14", fmt::format("{} is gone from the store and from the archive, and "
                                             "no record says so",
                                             segment)};
      }
  }

  /// P14, as the next start will see it.
  void check_losses() {
    const auto directory = disk_.open();
    const auto listing = archive::list_archive(*directory);
    const auto losses = archive::read_losses(*directory, listing);
    ledger_.check_losses(listing, losses);
  }

  /// P9: recovery finds everything that was reported, or is stopped by an error where somebody was
  /// told of a hole. It never ends early as if that were the end of the WAL.
  void check_recovery(bool partial) {
    const auto way = ledger_.way();
    if (!way || ledger_.holds_damage()) return;
    const auto needed = end_needed(*way, partial);
    // If all WAL reported after the last hole follows the timeline's switchpoint, there is no
    // backup from which a recovery could reach it. A page that a crash has torn there then stops no
    // recovery (seed 361335 of 4aaf2c7).
    if (needed < way->begin) return;
    ++result_.recoveries;
    const auto directory = disk_.open();
    const auto found = Recovery(lineage_, story_, mutant_).run(*directory, *way, partial);
    // (Behind the end a crash may have kept the name of a later segment and lost that of an earlier
    // one; a receiver that starts again puts it right.)
    if (found.error && (partial || found.end < needed))
      throw Violation{
          "P9", fmt::format("restore stops at {} without need: {}", found.at, found.error->what())};
    if (found.end < needed)
      throw Violation{"P9", fmt::format("recovery ends at {}, and WAL up to {} was reported as "
                                        "flushed",
                                        found.end, way->end)};
    if (partial) check_status(*directory, *way, needed, found.end);
  }

  /// P9: what status says can be recovered is all that was reported, and no more than a recovery
  /// has come to.
  void check_status(io::Directory& directory, const Ledger::Way& way, wal::Lsn needed,
                    wal::Lsn reached) {
    const auto promised = promised_end(status::make_report(directory), way);
    // (Behind a hole, the end of a record that begins in it is of no use.)
    if (needed > lineage_.first_read_from(way.last, way.begin) && promised < needed)
      throw Violation{"P9", fmt::format("status promises a recovery up to {} only, and WAL up to "
                                        "{} was reported as flushed",
                                        promised, way.end)};
    if (promised > reached)
      throw Violation{"P9", fmt::format("status promises a recovery up to {}, and it ends at {}",
                                        promised, reached)};
  }

  /// Where a recovery must come to: without the unfinished segment to its begin, with it to the end
  /// of the last record that was reported as flushed as a whole.
  [[nodiscard]] wal::Lsn end_needed(const Ledger::Way& way, bool partial) const {
    auto end = way.end;
    // What a server wrote behind the place where its timeline was left is nobody's.
    if (way.last < lineage_.newest() && disk_.exists(wal::history_name(way.last + 1)))
      end = std::min(end, lineage_.timeline(way.last).switchpoint);
    if (!partial) return kSegment.start_of(end);
    return std::max(kSegment.start_of(end), lineage_.timeline(way.last).wal.complete_end(end));
  }

  /// That finished segment was left to the store, which has it.
  [[nodiscard]] bool is_left_to_store(const std::string& file) const {
    const auto name = archive::SegmentFileName::parse(file);
    return store_ && name && !name->partial &&
           name->segment.start(kSegment) < ledger_.left_to_store_before() &&
           store_->has(name->segment);
  }

  /// What verify says of an archive with which nothing is wrong.
  void check_verify() {
    if (!ledger_.promised_anything()) return;
    const auto directory = disk_.open();
    const auto report = verify::verify(*directory, {.look_again_after = {}});
    for (const auto& finding : report.findings) {
      // What is left before a hole ends somewhere; and so does a timeline that was left by
      // everybody before a crash was made good again.
      if (!ledger_.told_holes().empty()) continue;
      // What the store has may be gone here. An unfinished segment that was found before it, behind
      // which nothing came, stays (seed 782005 of eb9f749).
      if (finding.kind == verify::FindingKind::gap && is_left_to_store(finding.file)) continue;
      // What both the archive and the store have lost is recorded.
      if (store_ && store_->has_lost_any() &&
          finding.what.find("gone from the store") != std::string::npos)
        continue;
      // What was archived behind a fork is told as that.
      if (finding.kind == verify::FindingKind::lost_branch &&
          finding.timeline < lineage_.newest() &&
          finding.lsn == lineage_.timeline(finding.timeline).switchpoint)
        continue;
      const auto file = archive::SegmentFileName::parse(finding.file);
      if (file && file->partial && file->segment.timeline() < lineage_.newest()) continue;
      throw Violation{"P9",
                      fmt::format("verify finds fault with a sound archive: {} {}: {}",
                                  verify::to_string(finding.kind), finding.file, finding.what)};
    }
  }

  /// P12: what a standby with a slot asked for, and the server upstream has heard of, is kept there
  /// until that standby says otherwise, whatever becomes of the relay meanwhile.
  void on_feedback(const wire::HotStandbyFeedback& feedback) {
    ++result_.feedbacks;
    const auto told = relay::xmins_of(feedback).xmin;
    story_.tell("the standbys need {}", told);
    for (auto& standby : standbys_)
      if (!standby->may_tell(told))
        throw Violation{"P12", fmt::format("upstream hears that {} is needed, and the slot of {} "
                                           "has asked for {}",
                                           told, standby->name(), standby->xmin())};
  }

  /// `pgweir serve` begins where a receiver was killed.
  std::optional<relay::Served> serve_alone() {
    disk_.kill();
    const auto directory = disk_.open();
    try {
      if (!relay::find_cluster(*directory)) return std::nullopt;
      auto found = relay::find_served(*directory, kSegment);
      if (found) story_.tell("served alone up to {}", found->end);
      return found;
    } catch (const Error& error) {
      story_.tell("not served: {}", error.what());
      return std::nullopt;
    }
  }

  /// P11, and that everything is to be had: `pgweir serve` reads the archive from its begin on, as
  /// for a standby that follows all timelines. `spoiled`: the segment there, of the newest one that
  /// was reported, is not as it was.
  void check_serving(std::optional<wal::Lsn> spoiled) {
    const auto way = ledger_.way();
    if (!way || ledger_.holds_damage()) return;
    const auto directory = disk_.open();
    std::optional<relay::Cluster> cluster;
    std::optional<relay::Served> served;
    try {
      cluster = relay::find_cluster(*directory);
      if (cluster) served = relay::find_served(*directory, cluster->segment_size);
    } catch (const Error& error) {
      if (spoiled) return;
      throw Violation{"P11", fmt::format("a sound archive is not served: {}", error.what())};
    }
    if (!served) {
      if (spoiled) return;
      throw Violation{"P11", "an archive with WAL is not served"};
    }
    // One who begins there: of a record that comes from the segment before, that has the front.
    if (spoiled && *spoiled > way->begin && served->history.contains(way->last))
      static_cast<void>(
          read_served(*directory, *cluster, *served, way->last, *spoiled, spoiled.has_value()));
    auto at = way->begin;
    for (auto timeline = way->first; timeline <= served->timeline(); ++timeline) {
      const auto end = served->history.end_of(timeline).value_or(served->end);
      const auto reached = read_served(*directory, *cluster, *served, timeline,
                                       std::min(at, kSegment.start_of(end)), spoiled.has_value());
      if (!reached) return;
      at = *reached;
    }
    // (Nobody could use a record of which the end is not here.)
    auto needed = way->end;
    if (way->last < served->timeline() || ledger_.has_left(way->last))
      needed = std::min(needed, lineage_.timeline(way->last).switchpoint);
    // (An archive that begins after the switchpoint has WAL of a lost branch only: seed 117253 of
    // a810a3f.)
    if (needed <= way->begin) return;
    if (!spoiled && at < lineage_.timeline(way->last).wal.complete_end(needed))
      throw Violation{"P11", fmt::format("WAL is served up to {} only", at)};
  }

  /// To where the WAL of that timeline could be read; nullopt: something was wrong with it, as it
  /// may be in an archive that was spoiled.
  std::optional<wal::Lsn> read_served(io::Directory& directory, const relay::Cluster& cluster,
                                      const relay::Served& served, wal::TimelineId timeline,
                                      wal::Lsn at, bool spoiled) {
    const auto end = served.history.end_of(timeline).value_or(served.end);
    const auto refused = [&](const Error& error) {
      story_.tell("not served: {}", error.what());
      if (!spoiled)
        throw Violation{"P11", fmt::format("sound WAL is not served: {}", error.what())};
      return std::nullopt;
    };
    std::optional<relay::CheckedWal> reader;
    try {
      reader.emplace(directory, cluster, served.history, at);
    } catch (const Error& error) {
      return refused(error);
    }
    while (at < end) {
      const auto read = reader->read(end);
      if (read.trouble) return refused(read.trouble->error);
      if (read.wal.empty()) break;
      if (const auto wrong = ledger_.first_wrong(timeline, at, read.wal))
        throw Violation{"P11", fmt::format("{} to {} of timeline {} would be sent, and the byte at "
                                           "{} is not what was written",
                                           at, at + read.wal.size(), timeline, *wrong)};
      at = at + read.wal.size();
    }
    return at;
  }

  /// P9 once more, with a file that is not as it was: recovery is stopped, or has come through all
  /// the same; and verify says so.
  void spoil() {
    const auto way = ledger_.way();
    if (!way || ledger_.holds_damage()) return;
    // Some finished segment that is followed by another one.
    std::vector<std::string> files;
    std::string last;
    for (const auto& name : disk_.names())
      if (const auto file = archive::SegmentFileName::parse(name);
          file && !file->partial && file->segment.timeline() == way->last &&
          file->segment.start(kSegment) >= way->begin) {
        files.push_back(name);
        last = file->segment.to_string();
      }
    std::erase_if(files, [&](const std::string& name) { return name.starts_with(last); });
    if (files.empty()) return;
    ++result_.spoiled;
    const auto name = files[random_.below(files.size())];
    const auto segment = archive::SegmentFileName::parse(name)->segment;
    // Other forms would do as well.
    for (const auto& other : files)
      if (other != name && other.starts_with(segment.to_string())) disk_.erase(other);
    const auto start = segment.start(kSegment);
    auto content = disk_.content(name);
    const auto fault = random_.below(4);
    bool on_disk = true;
    if (fault == 0) {
      auto byte = random_.below(content.size());
      if (name.size() == segment.to_string().size()) {
        const auto spot = lineage_.spot(way->last, start, start + kSegmentBytes, random_);
        if (!spot || spot->begin < way->begin) return;
        byte = spot->byte - start;
        // A magic that seems to be a newer server's would leave all of the file unchecked.
        if (byte < 2) return;
      }
      story_.tell("a bit of {} falls over, at {}", name, byte);
      content[byte] ^= std::byte{1} << random_.below(8);
      disk_.put(name, content);
    } else if (fault == 1) {
      story_.tell("{} is removed", name);
      disk_.erase(name);
    } else if (fault == 2) {
      story_.tell("{} is cut", name);
      content.resize(random_.below(content.size()));
      disk_.put(name, content);
    } else {
      on_disk = false;
      const auto call = disk_.calls() + random_.any_size(200);
      story_.tell("disk call {} fails", call);
      disk_.fail_at(call, EIO);
    }
    if (on_disk) check_serving(start);
    const auto directory = disk_.open();
    const auto found = Recovery(lineage_, story_, mutant_).run(*directory, *way, false);
    disk_.set_hook({});
    if (!found.error && found.end < end_needed(*way, false))
      throw Violation{"P9", fmt::format("recovery ends at {} as if that were all, and WAL up to {} "
                                        "was reported as flushed",
                                        found.end, way->end)};
    if (found.error) story_.tell("restore stops: {}", found.error->what());
    // (Some bits of a frame mean nothing.)
    // (And an archive may begin anywhere.)
    if (fault == 1 && start == way->begin) on_disk = false;
    if (on_disk && found.error &&
        verify::verify(*directory, {.look_again_after = {}}).findings.empty())
      throw Violation{"P9", fmt::format("verify finds nothing wrong with {}", name)};
  }

  /// An error that ends the program has to be one that had to come. What it asks of a person is
  /// done.
  void judge(const Error& error, const receive::Options& options) {
    switch (error.kind()) {
      case ErrorKind::retry:
        // (As pg_receivewal it wants the first connection to succeed.)
        if (options.loop && !options.stock_habits) break;
        return;
      case ErrorKind::disk_full:
        if (quiet_) break;
        return;
      case ErrorKind::io:
        if (quiet_) break;
        return;
      case ErrorKind::damage:
        ++result_.refusals;
        if (!ledger_.damage_was_sent() && !upstream_.foreign_is_up())
          throw Violation{"P7", fmt::format("a false alarm: {}", error.what())};
        ledger_.repair(disk_);
        upstream_.repair_damage();
        if (options_.other_branch) upstream_.show_foreign(false);
        return;
      case ErrorKind::refused:
        ++result_.refusals;
        if (!upstream_.slot_is_in_trouble()) break;
        slot_was_lost_ = true;
        upstream_.repair_slots();
        return;
      case ErrorKind::gap:
        ++result_.refusals;
        slot_was_lost_ = slot_was_lost_ || upstream_.slot_is_in_trouble();
        if (!options_.removes_wal ||
            (options_.slot && !slot_was_lost_ && !ledger_.slot_may_be_ahead()))
          throw Violation{"P3", fmt::format("a gap where there cannot be one: {}", error.what())};
        receiver_options_.on_gap = receive::OnGap::go_on;
        gap_accepted_ = true;
        return;
      case ErrorKind::conflict:
        ++result_.refusals;
        // Who looks after it knows the server.
        if (error.message().starts_with("the server has removed the WAL that the archive ends") &&
            options_.removes_wal && !upstream_.foreign_is_up()) {
          receiver_options_.on_uncompared = receive::OnUncompared::go_on;
          return;
        }
        // A record that came damaged, and of which no server has the rest for long.
        if (!upstream_.has_old_primary() && !options_.foreign_host && !options_.other_branch &&
            !options_.sibling && !ledger_.damage_was_sent())
          break;
        if (error.message().starts_with("the cluster has diverged") && receiver_->could_stay())
          throw Violation{"P3",
                          "it gives up between two branches, and the server that it streamed "
                          "from would have gone on"};
        if (ledger_.damage_was_sent()) ledger_.repair(disk_);
        upstream_.repair_damage();
        upstream_.repair();
        upstream_.show_foreign(false);
        return;
      default:
        break;
    }
    throw Violation{"progress", fmt::format("ended without need: {}", error.what())};
  }

  void begin_quiet_time() {
    story_.tell("quiet time begins");
    quiet_ = true;
    quiet_since_ = story_.now;
    disk_.set_capacity(std::nullopt);
    receiver_options_.loop = true;
    upstream_.repair();
    upstream_.show_foreign(false);
    // A gap is an end only when a host that is gone was waited for long enough.
    if (options_.foreign_host && !random_.one_in(8))
      receiver_options_.on_gap = receive::OnGap::go_on;
    // What differs from every server that answers is looked at by a person, not by a host that does
    // not answer.
    if (options_.other_branch && ledger_.damage_was_sent()) ledger_.repair(disk_);
    slot_was_lost_ = slot_was_lost_ || upstream_.slot_is_in_trouble();
    upstream_.repair_slots();
    upstream_.repair_damage();
    if (store_) store_->make_good();
  }

  void end() {
    lose_power();
    ledger_.check(disk_, true);
    if (store_) {
      check_store();
      recover_from_both(stores_.coin());
      recover_from_store();
      check_changed_store(*store_, *disk_.open(), confirms_, story_);
    }
    if (random_.coin()) check_recovery(true);
    if (random_.one_in(4)) check_verify();
    if (relays_.one_in(4) || always_serves_) check_serving(std::nullopt);
    if (sizes_.one_in(4) && check_cut_segment(disk_, sizes_, story_)) ++result_.cut;
    if (random_.one_in(4) || always_serves_) spoil();
    result_.timelines = lineage_.newest();
  }

  Random random_;
  Random shutdowns_;       ///< of its own: what is drawn there does not move everything else
  const bool shuts_down_;  ///< servers, while the disk hangs
  Random imports_;         ///< likewise
  Random borders_;         ///< likewise
  Random relays_;          ///< likewise
  Random keeps_;           ///< likewise
  Random prefers_;         ///< likewise
  Random stores_;          ///< likewise
  Random confirms_;        ///< likewise
  Random pushes_;          ///< likewise
  Random memory_;          ///< likewise
  Random compares_;        ///< likewise
  Random sizes_;           ///< likewise
  Story story_;
  const Lineage& lineage_;
  const SimUpstream::Options options_;
  SimDisk disk_;
  SimUpstream upstream_;
  Ledger ledger_;
  Scheduler scheduler_;
  Surroundings world_;
  const Mutant mutant_;
  const bool always_serves_;
  const bool watches_sizes_;  ///< of all segments, beside each receiver
  const bool always_stores_;
  const bool often_hangs_;  ///< the disk
  const bool often_imports_;
  receive::Options receiver_options_;
  RunResult result_;

  std::uint64_t steps_ = 0;
  std::uint64_t wild_steps_ = 0;
  std::uint64_t quiet_steps_ = 0;
  std::uint64_t hanging_steps_ = 0;
  bool quiet_ = false;
  receive::Time quiet_since_{};
  receive::Time process_since_{};
  bool full_ = false;
  bool failing_sync_ = false;
  bool failing_call_ = false;
  /// Until then nothing that was begun on the disk comes to an end, or no sync.
  receive::Time disk_hangs_until_{};
  bool only_syncs_hang_ = false;
  receive::Time spare_hangs_until_{};
  receive::Time call_hangs_until_{};  ///< one that was begun, at the latest
  bool slow_syncs_ = false;
  std::optional<std::string> copied_;
  std::unique_ptr<SimDisk> brought_;    ///< what is offered to an import
  std::optional<Violation> complaint_;  ///< of a process beside the receiver
  bool prunes_ = false;
  bool slot_was_lost_ = false;
  bool gap_accepted_ = false;  ///< for the process that comes next
  SimReceiver* receiver_ = nullptr;
  std::vector<std::unique_ptr<SimStandby>> standbys_;
  SimRelay* relay_ = nullptr;  ///< in the process that runs
  std::optional<SimReaders> readers_;
  std::unique_ptr<SimStore> store_;
  std::optional<ConfirmedWal> confirmed_;  ///< of a life in which what is stored is confirmed
  SimStoreFeed::Habits feed_habits_;
  SimStoreFeed* feed_ = nullptr;  ///< in the process that runs
  std::optional<SimReference> reference_;
  SimCompare* compare_ = nullptr;  ///< in the process that runs
  SimSizes* sized_ = nullptr;      ///< likewise
  bool in_doubt_ = false;          ///< a sync has failed, and the power not since
  bool over_ = false;              ///< the process has come to its end
  std::optional<std::uint64_t> down_at_;
  bool down_at_names_ = false;  ///< not before a sync of the directory: names are in the balance
};

}  // namespace

RunResult simulate(std::uint64_t seed, Mutant mutant, Telling telling, World world) {
  seed_random_bits(seed);
  planted = mutant;
  return Run(seed, mutant, telling, world).run();
}

}  // namespace weir::sim
