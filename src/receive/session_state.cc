// next() names the first fact that is missing; when all are known, decide() has a step, or comes to
// a decision that shows which fact is the next one to be missing: to wait, to disconnect, to stop.

#include "receive/session_state.h"

#include <algorithm>
#include <utility>

#include "archive/find_losses.h"
#include "base/units.h"
#include "pq/slot_view.h"
#include "receive/preferred_host.h"
#include "wal/ancestor_history.h"
#include "wal/server_version.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// Damaged WAL may be a transmission fault: it is requested this often before manual intervention
/// is required.
constexpr int kDamageTries = 3;
/// Each switch leaves a history file in the archive. This many at once may follow a long absence or
/// a day of tests; a server that keeps announcing new timelines would fill the disk.
constexpr int kQuickSwitches = 64;
constexpr auto kSwitchesForgotten = 600'000ms;
constexpr auto kSwitchPause = 10'000ms;
/// Commits may wait for the archive until it follows the promoted server. Servers queried this
/// often reject within milliseconds.
constexpr auto kFailoverPause = 1'000ms;
/// Timelines before the server's whose history files are requested at most.
constexpr wal::TimelineId kMostSkipped = 64;

}  // namespace

SessionState::SessionState(const Options& options, Habits& habits, Log& log, std::uint64_t seed)
    : options_(options),
      habits_(habits),
      log_(log),
      backoff_(kFirstReconnect, kLongestReconnect, seed),
      behind_backoff_(500ms, kLongestReconnect, seed + 1),
      losses_(log),
      slots_(options.slot.value_or(""), log) {}

Step SessionState::next() {
  for (;;) {
    if (auto step = missing_fact()) return std::move(*step);
    if (auto step = decide()) return std::move(*step);
  }
}

/// The first missing fact's query; nullopt when all facts are known.
std::optional<Step> SessionState::missing_fact() {
  if (slots_.drop_wanted()) return step::DropSlot{};
  if (stop_) return *stop_;
  if (disconnect_) return step::Disconnect{};
  if (wait_) return step::Wait{*wait_};
  if (!upstream_ && asks_hosts()) {
    if (!chosen_host_) return step::AskHosts{};
    return step::Connect{*chosen_host_};
  }
  if (!upstream_) return step::Connect{first_host_};
  if (!identity_) return step::Identify{};
  if (!parameters_) return step::ReadParameters{};
  if (identity_->timeline > 1 && !server_histories_.contains(identity_->timeline))
    return step::FetchHistory{identity_->timeline};
  if (!archive_)
    return step::InspectArchive{identity_->system_identifier, parameters_->segment_size};
  // (After the cluster is known: another cluster's slot does not matter.)
  if (options_.slot && !slot_ && tells_of_its_slots()) return step::ReadSlot{};
  if (const auto* loss = losses_.next_pending()) return step::RecordLoss{*loss};
  return std::nullopt;
}

/// nullopt: the decision is a fact, of which missing_fact() or the next call has the step.
std::optional<Step> SessionState::decide() {
  if (gap_) return search_gap();

  StartFacts facts;
  facts.segment_size = parameters_->segment_size;
  facts.server = *identity_;
  if (const auto& content = server_histories_[identity_->timeline])
    facts.server_history = wal::TimelineHistory::parse(identity_->timeline, *content);
  else if (identity_->timeline == 1)
    facts.server_history = wal::TimelineHistory(1);
  facts.server_is_standby = upstream_->standby;
  facts.requested = options_.start;
  if (const auto& name = options_.start_segment) {
    if (!name->fits(facts.segment_size))
      return step::Stop{Error(ErrorKind::usage,
                              "no segment of this server can have the name specified with --start")
                            .with("name", *name)
                            .with("wal_segment_size", format_size(facts.segment_size.bytes()))};
    facts.requested = name->start(facts.segment_size);
  }
  facts.on_gap = options_.on_gap;
  if (slot_) {
    facts.slot_restart_lsn = slot_->restart_lsn;
    facts.slot_restart_timeline = slot_->restart_timeline;
  }
  if (const auto& resume = archive_->resume) {
    facts.archive = StartFacts::ArchiveEnd{};
    facts.archive->timeline = resume->timeline;
    facts.archive->start = resume->start;
    facts.archive->sound_end = resume->sound_end;
    if (const auto found = archive_->histories.find(resume->timeline);
        found != archive_->histories.end())
      facts.archive->history = wal::TimelineHistory::parse(resume->timeline, found->second);
  }

  begins_again_ = false;
  if (place_) {
    if (auto step = compare_tail(*place_)) return *step;
    if (auto step = find_lost_branch(facts)) return *step;
    return stream_from(*place_);
  }
  if (begun_ && !facts.archive && !facts.requested && !facts.slot_restart_lsn &&
      *begun_ <= identity_->flush_position) {
    begins_again_ = true;
    facts.requested = begun_;
  }
  auto decision = choose_start(facts);
  if (const auto* at = std::get_if<StartAt>(&decision)) {
    told_behind_ = false;
    behind_backoff_.reset();
    if (options_.endpos && archive_->resume &&
        (options_.endpos_inclusive ? *options_.endpos < at->lsn : *options_.endpos <= at->lsn)) {
      log_.info("the archive already reaches the end position {}", *options_.endpos);
      stop(std::nullopt);
      return std::nullopt;
    }
    // A slot that is still to be created may reserve earlier WAL than the server's current
    // position.
    const bool begins_here = !slot_is_to_be_made() || !tells_of_its_slots();
    if (options_.endpos && !archive_->resume && habits_.wants_all_up_to_the_end() && begins_here &&
        *options_.endpos <= at->lsn) {
      stop(Error(ErrorKind::gap, "the end position precedes the start of the archive")
               .with("end position", *options_.endpos)
               .with("it begins at", at->lsn)
               .hint("None of the requested WAL would be available. Specify an earlier position "
                     "with --start, or an older slot; the server may still have that WAL."));
      return std::nullopt;
    }
    // (First: the history of another cluster's server is not a loss of this archive.)
    if (auto step = compare_tail(*at)) return *step;
    if (facts.archive && facts.requested) {
      // WAL that --start skips, and --on-gap continue accepts, is a hole like any other.
      auto natural = facts;
      natural.requested.reset();
      const auto decided = choose_start(natural);
      if (const auto* begin = std::get_if<StartAt>(&decided); begin && begin->lsn < at->lsn) {
        auto left_out = hole(*begin, *at);
        left_out.cause = "accepted: skipped by --start, with --on-gap continue";
        add_pending(std::move(left_out));
      }
    }
    if (auto step = find_lost_branch(facts)) return *step;
    if (const auto* loss = losses_.next_pending()) return step::RecordLoss{*loss};
    return stream_from(*at);
  }
  if (const auto* behind = std::get_if<UpstreamBehind>(&decision)) {
    wait_for_wal(behind->why);
    identity_.reset();           // query again on the same connection
    disconnect_ = asks_hosts();  // or all hosts: another one may have it now
    return std::nullopt;
  }
  refuse(std::get<Refused>(decision).error);
  return std::nullopt;
}

