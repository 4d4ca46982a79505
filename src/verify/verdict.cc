/// The meaning of the results: where the WAL has holes, what explains them, and whether a recovery
/// succeeds.

#include <algorithm>
#include <map>
#include <thread>

#include "archive/backup_checkpoint.h"
#include "archive/find_losses.h"
#include "archive/look_again.h"
#include "archive/losses.h"
#include "archive/other_forms.h"
#include "archive/unvouched.h"
#include "base/units.h"
#include "verify/run.h"

namespace weir::verify {

using wal::Lsn;
using State = Outcome::State;

/// By the records read and by the recorded losses: the verified range may start after the record
/// that lowered wal_level.
void Run::find_minimal_wal() {
  for (auto& loss : archive::read_losses(directory_, listing_))
    if (loss.kind == archive::Loss::Kind::minimal_wal && !loss.complaint)
      minimal_wal_.push_back(std::move(loss));
  for (const auto& each : results_->wal_levels()) {
    const auto& timeline = each.first;
    const auto& set = each.second;
    // (The record is also read in the segment of a new timeline that starts with it.)
    const auto history = timelines_.history(timeline);
    const auto of = history ? history->timeline_of(set.start) : timeline;
    const auto same =
        std::find_if(minimal_wal_.begin(), minimal_wal_.end(), [&](const archive::Loss& loss) {
          return loss.timeline == of && loss.begin <= set.start &&
                 (loss.goes_on || set.start < loss.end);
        });
    if (set.minimal && same == minimal_wal_.end()) {
      archive::Loss loss;
      loss.kind = archive::Loss::Kind::minimal_wal;
      loss.timeline = loss.next_timeline = of;
      loss.begin = set.start;
      loss.end = set.end;
      loss.goes_on = true;
      loss.segment_size = cluster_.segment_size;
      loss.recorded = false;
      minimal_wal_.push_back(std::move(loss));
    } else if (!set.minimal && same != minimal_wal_.end() && same->goes_on) {
      same->end = set.end;
      same->goes_on = false;
    }
  }
  std::sort(minimal_wal_.begin(), minimal_wal_.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
}

void Run::report_histories() {
  const auto& size = cluster_.segment_size;
  for (const auto& path : plan_.paths) {
    HistoryReport history;
    history.timeline = path.history.timeline();
    history.ancestors = path.history.ancestors();
    bool open = false;
    std::optional<std::uint64_t> before;
    Unfinished unfinished;
    for (const auto& step : path.steps) {
      PGWEIR_CHECK(!before || *before < step.segno);
      before = step.segno;
      const auto start = size.start(step.segno);
      if (!step.node) {
        open = false;
        continue;
      }
      const auto outcome = results_->outcome(*step.node);
      ++history.segments;
      const bool whole = outcome.state == State::sound && !step.unfinished_inside;
      unfinished = {outcome.state == State::partial ? outcome.file : "", open ? Lsn() : start};
      auto end = whole ? size.start(step.segno + 1) : outcome.end;
      if (outcome.state == State::vanished || step.unfinished_inside) end = Lsn();
      if (open && !whole && end.valid() && end < start) {
        // The record over the boundary is damaged: the valid WAL ends in the segment before.
        history.sound.back().end = std::max(history.sound.back().begin, end);
      } else if (open && end > history.sound.back().end) {
        history.sound.back().end = end;
      } else if (!open && end > start) {
        history.sound.push_back({start, end});
      }
      history.partial = outcome.file.ends_with(".partial") ? outcome.file : "";
      open = whole;
    }
    std::vector<HistoryReport::Range> ranges;
    for (const auto& range : history.sound) {
      PGWEIR_CHECK(range.begin <= range.end);
      for (const auto& piece :
           archive::without_minimal_wal({range.begin, range.end}, path.history, minimal_wal_))
        ranges.push_back({piece.begin, piece.end});
    }
    if (!history.sound.empty()) note_missing_end(path.history.timeline(), history.sound.back().end);
    history.sound = std::move(ranges);
    report_.histories.push_back(std::move(history));
    unfinished_.push_back(std::move(unfinished));
  }
}

/// By the history of a later timeline that has no segments yet, its parent had more WAL: a receiver
/// stores that file before it has caught up, so that it is not a gap yet. (With the first segment
/// of the later timeline, it is: Planner::walk(). If this timeline was requested by its number, a
/// recovery to its end is meant: WAL is missing, also in the segment with the switchpoint.)
void Run::note_missing_end(wal::TimelineId timeline, Lsn end) {
  if (options_.to) return;
  const auto& size = cluster_.segment_size;
  std::optional<wal::TimelineHistory> later;
  for (const auto descendant : timelines_.descendants(timeline)) {
    const auto history = timelines_.history(descendant);
    if (!later || *history->end_of(timeline) > *later->end_of(timeline)) later = history;
  }
  if (options_.timeline && later && *later->end_of(timeline) > end) {
    const auto left = *later->end_of(timeline);
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.timeline = timeline;
    finding.file = wal::SegmentName(timeline, size.segno(end), size).to_string();
    finding.to_file =
        wal::SegmentName(timeline, size.segno(Lsn(left.byte() - 1)), size).to_string();
    finding.lsn = end;
    finding.loss = LostRange{timeline, end, left};
    finding.what = fmt::format(
        "the sound WAL of timeline {} ends at {}, before {}, where timeline "
        "{} begins",
        timeline, end, left, later->timeline());
    finding.hint =
        "Look for these names, also with .partial, in the pg_wal of the servers and in other "
        "archives (\"pgweir import\"). Without them, a recovery to the end of this timeline loses "
        "WAL.";
    report_.findings.push_back(std::move(finding));
    return;
  }
  // (The segment of the switchpoint may exist on the later timeline only.)
  if (!later || size.segno(*later->end_of(timeline)) <= size.segno(end)) return;
  report_.notes.push_back(fmt::format(
      "the sound WAL of timeline {} ends at {}, but according to {}, the timeline continued up to "
      "{}: no recovery can pass that end until the WAL after it is archived. A receiver that has "
      "not caught up receives it; otherwise, look for it in the pg_wal of the servers (\"pgweir "
      "import\")",
      timeline, end, wal::history_name(later->timeline()), *later->end_of(timeline)));
}

/// Segments after the end of a history that exist in a format that is not read: no recovery passes
/// that end. (One before it is found by the names: Planner::walk().)
void Run::find_unread_end() {
  const auto& size = cluster_.segment_size;
  const auto last_segno = scope().last_segno;
  for (const auto& path : plan_.paths) {
    if (path.steps.empty()) continue;
    const auto& last = path.steps.back();
    const bool is_partial = last.node && !plan_.nodes[*last.node].is_finished();
    const auto first = last.segno + (is_partial ? 0 : 1);
    auto behind = first;
    std::string name;
    const archive::OtherForm* form = nullptr;
    for (const auto& each : listing_.foreign) {
      const auto file = archive::parse_other_form(each);
      if (!file || !file->segment || !file->segment->fits(size)) continue;
      const auto segno = file->segment->segno(size);
      if (segno < behind || segno > last_segno.value_or(segno) ||
          archive::timeline_of_segment(path.history, segno, size) != file->timeline)
        continue;
      behind = segno + 1;
      name = each;
      form = file->form;
    }
    if (form == nullptr) continue;
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.timeline = archive::timeline_of_segment(path.history, first, size);
    finding.file = wal::SegmentName(finding.timeline, first, size).to_string();
    finding.to_file = wal::SegmentName(archive::timeline_of_segment(path.history, behind - 1, size),
                                       behind - 1, size)
                          .to_string();
    finding.lsn = size.start(first);
    finding.loss = LostRange{finding.timeline, size.start(first), size.start(behind)};
    finding.what = fmt::format(
        "WAL up to {} exists, in a format that is not supported ({}): no "
        "recovery passes the end of the WAL before it",
        name, form->name);
    finding.hint = fmt::format("Unpack each such file with \"{}\".", form->unpack);
    report_.findings.push_back(std::move(finding));
  }
}

/// Segments that were removed during the run: a prune removes the oldest; anything else is a gap.
/// Older segments that were read prove nothing, because they may be gone by now, too. The directory
/// is therefore listed once more, and again as long as a process is still removing files
/// (pg_archivecleanup removes them in no particular order).
void Run::judge_vanished() {
  std::vector<std::size_t> vanished;
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i)
    if (plan_.nodes[i].chosen && results_->outcome(i).state == State::vanished)
      vanished.push_back(i);
  if (vanished.empty()) return;

  std::map<wal::TimelineId, std::uint64_t> oldest;
  const auto look_for_oldest = [&] {
    std::map<wal::TimelineId, std::uint64_t> found;
    const auto listing = archive::list_archive_names(directory_);
    for (const auto& entry : listing.segments) {
      if (!entry.name.segment.fits(cluster_.segment_size)) continue;
      const auto segno = entry.name.segment.segno(cluster_.segment_size);
      const auto [at, added] = found.emplace(entry.name.segment.timeline(), segno);
      if (!added) at->second = std::min(at->second, segno);
    }
    const bool same = found == oldest;
    oldest = std::move(found);
    return same;
  };
  // The timelines before it count as well: a prune removes a segment number of all timelines.
  const auto still_older = [&](std::size_t i) {
    const auto& node = plan_.nodes[i];
    const auto history =
        timelines_.history(node.timeline).value_or(wal::TimelineHistory(node.timeline));
    return std::any_of(oldest.begin(), oldest.end(), [&](const auto& each) {
      const auto [timeline, segno] = each;
      return segno < node.segno &&
             (timeline == node.timeline ||
              archive::timeline_of_segment(history, segno, cluster_.segment_size) == timeline);
    });
  };
  look_for_oldest();
  constexpr int kQuiet = 5;  // number of checks without a change
  for (int quiet = 0, i = 0; quiet < kQuiet && i < archive::kMostListings &&
                             std::any_of(vanished.begin(), vanished.end(), still_older);
       ++i) {
    if (options_.stop && options_.stop()) break;
    std::this_thread::sleep_for(options_.look_again_after);
    quiet = look_for_oldest() ? quiet + 1 : 0;
  }

  for (const auto i : vanished) {
    const auto& node = plan_.nodes[i];
    if (!still_older(i)) {
      report_.notes.push_back(fmt::format(
          "{} was removed while verify was running, probably by pgweir prune", node.name));
      continue;
    }
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.timeline = node.timeline;
    finding.file = finding.to_file = node.name.to_string();
    finding.lsn = cluster_.segment_size.start(node.segno);
    finding.loss =
        LostRange{node.timeline, *finding.lsn, cluster_.segment_size.start(node.segno + 1)};
    finding.what = "the segment disappeared while verify was running, but older ones still exist";
    finding.hint = "Find out which program removes files from this archive, and run verify again.";
    report_.findings.push_back(std::move(finding));
  }
}

/// Recorded losses, and those that histories show. A hole is also found by the names, except for
/// the segment in which it starts, if that is present as a partial segment.
void Run::judge_losses() {
  const auto& size = cluster_.segment_size;
  auto losses = archive::read_losses(directory_, listing_);
  if (!listing_.segments.empty()) {
    auto found = archive::find_unrecorded_losses(directory_, listing_, timelines_, size, losses);
    for (auto& loss : found)
      if (loss.kind == archive::Loss::Kind::lost_branch) losses.push_back(std::move(loss));
  }
  for (const auto& unvouched : archive::read_unvouched(directory_, listing_))
    report_.notes.push_back(unvouched.text() + "; \"pgweir import\" checks it again");
  const auto scope = this->scope();
  std::erase_if(losses, [](const archive::Loss& loss) {
    return loss.kind == archive::Loss::Kind::minimal_wal && !loss.complaint;
  });
  losses.insert(losses.end(), minimal_wal_.begin(), minimal_wal_.end());
  for (const auto& loss : losses) {
    if (loss.complaint)
      report_.notes.push_back(
          fmt::format("the record of a loss, {}: {}", loss.id(), *loss.complaint));
    const auto in_scope = [&](Lsn begin, Lsn end) {
      return (!scope.timeline || *scope.timeline == loss.timeline ||
              *scope.timeline == loss.next_timeline) &&
             (!scope.first_segno || end > size.start(*scope.first_segno)) &&
             (!scope.last_segno || begin < size.start(*scope.last_segno + 1));
    };
    Finding finding;
    finding.timeline = loss.timeline;
    finding.file = loss.first_segment().to_string();
    finding.to_file = loss.last_segment().to_string();
    const auto known = loss.acknowledged
                           ? fmt::format("; acknowledged by {} at {}", loss.acknowledged->who,
                                         loss.acknowledged->time)
                           : std::string();
    if (loss.kind == archive::Loss::Kind::minimal_wal) {
      if (!in_scope(loss.begin, loss.end)) continue;
      finding.kind = FindingKind::minimal_wal;
      finding.lsn = loss.begin;
      finding.loss = LostRange{loss.timeline, loss.begin, loss.end};
      finding.what = fmt::format(
          "the server wrote the WAL from {} {} on timeline {} with wal_level=minimal: it is in the "
          "archive, but no recovery can pass it ({}{})",
          loss.begin, loss.goes_on ? "on" : fmt::format("to {}", loss.end), loss.timeline,
          loss.id(), known);
      finding.hint = fmt::format(
          "Take a base backup now: an earlier one can be recovered up to {} only.{}", loss.begin,
          loss.recorded ? ""
                        : " No receiver has recorded it, so \"pgweir status\" does not report it.");
      report_.findings.push_back(std::move(finding));
      continue;
    }
    if (loss.kind == archive::Loss::Kind::lost_branch) {
      if (!in_scope(loss.begin, loss.end)) continue;
      finding.kind = FindingKind::lost_branch;
      finding.lsn = loss.begin;
      finding.loss = LostRange{loss.timeline, loss.begin, loss.end};
      finding.what = fmt::format(
          "{} from {} to {} on timeline {} are in the archive, but not part of timeline {}: a "
          "failover lost them ({}{})",
          format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline,
          loss.next_timeline, loss.id(), known);
      finding.hint = fmt::format(
          "To read what was lost, recover a copy to timeline {} (recovery_target_timeline = '{}', "
          "with \"pgweir restore --partial\").",
          loss.timeline, loss.timeline);
      report_.findings.push_back(std::move(finding));
      continue;
    }
    for (const auto& range : loss.missing) {
      if (!in_scope(range.begin, range.end)) continue;
      // True if the finding is about segments that this hole, too, lacks in [from, to).
      const auto same_segments = [&](const Finding& other, Lsn from, Lsn to) {
        const auto last =
            archive::SegmentFileName::parse(other.to_file.empty() ? other.file : other.to_file);
        if (!last) return false;
        const auto timeline = last->segment.timeline();
        const auto history = timelines_.history(timeline).value_or(wal::TimelineHistory(timeline));
        const auto needed = archive::needed_along(loss, history, timelines_, size);
        return std::any_of(needed.begin(), needed.end(),
                           [&](const auto& part) { return part.begin <= from && to <= part.end; });
      };
      // A timeline of the hole. Without a history that shows it, each in its range may be one.
      const auto is_in_hole = [&](wal::TimelineId timeline) {
        if (timeline < loss.timeline || loss.next_timeline < timeline) return false;
        const auto history = timelines_.history(loss.next_timeline);
        return !history || !history->contains(loss.timeline) || history->contains(timeline);
      };
      // A partial segment in the hole ends anywhere, which may look like damage. The one in which
      // the hole starts has valid WAL up to the recorded position.
      const auto is_end_of_partial = [&](const Finding& other) {
        const auto file = archive::SegmentFileName::parse(other.file);
        return file && file->partial && is_in_hole(file->segment.timeline()) &&
               other.loss->from >= loss.sound_end;
      };
      // One finding for each piece, the recorded one: it contains nothing but the segment in which
      // it starts.
      const auto within = [&](const Finding& other) {
        if (!other.loss || other.loss->from < range.begin || other.loss->to > range.end)
          return false;
        // (A complete file there has the wrong size: otherwise its WAL would not be missing.)
        return other.kind == FindingKind::gap || other.kind == FindingKind::broken_file
                   ? same_segments(other, other.loss->from, other.loss->to)
                   : is_end_of_partial(other);
      };
      const auto contained = [&](const Finding& other) {
        return other.kind == FindingKind::gap && other.loss && other.loss->from <= range.begin &&
               other.loss->to >= range.end && same_segments(other, range.begin, range.end) &&
               !within(other);
      };
      if (std::any_of(report_.findings.begin(), report_.findings.end(), contained)) continue;
      std::erase_if(report_.findings, within);
      auto one = finding;
      one.kind = FindingKind::gap;
      one.timeline = loss.timeline;
      one.file = wal::SegmentName(loss.timeline, size.segno(range.begin), size).to_string();
      one.to_file =
          wal::SegmentName(loss.next_timeline, size.segno(Lsn(range.end.byte() - 1)), size)
              .to_string();
      one.lsn = range.begin;
      one.loss = LostRange{loss.timeline, range.begin, range.end};
      one.what = fmt::format("a recorded hole ({}{}): {}", loss.id(), known, loss.cause);
      one.hint =
          "Look for these names in the pg_wal of the servers and in other archives: \"pgweir "
          "import\" checks and imports them. Without them, no recovery can pass this position: "
          "take a new base backup.";
      report_.findings.push_back(std::move(one));
    }
  }
}

/// The backup's end by its record in the WAL, if that is within the history's WAL up to `limit`:
/// the record may be of a branch that the history does not follow.
std::optional<Lsn> Run::end_of_backup(wal::TimelineId timeline, Lsn limit) const {
  const auto history = timelines_.history(timeline).value_or(wal::TimelineHistory(timeline));
  for (const auto& [read_on, end] : results_->backup_ends()) {
    // (A new timeline's first segment starts with records of the timeline before.)
    const auto written = timelines_.history(read_on).value_or(wal::TimelineHistory(read_on));
    const Lsn last(end.byte() - 1);
    if (end <= limit && history.timeline_of(last) == written.timeline_of(last)) return end;
  }
  return std::nullopt;
}

void Run::judge_backup() {
  if (!options_.backup) return;
  const auto& point = *options_.backup;
  BackupReport backup;
  backup.point = point;
  backup.consistent_at = point.end;
  for (const auto& history : report_.histories) {
    const auto covering = std::find_if(
        history.sound.begin(), history.sound.end(),
        [&](const auto& range) { return range.begin <= point.start && point.start < range.end; });
    if (covering == history.sound.end()) continue;
    backup.reaches.push_back({history.timeline, covering->end});
    const auto consistent_at =
        point.end ? point.end : end_of_backup(history.timeline, covering->end);
    if (!consistent_at || *consistent_at > covering->end) continue;
    backup.consistent_at = consistent_at;
    backup.reaches_consistency = true;
  }
  std::string reach;
  for (const auto& [timeline, end] : backup.reaches)
    reach += fmt::format("{}{} on timeline {}", reach.empty() ? "" : ", ", end, timeline);
  Finding finding;
  finding.kind = FindingKind::backup;
  finding.timeline = point.timeline;
  finding.lsn = point.start;
  finding.file = point.file;
  if (point.missing) {
    backup.reaches_consistency = false;
    backup.verdict = "the backup cannot be recovered: " + *point.missing;
    finding.hint = point.parent
                       ? "Move all backups that it builds upon to one directory with it, or "
                         "use another one."
                       : "Copy the backup again, or use another one.";
  } else if (backup.reaches_consistency) {
    backup.verdict =
        fmt::format("the backup can be brought to consistency (at {}) and recovered up to {}",
                    *backup.consistent_at, reach);
    if (point.parent)
      backup.verdict += fmt::format(", with the backup that started at {} on timeline {}",
                                    point.parent->start, point.parent->timeline);
  } else if (backup.reaches.empty()) {
    backup.verdict = fmt::format(
        "the backup cannot be recovered: the archive has no sound WAL at its start, {} on timeline "
        "{} (segment {})",
        point.start, point.timeline,
        wal::SegmentName(point.timeline, cluster_.segment_size.segno(point.start),
                         cluster_.segment_size));
    finding.hint = "Look for the segment in other archives; otherwise this backup is lost.";
  } else if (backup.consistent_at) {
    backup.verdict = fmt::format(
        "the backup cannot be brought to consistency: that needs WAL up to {}, and sound WAL "
        "reaches only {}",
        *backup.consistent_at, reach);
    finding.hint = "The findings show the missing or damaged segments.";
  } else if (point.from_standby) {
    backup.verdict = fmt::format(
        "the WAL is sound from the backup's start up to {}, but the end of the backup is unknown: "
        "for a backup of a standby, it is only in the manifest, which was not specified",
        reach);
    finding.hint = "Specify the backup_manifest or the backup's directory.";
  } else {
    backup.verdict = fmt::format(
        "the backup cannot be brought to consistency: its end is not in the sound WAL, which "
        "reaches {}",
        reach);
    finding.hint =
        "The backup may still be running, or the archive does not have the WAL of its end yet.";
  }
  if (!backup.reaches_consistency) {
    finding.what = backup.verdict;
    report_.findings.push_back(std::move(finding));
  }
  report_.backup = std::move(backup);
}

void Run::judge_end() {
  constexpr std::size_t kName = 24;  // of a segment
  judge_target();
  // A partial segment without content is not the end of the history.
  for (auto& history : report_.histories) {
    const auto name = wal::SegmentName::parse(history.partial.substr(0, kName));
    if (name && !history.sound.empty() &&
        history.sound.back().end <= name->start(cluster_.segment_size))
      history.partial.clear();
  }
}

/// --to names a position that must be reached; file names do not show whether an unfinished segment
/// reaches it.
void Run::judge_target() {
  if (!options_.to) return;
  const auto* const lsn = std::get_if<Lsn>(&*options_.to);
  const auto wanted =
      lsn != nullptr ? *lsn : cluster_.segment_size.start(segno_of(*options_.to, true) + 1);
  for (std::size_t i = 0; i < report_.histories.size(); ++i) {
    const auto& history = report_.histories[i];
    const auto& unfinished = unfinished_[i];
    if (unfinished.file.empty()) continue;
    const auto end =
        std::max(history.sound.empty() ? Lsn() : history.sound.back().end, unfinished.least);
    if (end >= wanted) continue;
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.timeline = history.timeline;
    finding.file = finding.to_file = unfinished.file;
    finding.lsn = end;
    finding.what = fmt::format("the WAL ends at {}, before {}", end, wanted);
    finding.hint = unfinished.file.ends_with(".partial")
                       ? "The receiver has not reached that position yet: see \"pgweir status\"."
                       : "This segment has no WAL of its timeline after that position: specify an "
                         "earlier one, or another timeline.";
    finding.loss = LostRange{history.timeline, end, wanted};
    report_.findings.push_back(std::move(finding));
  }
}

void Run::accept() {
  auto& findings = report_.findings;
  for (const auto& accepted : options_.accepted) {
    bool used = false;
    for (auto& finding : findings) {
      if (finding.loss != accepted.loss) continue;
      finding.accepted = accepted.reason;
      used = true;
    }
    if (!used)
      report_.notes.push_back(
          fmt::format("the accepted loss in line {} (timeline {}, {} to {}) was not found: if it "
                      "has been repaired, remove the line",
                      accepted.line, accepted.loss.timeline, accepted.loss.from, accepted.loss.to));
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return std::tuple(a.accepted.has_value(), a.timeline, a.lsn.value_or(Lsn()), a.file) <
           std::tuple(b.accepted.has_value(), b.timeline, b.lsn.value_or(Lsn()), b.file);
  });
}

}  // namespace weir::verify