void SessionState::wait_for_wal(const std::string& why) {
  const Error error(ErrorKind::retry,
                    "the server does not have the WAL that comes next yet: " + why);
  if (!options_.loop) {
    stop(error);
    return;
  }
  if (!std::exchange(told_behind_, true)) log_.warning("{}; waiting for it", error.what());
  // This may take forever, and the slot that another host lacks may be created meanwhile. (That
  // host has the WAL, so each attempt resets the other pause.)
  wait_ = soon_enough(refusals_.forget_settings() ? backoff_.next() : behind_backoff_.next());
}

Step SessionState::stream_from(const StartAt& at) {
  // (First: the history of another server's timeline must not enter the archive.)
  if (auto step = compare_tail(at)) return *step;
  if (auto step = history_step(at.timeline)) return *step;
  if (slot_is_to_be_made()) return step::CreateSlot{};
  streaming_from_ = at;
  begun_.reset();
  if (!archive_->resume && !options_.stock_habits) begun_ = at.lsn;
  step::Stream stream;
  stream.timeline = at.timeline;
  stream.start = at.lsn;
  stream.segment_size = parameters_->segment_size;
  stream.system_identifier = identity_->system_identifier;
  stream.server_end = identity_->flush_position;
  stream.void_losses = losses_.take_refilled(at.timeline, at.lsn);
  stream.held_end = at.lsn;
  if (const auto& resume = archive_->resume; resume && resume->timeline == at.timeline) {
    for (const auto& open : resume->open)
      if (open.start >= at.lsn) stream.open.push_back(open);
    // (Before `resume->start` the archive's content is unknown.)
    if (at.lsn >= resume->start) {
      // WAL archived from it after the position where the server left it is not received again.
      const auto history = server_history();
      const auto left = history ? history->end_of(at.timeline) : std::nullopt;
      stream.held_end =
          std::max(at.lsn, std::min(resume->sound_end, left.value_or(resume->sound_end)));
    }
  }
  stream.slot_position = slot_position(stream);
  return stream;
}

/// On a server that cannot be queried (13, 14) the slot is where the last run reported: that was
/// durable, so it is within the archive found now, except for the start of a record.
wal::Lsn SessionState::slot_position(const step::Stream& stream) const {
  if (!options_.slot) return {};
  auto position = stream.start;
  if (slot_ && slot_->restart_lsn)
    position = *slot_->restart_lsn;
  else if (!slot_ && !stream.open.empty())
    position = stream.open.back().trusted_end;
  // (If it was moved beyond the end of the server's WAL, its position does not count.)
  position = std::min(position, stream.server_end);
  // The store's WAL may end before the archive does, even before the slot.
  if (options_.confirm == Confirm::stored) return position;
  return position > stream.start ? position : wal::Lsn();
}

/// Before anything is added after the archive's complete segments, once on each connection: another
/// server's WAL may have the same position by coincidence, and appear to continue it. (Also if an
/// partial segment is streamed again and compared on arrival: its first record may not start in
/// it.)
std::optional<Step> SessionState::compare_tail(const StartAt& at) {
  if (tail_compared_ || !archive_->resume) return std::nullopt;
  if (uncompared_) {
    // Without the next WAL it is a gap, and reported as such.
    if (at.lsn < identity_->flush_position) return step::Probe{at.timeline, at.lsn};
    refuse_uncompared(*std::exchange(uncompared_, std::nullopt));
    auto step = missing_fact();  // what the refusal leads to
    PGWEIR_CHECK(step.has_value());
    return step;
  }
  const auto& resume = *archive_->resume;
  auto end = at.lsn;
  if (at.timeline == resume.timeline) {
    if (end != resume.start) return std::nullopt;  // after a hole
  } else {
    // The archive extends past the position where the server left that timeline: up to there they
    // agree.
    const auto history = server_history();
    const auto left = history ? history->end_of(resume.timeline) : std::nullopt;
    if (!left || *left > resume.start) return std::nullopt;
    end = *left;
  }
  tail_before_ = at;
  return step::CompareTail{resume.timeline, end, parameters_->segment_size,
                           identity_->system_identifier};
}

void SessionState::on_tail_compared(const TailComparison& comparison) {
  switch (comparison.how) {
    case TailComparison::How::nothing:
      tell_of_a_missing_tail();
      tail_compared_ = true;
      return;
    case TailComparison::How::same:
      tail_compared_ = true;
      return;
    case TailComparison::How::not_there:
      on_nothing_to_compare(comparison);
      return;
    case TailComparison::How::differs:
      break;
  }
  // Transmission damage looks the same: it is requested again. The server's own WAL comes with the
  // same bytes each time.
  if (!tail_differed_ || tail_differed_->at != comparison.at ||
      tail_differed_->server != comparison.server) {
    tail_differed_ = comparison;
    log_.warning("the server's WAL differs from the archive's at {} ({}); requesting it again",
                 comparison.at, comparison.file);
    return;
  }
  tail_differed_.reset();
  refuse(
      Error(ErrorKind::conflict, "the server's WAL differs at the end of the archive")
          .with("first difference at", comparison.at)
          .with("file", comparison.file)
          .with("archive", comparison.archive)
          .with("server", comparison.server)
          .hint(
              "This is WAL of a different server: the server was reset to an earlier state by a "
              "snapshot or a copy, or two servers were promoted to this timeline (split brain). "
              "None of this WAL was archived. Find out which server has the history that counts, "
              "and connect to that one. To archive the other one as well, use a separate "
              "directory, after a new base backup. (If other servers of the cluster agree with "
              "this one, the archive's file is damaged: move it away, and it is received again.)"));
}

/// The archive's part of the first segment is compared when it is received again.
bool SessionState::compared_as_it_comes() const {
  const auto& open = archive_->resume->open;
  return tail_before_->timeline == archive_->resume->timeline && !open.empty() &&
         open.front().start == tail_before_->lsn &&
         open.front().trusted_end > open.front().first_record;
}

/// An archive that extends past the switchpoint has had the WAL before it: --local-retention
/// removes it once the store has it, and the position at which a server is promoted later is not
/// known then.
void SessionState::tell_of_a_missing_tail() {
  const auto& resume = *archive_->resume;
  if (tail_before_->timeline == resume.timeline) return;
  const auto left = server_history()->end_of(resume.timeline);
  if (*left >= resume.start || !told_tail_.insert(upstream_->host_index).second) return;
  log_.warning(
      "the server left timeline {} at {}, and the archive directory has no valid WAL before that "
      "position, so it cannot be compared: only the server's history file shows that its WAL "
      "continues the archive",
      resume.timeline, *left);
}

/// The last record may have begun before the first segment and end in it, or none may be complete
/// in it: then the slot is there.
bool SessionState::slot_is_at_the_end() const {
  if (!slot_ || !slot_->restart_lsn) return false;
  const auto begin = tail_before_->lsn;
  return begin <= *slot_->restart_lsn &&
         *slot_->restart_lsn <= std::max(begin, archive_->resume->unbroken_end);
}

void SessionState::on_nothing_to_compare(const TailComparison& comparison) {
  const auto text = fmt::format(
      "the server does not have the end of the archive any more, from {} on ({}), so it cannot be "
      "compared",
      comparison.at, comparison.file);
  tail_compared_ = true;
  if (compared_as_it_comes()) {
    log_.debug("{}; the content of the partial segment will be compared ({})", text,
               comparison.server);
    return;
  }
  // A slot has this position only if a stream into this archive has reported it. A copy of the
  // server has that slot as well, and with it all WAL that was reported.
  if (tail_before_->timeline == archive_->resume->timeline && slot_is_at_the_end()) {
    log_.info("{}; its replication slot \"{}\" is at the end of the archive", text, *options_.slot);
    return;
  }
  if (options_.on_uncompared == OnUncompared::go_on) {
    if (told_tail_.insert(upstream_->host_index).second)
      log_.warning("{}: only the links between records show that its WAL continues \"{}\" ({})",
                   text, comparison.file, comparison.server);
    return;
  }
  tail_compared_ = false;
  uncompared_ = comparison;
}

void SessionState::refuse_uncompared(const TailComparison& comparison) {
  auto error =
      Error(ErrorKind::conflict,
            "the server has removed the WAL that the archive ends with, so nothing shows that its "
            "WAL continues the archive")
          .with("archive ends at", tail_before_->lsn)
          .with("file", comparison.file)
          .with("server", comparison.server)
          .hint(
              "A copy of the server that diverged on the same timeline, a server that was reset to "
              "an earlier state, or the other primary of a split brain looks the same. If this is "
              "the server that was archived until now, or a standby of it, start once with "
              "--on-uncompared continue. Otherwise archive it into a separate directory, after a "
              "new base backup.");
  // A standby promoted after it was identified has renamed that segment. Over a new connection its
  // history shows where its timeline starts.
  if (asked_anew_.insert(upstream_->host_index).second) {
    first_host_ = (upstream_->host_index + 1) % upstream_->host_count;
    try_again(error, backoff_.next());
    return;
  }
  refuse(error);
}

/// The history files of the ancestors that the archive lacks, oldest first, and then that of the
/// timeline are durable before the timeline's first segment is started. In this order, as a standby
/// stores them (WalRcvFetchTimeLineHistoryFiles() in replication/walreceiver.c): with the newer
/// file alone, "restore" would reject the request for an older one, and a recovery would stop.
/// Those of skipped timelines come last: if no other follows, because the server or this machine
/// fails, a recovery to the newest timeline would follow a skipped one, and leave out the WAL of
/// its ancestor after it.
std::optional<Step> SessionState::history_step(wal::TimelineId timeline) {
  if (timeline == 1) return std::nullopt;
  const bool stored = stored_histories_.contains(timeline);
  const auto known = server_histories_.find(timeline);
  const bool is_known = known != server_histories_.end();
  if (!stored && !is_known) return step::FetchHistory{timeline};
  // (If the two differ, storing the server's fails.)
  const auto held = archive_->histories.find(timeline);
  if (held != archive_->histories.end()) {
    if (auto step = ancestor_step(timeline, held->second)) return step;
  } else if (is_known && known->second) {
    if (auto step = ancestor_step(timeline, *known->second)) return step;
  }
  // (Not on the server: already reported.)
  if (!stored && known->second) return step::StoreHistory{timeline, *known->second};
  return skipped_step(timeline);
}

/// A recovery that starts on an older timeline requests the history file of each timeline after it
/// (findNewestTimeLine() in access/transam/timeline.c). Those of the ancestors are taken from
/// `content`, since the server may not have them: a standby begins with the file of the timeline
/// that its base backup was taken on.
std::optional<Step> SessionState::ancestor_step(wal::TimelineId timeline,
                                                const std::string& content) const {
  const auto history = wal::TimelineHistory::parse(timeline, content);
  if (!history) return std::nullopt;
  for (const auto& ancestor : history->ancestors()) {
    if (stored_histories_.contains(ancestor.timeline) ||
        archive_->histories.contains(ancestor.timeline))
      continue;
    if (auto older = wal::ancestor_history(content, ancestor.timeline))
      return step::StoreHistory{ancestor.timeline, std::move(*older)};
  }
  return std::nullopt;
}

/// Numbers that no ancestor has: a standby that knows timeline 2, and does not follow it, is
/// promoted to timeline 3. A recovery to the newest timeline ends before the first number whose
/// file is missing (findNewestTimeLine()), here on timeline 1. The server has the file, as a
/// standby does.
std::optional<Step> SessionState::skipped_step(wal::TimelineId timeline) {
  if (!archive_->resume) return std::nullopt;  // no recovery can start on a timeline before it
  const auto first = std::max<wal::TimelineId>(2, timeline - std::min(timeline, kMostSkipped));
  for (auto skipped = first; skipped < timeline; ++skipped) {
    if (stored_histories_.contains(skipped) || archive_->histories.contains(skipped) ||
        skipped_absent_.contains({upstream_->host_index, identity_->timeline, skipped}))
      continue;
    const auto known = server_histories_.find(skipped);
    if (known == server_histories_.end()) {
      skipped_ = skipped;
      return step::FetchHistory{skipped};
    }
    if (!known->second) continue;
    if (auto step = ancestor_step(skipped, *known->second)) return step;
    return step::StoreHistory{skipped, *known->second};
  }
  return std::nullopt;
}

void SessionState::on_hosts(int count, bool prefers_standby) {
  hosts_ = count;
  prefers_standby_ = prefers_standby;
}

void SessionState::on_hosts_asked(std::vector<HostWord> hosts, std::optional<ArchivedSoFar> archive,
                                  Time now) {
  HostFacts facts{.hosts = std::move(hosts),
                  .archive = std::move(archive),
                  .wish = wish_of(options_),
                  .prefer = options_.prefer,
                  .streamed = streamed_host_,
                  .refused = refusals_.hosts(),
                  .refused_for_gap = refusals_.for_gap(),
                  .refused_for = refusals_.why(),
                  .given_up = refusals_.given_up(options_.gap_timeout, now)};
  hosts_asked_at_ = now;
  if (!failover_since_) failover_since_ = now;
  if (prefers_standby_ && facts.prefer == Prefer::any) facts.prefer = Prefer::standby;
  auto choice = choose_host(facts);
  refusals_.on_verdicts(choice.verdicts, now);
  tell_verdicts(std::move(choice.verdicts));
  if (const auto* take = std::get_if<TakeHost>(&choice.decision)) {
    chosen_host_ = take->index;
    told_waiting_.clear();
  } else if (const auto* behind = std::get_if<HostsBehind>(&choice.decision)) {
    wait_for_wal(behind->why);
  } else if (const auto* none = std::get_if<NoAnswer>(&choice.decision)) {
    failed(none->error, now);
  } else if (const auto* again = std::get_if<AskAgain>(&choice.decision)) {
    wait_for_other_hosts(*again);
  } else {
    no_host_will_do(std::get<NoHost>(choice.decision).error);
  }
}

/// Logs changes of each host: repeated queries usually have the same results.
void SessionState::tell_verdicts(std::vector<HostVerdict> verdicts) {
  for (const auto& verdict : verdicts) {
    const auto known = std::find_if(verdicts_.begin(), verdicts_.end(), [&](const auto& each) {
      return each.index == verdict.index && each.eligibility == verdict.eligibility &&
             each.taken == verdict.taken &&
             (each.why == verdict.why || verdict.eligibility == Eligibility::behind);
    });
    if (verdict.taken)
      log_.info("of {} hosts, {} is chosen: {}", verdicts.size(), verdict.name, verdict.why);
    else if (known == verdicts_.end() && verdict.alarming)
      log_.warning("of {} hosts, {} is not chosen: {}", verdicts.size(), verdict.name, verdict.why);
    else if (known == verdicts_.end())
      log_.info("of {} hosts, {} is not chosen: {}", verdicts.size(), verdict.name, verdict.why);
  }
  verdicts_ = std::move(verdicts);
}

void SessionState::wait_for_other_hosts(const AskAgain& reason) {
  if (!options_.loop) {
    stop(Error(ErrorKind::retry, reason.why));
    return;
  }
  if (std::exchange(told_waiting_, reason.why) != reason.why)
    log_.warning("{}; waiting for the other hosts, for {} at most", reason.why,
                 format_duration(options_.gap_timeout));
  refusals_.forget_hosts();
  wait_ = soon_enough(backoff_.next());
}

/// Hosts that might qualify were waited for, or there are none.
void SessionState::no_host_will_do(const Error& error) {
  const bool waited = refusals_.has_waited(options_.gap_timeout) || refusals_.some_unsettled();
  const auto patience = format_duration(options_.gap_timeout);
  if (waited && error.kind() == ErrorKind::gap)
    log_.warning("the WAL that comes next is gone from every host that has answered for {}",
                 patience);
  else if (waited)
    log_.warning("no host that responded within {} has WAL that continues this archive", patience);
  refused_by_all(error);
}

void SessionState::on_connected(Upstream upstream) {
  log_.info("connected to {} (PostgreSQL {}{})", upstream.name, upstream.major,
            !upstream.standby   ? ""
            : *upstream.standby ? ", standby"
                                : ", primary");
  upstream_ = std::move(upstream);
  // WAL that one host has lost may exist on another: it is asked for the WAL itself.
  if (gap_ && gap_->host() != upstream_->host_index) gap_.reset();
  if (refusals_.passes_over(upstream_->host_index, upstream_->host_count)) {
    // Hosts that might qualify do not answer; they may later.
    if (refusals_.why() && refusals_.has_waited(options_.gap_timeout)) {
      no_host_will_do(*refusals_.why());
      return;
    }
    refusals_.forget_hosts();
    disconnect_ = true;
    wait_ = backoff_.next();
    refusals_.on_wait(*wait_);
  }
}

void SessionState::on_identified(const pq::SystemIdentity& identity) { identity_ = identity; }

void SessionState::on_parameters(const ServerParameters& parameters) {
  parameters_ = parameters;
  ready_once_ = true;
}

bool SessionState::tells_of_its_slots() const {
  return wal::ServerVersion(upstream_->major).has_read_replication_slot();
}

bool SessionState::slot_is_to_be_made() const {
  return options_.slot && options_.create_slot && !slots_.is_on(upstream_->host_index);
}

void SessionState::on_slot_created(bool created) {
  slots_.on_asked();
  // Its reserved WAL is queried; a server that cannot report it is asked for its position again.
  // Earlier WAL may have been removed before the slot existed.
  slot_.reset();
  if (!tells_of_its_slots()) identity_.reset();
  if (!created) {
    slot_is_there_already();
    return;
  }
  slot_lost_on_.erase(upstream_->host_index);
  slots_.on_created(upstream_->host_index, upstream_->name);
}

void SessionState::slot_is_there_already() {
  const bool first = !slots_.is_on_any();
  slots_.on_found(upstream_->host_index);
  // Only the first one must be new: after a failover the next host may have one prepared.
  if (first && !options_.if_not_exists)
    stop(Error(ErrorKind::refused, "replication slot \"" + *options_.slot + "\" already exists")
             .hint("Add --if-not-exists to use it as it is, or leave out --create-slot."));
}

void SessionState::on_slot_dropped() {
  slots_.on_dropped(upstream_->host_index, upstream_->name);
  slot_.reset();
  if (stop_) slots_.warn_of_left();
}

/// (An archive without WAL has received nothing through a slot: then that was made without
/// reserving any.)
void SessionState::remember_lost_slot(const pq::SlotState& slot) {
  const wal::ServerVersion version(upstream_->major);
  if (!slot.exists || (slot.restart_lsn && version.refuses_invalidated_physical_slots()))
    slot_lost_on_.erase(upstream_->host_index);
  else if (!slot.restart_lsn && archive_ && archive_->resume)
    slot_lost_on_.insert(upstream_->host_index);
}

void SessionState::on_slot(const pq::SlotState& slot) {
  remember_lost_slot(slot);
  if (!slot.exists && options_.create_slot && !slots_.asked_here()) {
    // It existed before: the server was rebuilt, or the slot was dropped.
    if (slots_.on_missing(upstream_->host_index))
      log_.warning("replication slot \"{}\" no longer exists on {}; creating it again",
                   *options_.slot, upstream_->name);
    slot_ = slot;
    return;
  }
  slot_ = slot;
  if (slot.exists && slot_is_to_be_made()) slot_is_there_already();
  if (stop_) return;
  // Another host of the connection string may have it: slots are not copied to standbys.
  if (!slot.exists) {
    const auto missing = fmt::format("replication slot \"{}\" does not exist", *options_.slot);
    refuse(
        Error(ErrorKind::refused, missing)
            .with_stock_text(missing)
            .with("server", upstream_->name)
            .hint(options_.stock_habits
                      ? "Create it: run this command once with --create-slot, which only creates "
                        "the slot."
                      : "Create it with \"pgweir slot create\" or add --create-slot; every "
                        "server of a connection string needs its own.")
            .hint("If it existed before, the server no longer retains WAL for this archive: "
                  "check for a gap."));
    return;
  }
  if (slot.type != "physical" && !slot.type.empty()) {
    refuse(
        Error(ErrorKind::refused, "replication slot \"" + *options_.slot + "\" is not physical")
            .with_stock_text(
                "could not send replication command \"READ_REPLICATION_SLOT\": ERROR:  cannot use "
                "READ_REPLICATION_SLOT with a logical replication slot")
            .with("server", upstream_->name)
            .with("type", slot.type)
            .hint("Receiving WAL needs a physical slot; choose another name."));
    return;
  }
  if (const auto from = retained_from()) {
    if (!told_ready_)
      log_.info("ready: replication slot \"{}\" reserves WAL from {} on", *options_.slot, *from);
    told_ready_ = true;
  } else if (!told_slot_ && ((archive_ && archive_->resume) || habits_.tells_of_new_slots())) {
    told_slot_ = true;
    log_.warning(
        "replication slot \"{}\" reserves no WAL: it was created without reserving any, or the "
        "server has invalidated it (see pg_replication_slots). {}",
        *options_.slot, pq::why_invalidated(std::nullopt, upstream_->major));
  }
}

void SessionState::on_history(wal::TimelineId timeline, std::string content) {
  if (!wal::TimelineHistory::parse(timeline, content)) {
    if (timeline == skipped_) {
      on_history_absent(timeline, "its content cannot be read");
      return;
    }
    stop(Error(ErrorKind::protocol, "the server sent a timeline history that cannot be read")
             .with("timeline", timeline));
    return;
  }
  server_histories_[timeline] = std::move(content);
}

void SessionState::on_archive(ArchiveFacts facts) {
  archive_ = std::move(facts);
  if (archive_->losses_known) losses_.set_recorded(archive_->losses);
  knows_losses_ |= archive_->losses_known;
  losses_.clear_pending();
  losses_.tell();
  for (auto& loss : archive_->found) add_pending(std::move(loss));
  archive_->found.clear();
}

/// The archive's part of its last timeline that is not in the server's history. The history of the
/// timeline that it names is stored first: without that file, "restore" would reject the request
/// for it (restore::Archives::missing_by_records()).
std::optional<Step> SessionState::find_lost_branch(const StartFacts& facts) {
  if (!archive_->resume) return std::nullopt;
  const auto& resume = *archive_->resume;
  auto history = facts.server_history;
  // Right after a switch the server may still report the previous timeline.
  if (place_ && (!history || !history->contains(place_->timeline)))
    if (const auto found = server_histories_.find(place_->timeline);
        found != server_histories_.end() && found->second)
      history = wal::TimelineHistory::parse(place_->timeline, *found->second);
  const auto switchpoint = history ? history->end_of(resume.timeline) : std::nullopt;
  if (!switchpoint) return std::nullopt;
  const auto& size = parameters_->segment_size;
  const auto most =
      std::max(resume.open.empty() ? resume.start : resume.open.back().start + size.bytes(),
               resume.unfinished_end);
  if (most <= *switchpoint) return std::nullopt;
  if (!archive_->sound_end) return step::FindEnd{resume.timeline, resume.start};
  if (auto loss = archive::lost_branch(*history, resume.timeline, *archive_->sound_end, size)) {
    if (auto step = history_step(loss->next_timeline)) return step;
    add_pending(std::move(*loss));
  }
  if (const auto* loss = losses_.next_pending()) return step::RecordLoss{*loss};
  return std::nullopt;
}

void SessionState::on_end_found(wal::Lsn end) { archive_->sound_end = end; }

void SessionState::add_pending(archive::Loss loss) {
  loss.system_identifier = identity_->system_identifier;
  loss.segment_size = parameters_->segment_size;
  losses_.add_pending(std::move(loss));
}

void SessionState::on_loss_recorded(archive::Loss loss) {
  told_disk_full_ = false;
  losses_.on_recorded(std::move(loss));
}

archive::Loss SessionState::hole(const StartAt& begin, const StartAt& end) const {
  archive::Loss loss;
  loss.timeline = begin.timeline;
  loss.next_timeline = std::max(begin.timeline, end.timeline);
  loss.begin = loss.sound_end = loss.counted_to = begin.lsn;
  loss.end = end.lsn;
  // The received part of the segment in which the hole starts.
  const auto& resume = *archive_->resume;
  for (const auto& open : resume.open)
    if (open.start == begin.lsn && resume.timeline <= begin.timeline)
      loss.sound_end = std::min(end.lsn, open.trusted_end);
  return loss;
}

void SessionState::on_history_stored(wal::TimelineId timeline) {
  told_disk_full_ = false;
  stored_histories_.insert(timeline);
}

void SessionState::on_stream_ended(const StreamOutcome& outcome, Time now) {
  if (outcome.how == StreamOutcome::How::timeline_ended) {
    // It knows what becomes of the archive's timeline, even if it had nothing of it left to send.
    tail_compared_ = true;
    streamed_host_ = upstream_->host_index;
  }
  archive_.reset();
  losses_.clear_pending();
  place_.reset();
  if (outcome.heard_anything) {
    streamed_ = true;
    habits_.on_message();
    // A message received before a gap, or before different WAL, does not make it less serious.
    const bool gap = outcome.error && outcome.error->kind() == ErrorKind::gap;
    const bool other_wal = outcome.error && outcome.error->kind() == ErrorKind::conflict;
    // No host has got past it.
    const bool damage = outcome.error && outcome.error->kind() == ErrorKind::damage &&
                        outcome.reached <= damage_at_;
    if (!gap || outcome.reached > streaming_from_.lsn) slots_.on_used(upstream_->host_index);
    if (!other_wal) streamed_host_ = upstream_->host_index;
    if (!gap && !other_wal) failover_since_ = hosts_asked_at_ = now;
    if (!gap && !other_wal) {
      asked_anew_.clear();
      habits_.on_progress();
      backoff_.reset();
      if (!damage) refusals_.clear();
    }
  }
  switch (outcome.how) {
    case StreamOutcome::How::stopped:
      if (options_.endpos && outcome.reached < *options_.endpos && !outcome.stop_asked)
        failed(Error(ErrorKind::retry, "the stream ended before the end position")
                   .with("end position", *options_.endpos)
                   .with("received up to", outcome.reached),
               now);
      else
        stop(std::nullopt);
      return;
    case StreamOutcome::How::timeline_ended: {
      if (outcome.next->timeline <= streaming_from_.timeline) {
        stop(Error(ErrorKind::protocol, "the server named an older timeline as the next one")
                 .with("timeline", streaming_from_.timeline)
                 .with("next", outcome.next->timeline));
        return;
      }
      if (outcome.next->switchpoint > outcome.reached) {
        // It would be an unreported hole (P3).
        stop(Error(ErrorKind::protocol,
                   "the server ended the timeline before sending all of its WAL")
                 .with("timeline", streaming_from_.timeline)
                 .with("received up to", outcome.reached)
                 .with("switchpoint", outcome.next->switchpoint)
                 .hint("The received WAL is archived. Start again, or connect to another server of "
                       "the cluster."));
        return;
      }
      const auto start = parameters_->segment_size.start_of(outcome.next->switchpoint);
      log_.info("timeline switch: continuing with timeline {} from {} (switched at {})",
                outcome.next->timeline, start, outcome.next->switchpoint);
      place_ = StartAt{outcome.next->timeline, start};
      identity_.reset();  // the server's own timeline has changed as well
      slot_.reset();      // and the slot
      slow_down_switches(now);
      return;
    }
    case StreamOutcome::How::dropped:
      // On the same connection. Time has passed, and the slot was released for a moment.
      identity_.reset();
      slot_.reset();
      return;
    case StreamOutcome::How::left:
      disconnect_ = true;
      return;
    case StreamOutcome::How::failed:
      break;
  }

  const Error& error = *outcome.error;
  if (error.kind() == ErrorKind::damage) {
    damage_count_ = outcome.reached > damage_at_ ? 1 : damage_count_ + 1;
    damage_at_ = std::max(damage_at_, outcome.reached);
    if (damage_count_ < kDamageTries && options_.loop) {
      log_.error(error);
      try_again(Error(ErrorKind::retry, "requesting the damaged WAL again"), backoff_.next());
      return;
    }
    // Other servers have copies of their own.
    if (upstream_->host_count > 1 && habits_.asks_all_hosts()) {
      damage_count_ = 0;
      refuse(error);
      return;
    }
  }
  if (error.kind() == ErrorKind::gap && begins_again_ && outcome.reached <= streaming_from_.lsn) {
    log_.warning(
        "the server no longer has the WAL from {} on, where this receiver began to stream into the "
        "empty archive: the archive begins later",
        streaming_from_.lsn);
    begun_.reset();
    try_again(error, backoff_.next());
    return;
  }
  if (error.kind() == ErrorKind::gap) {
    // The server's message names only one segment. Find out what it still has.
    log_.warning("{}", error.what());
    const auto missing = parameters_->segment_size.start_of(outcome.reached);
    // It is missing after all, which may repeat.
    if (found_again_ == missing) wait_ = backoff_.next();
    gap_.emplace(missing, streaming_from_.timeline, upstream_->host_index,
                 parameters_->segment_size);
    // Only this connection can drop the slot created on it.
    disconnect_ = !slots_.is_new_and_unused_here();
    return;
  }
  if (error.kind() == ErrorKind::conflict) {  // as for a difference in a complete segment
    refuse(error);
    return;
  }
  failed(error, now);
}

/// SQLSTATEs of errcode_for_file_access() in utils/error/elog.c.
bool SessionState::lacks_history(wal::TimelineId timeline, std::string_view sqlstate) const {
  if (sqlstate == "58P01") return true;
  return timeline == skipped_ && (sqlstate == "42501" || sqlstate == "58030");
}

void SessionState::on_history_absent(wal::TimelineId timeline, const std::string& server_text) {
  if (timeline == skipped_) {
    log_.debug("the server has no history file of timeline {} ({})", timeline, server_text);
    skipped_absent_.emplace(upstream_->host_index, identity_->timeline, timeline);
    return;
  }
  log_.warning("the server has no history file of timeline {} ({})", timeline, server_text);
  server_histories_[timeline] = std::nullopt;
}

std::optional<Step> SessionState::search_gap() {
  const auto step = gap_->next(identity_->flush_position, options_.on_gap == OnGap::stop);
  if (const auto* probe = std::get_if<GapSearch::Probe>(&step))
    return step::Probe{server_timeline_at(probe->lsn), probe->lsn};
  if (const auto* front = std::get_if<GapSearch::ReadFront>(&step))
    return step::ReadOldest{server_timeline_at(front->lsn), front->lsn, GapSearch::kFront};
  if (const auto* found = std::get_if<GapSearch::Found>(&step)) {
    gap_found(*found);
    return std::nullopt;
  }
  const Error error = Error(ErrorKind::gap, "the upstream has no WAL that continues the archive")
                          .with("wanted", gap_->missing())
                          .with("server is at", identity_->flush_position)
                          .hint("Connect to another server of the cluster.");
  gap_.reset();
  if (options_.on_gap == OnGap::stop)
    refuse(error);
  else
    try_again(error, behind_backoff_.next());
  return std::nullopt;
}

void SessionState::on_oldest_read(const std::string& wal) { gap_->on_front(wal); }

void SessionState::on_probed(bool available) {
  if (uncompared_) {
    const auto comparison = *std::exchange(uncompared_, std::nullopt);
    if (available)
      refuse_uncompared(comparison);
    else
      tail_compared_ = true;
    return;
  }
  if (gap_->on_probed(available) != GapSearch::Answer::has_it) return;
  log_.info("{} has the WAL from {} on: another server of that name did not have it",
            upstream_->name, gap_->missing());
  found_again_ = gap_->missing();
  gap_.reset();
}

Error SessionState::was_reset(wal::Lsn missing, wal::Lsn held) const {
  return Error(ErrorKind::gap,
               "the server's WAL was reset (pg_resetwal), and starts after the end of the archive")
      .with("archive continues at", missing)
      .with("server's WAL starts at", held)
      .with("server", upstream_->name)
      .hint(
          "There was never any WAL in between, and nothing was skipped. No recovery can pass this "
          "position: take a new base backup, and start with --on-gap continue, or archive into a "
          "separate directory. A server that was reset may be damaged: dump its data, and load "
          "them into a new one.");
}

void SessionState::gap_found(const GapSearch::Found& found) {
  const auto& size = parameters_->segment_size;
  const auto gap = *std::exchange(gap_, std::nullopt);
  const auto held = found.held;
  if (found.reset) {
    refuse(was_reset(gap.missing(), held));
    return;
  }
  // A hole would remain, although the damage may be repaired, or come from the network.
  if (refusals_.damage()) {
    refuse(Error(*refusals_.damage()));
    return;
  }
  // A segment with a switchpoint exists on both timelines. The newer one's file has all of it, and
  // of the older one the archive may have what there is.
  const auto name_of = [&](std::uint64_t segno) {
    const auto last_byte = wal::Lsn(size.start(segno + 1).byte() - 1);
    return wal::SegmentName(std::max(gap.timeline(), server_timeline_at(last_byte)), segno, size);
  };
  const auto first = name_of(size.segno(gap.missing()));
  const auto last = name_of(found.last_lost);
  if (options_.on_gap == OnGap::stop) {
    refuse(Error(ErrorKind::gap, "the upstream no longer has the WAL that comes next")
               .with("missing from", gap.missing())
               .with("to", held)
               .with("segments", fmt::format("{} to {}", first, last))
               .hint("Nothing was skipped. If another archive, the server's archive_command or a "
                     "standby still has these segments, import them with \"pgweir import "
                     "--extend\" and start again. Otherwise, no recovery can pass the hole: take a "
                     "new base backup, and start with --on-gap continue to resume with the WAL "
                     "that the upstream still has. " +
                     gap_hint(gap.missing())));
    return;
  }
  log_.error(
      "THE ARCHIVE HAS A HOLE NOW: WAL from {} to {} ({} to {}) is missing, because the upstream "
      "no longer had it; archiving resumes at {}. Take a new base backup: no recovery can pass the "
      "hole",
      gap.missing(), held, first, last, held);
  tail_compared_ = true;  // it does not even have the next WAL
  place_ = StartAt{server_timeline_at(held), held};
  // In an archive without a segment there is nothing before it from which a recovery could start.
  if (!archive_->resume) return;
  auto accepted = hole({gap.timeline(), gap.missing()}, *place_);
  accepted.cause = "accepted with --on-gap continue: the server no longer had it";
  add_pending(std::move(accepted));
}

/// nullopt if not available.
std::optional<wal::TimelineHistory> SessionState::server_history() const {
  const auto found = server_histories_.find(identity_->timeline);
  if (found == server_histories_.end() || !found->second) return std::nullopt;
  return wal::TimelineHistory::parse(identity_->timeline, *found->second);
}

std::optional<wal::Lsn> SessionState::retained_from() const {
  if (!slot_ || slot_lost_on_.contains(upstream_->host_index)) return std::nullopt;
  return slot_->restart_lsn;
}

/// Why the server could remove it.
std::string SessionState::gap_hint(wal::Lsn missing) const {
  if (!options_.slot) return "A replication slot (--slot) keeps this from happening again.";
  if (slots_.is_new_here())
    return "The replication slot created by this start retains only later WAL, and is dropped "
           "again.";
  const auto end = archive_->resume ? std::max(missing, archive_->resume->sound_end) : missing;
  const auto from = retained_from();
  if (from && *from <= end)
    return fmt::format(
        "Replication slot \"{}\" retains WAL from {} on, but the server does not have it: files "
        "were removed from its pg_wal, or its WAL was reset (pg_resetwal).",
        *options_.slot, *from);
  if (from)
    return fmt::format(
        "Replication slot \"{}\" retains WAL from {} on: it was created, or advanced by another "
        "client, after this archive had ended.",
        *options_.slot, *from);
  return fmt::format(
      "Replication slot \"{}\" did not retain it: the server has invalidated the slot (see "
      "pg_replication_slots), or the slot was created after this archive had ended. {}",
      *options_.slot, pq::why_invalidated(std::nullopt, upstream_->major));
}

/// The timeline of the server's history that the byte at `lsn` belongs to.
wal::TimelineId SessionState::server_timeline_at(wal::Lsn lsn) const {
  const auto history = server_history();
  return history ? history->timeline_of(lsn) : identity_->timeline;
}

void SessionState::failed(const Error& error, Time now) {
  chosen_host_.reset();
  if (slots_.drop_wanted()) {  // the end, or the next host, does not wait for it
    log_.warning("{}", error.what());
    slots_.on_drop_failed(upstream_->host_index, upstream_->name);
    if (stop_) slots_.warn_of_left();
    return;
  }
  const Habits::Failure failure{
      .error = error,
      .now = now,
      .connected = upstream_.has_value(),
      .answered_once = ready_once_,
      .streamed = streamed_,
      .hosts = upstream_ ? upstream_->host_count : 1,
      .wal_sender_timeout =
          parameters_ ? std::optional(parameters_->wal_sender_timeout) : std::nullopt};
  const auto reaction = habits_.after(failure);
  switch (reaction.kind) {
    case Habits::Reaction::Kind::try_again:
      try_again(error, soon_enough(std::min(backoff_.next(), reaction.longest_pause)));
      return;
    case Habits::Reaction::Kind::wait_for_space:
      if (!told_disk_full_) log_.error(error);
      told_disk_full_ = true;
      wait_ = behind_backoff_.next();
      return;
    case Habits::Reaction::Kind::next_host:
      refuse(error);
      return;
    case Habits::Reaction::Kind::stop:
      stop(error);
      return;
  }
}

void SessionState::slow_down_switches(Time now) {
  if (now - switches_since_ > kSwitchesForgotten) {
    switches_since_ = now;
    switches_ = 0;
  }
  if (++switches_ <= kQuickSwitches) return;
  if (switches_ == kQuickSwitches + 1)
    log_.warning(
        "the server switches timelines in rapid succession ({} switches within {}); following them "
        "slowly from now on",
        kQuickSwitches, format_duration(kSwitchesForgotten));
  wait_ = kSwitchPause;
}

/// Delay between two rounds of queries, for a while after a stream has ended.
std::chrono::milliseconds SessionState::soon_enough(std::chrono::milliseconds pause) const {
  if (!asks_hosts() || !failover_since_ || hosts_asked_at_ - *failover_since_ > kFailoverTakes)
    return pause;
  return std::min<std::chrono::milliseconds>(pause, kFailoverPause);
}

void SessionState::try_again(const Error& error, std::chrono::milliseconds pause) {
  wait_ = habits_.pause_after(error, pause, log_);
  disconnect_ = upstream_.has_value();
}

/// This host is rejected. Others of the connection string may qualify.
void SessionState::refuse(const Error& error) {
  if (!refusals_.add(upstream_->host_index, upstream_->host_count, error)) {
    refused_by_all(error);
    return;
  }
  log_.warning("{}; trying the next host", error.what());
  slots_.take_back(error.kind() == ErrorKind::conflict);
  first_host_ = (upstream_->host_index + 1) % upstream_->host_count;
  disconnect_ = true;
}

void SessionState::refused_by_all(const Error& error) {
  if (habits_.waits_out_refusal(error)) {
    refusals_.forget_hosts();
    try_again(error, backoff_.next());
  } else {
    stop(error);
  }
}

void SessionState::stop(std::optional<Error> error) {
  if (stop_) return;
  if (error && upstream_) slots_.take_back(error->kind() == ErrorKind::conflict);
  if (error && !slots_.drop_wanted()) slots_.warn_of_left();
  stop_ = step::Stop{std::move(error)};
}

void SessionState::request_stop() {
  if (slots_.drop_wanted()) {  // there is no time for it
    slots_.on_drop_failed(upstream_->host_index, upstream_->name);
    slots_.warn_of_left();
  }
  stop(std::nullopt);
}

void SessionState::on_disconnected() {
  disconnect_ = false;
  forget_connection();
}

void SessionState::forget_connection() {
  if (upstream_) slots_.on_disconnected(upstream_->host_index, upstream_->name);
  upstream_.reset();
  chosen_host_.reset();
  identity_.reset();
  parameters_.reset();
  slot_.reset();
  server_histories_.clear();
  skipped_ = 0;  // the next server may be on that timeline
  tail_compared_ = false;
  tail_differed_.reset();
  uncompared_.reset();
  // The inspection includes whether it belongs to this server's cluster (P4): this is checked again
  // for the next server.
  archive_.reset();
  losses_.clear_pending();
  place_.reset();
  if (gap_) gap_->on_disconnected();
}

void SessionState::on_waited() { wait_.reset(); }

}  // namespace weir::receive
