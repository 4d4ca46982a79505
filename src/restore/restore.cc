#include "restore/restore.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "archive/forms.h"
#include "archive/segment_bytes.h"
#include "archive/segment_reader.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "restore/absence.h"
#include "restore/agreement.h"
#include "restore/answer.h"
#include "restore/archives.h"
#include "restore/content_source.h"
#include "restore/history.h"
#include "restore/history_request.h"
#include "restore/left.h"
#include "restore/partial.h"
#include "restore/published.h"
#include "restore/segment_check.h"
#include "restore/target.h"
#include "store/shelf/near_shelf.h"
#include "wal/record_verifier.h"

namespace weir::restore {

namespace {

using codec::Method;

/// Maximum number of attempts while the archive changes concurrently.
constexpr int kLooks = 20;
/// The same while waiting for a partial segment with WAL after it to be completed.
constexpr int kLooksAtRest = 4;

std::string follows(wal::SegmentName segment, const Left& left);

/// Handles one request.
class Restorer {
 public:
  Restorer(Shelves archives, io::Directory& target_directory, const std::string& target_name,
           const Options& options, Log& log)
      : target_directory_(target_directory),
        target_name_(target_name),
        options_(options),
        log_(log),
        archives_(archives, options, log),
        answer_(archives_, target_directory, target_name, options, log),
        check_(archives_, target_directory, target_name, options, log) {}

  Result restore(const wal::SegmentName& segment);
  Result restore(const HistoryRequest& request) {
    return restore_history(archives_, answer_, request.timeline);
  }
  Result restore(const BackupHistoryRequest& request) {
    return restore_backup_history(archives_, answer_, request.name);
  }
  [[nodiscard]] std::uint64_t silent() const { return archives_.all_silent(); }

 private:
  std::optional<wal::SegmentSize> restore_finished(wal::SegmentName segment);
  archive::RecentChange find_recent_change(wal::SegmentName segment, const Error& error);
  std::optional<Result> end_before_wrong_size(wal::SegmentName segment, const Error& error);
  std::optional<Result> restore_published(wal::SegmentName segment, const Error& error);
  std::optional<Result> restore_up_to_damage(wal::SegmentName segment, const Error& error);
  wal::SegmentSize deliver(const Copy& copy, std::span<const Copy> told);

  /// The result of one listing for a missing segment.
  struct Finding {
    Absence absence;
    bool settled = false;  ///< no other listing can change the result
    std::optional<wal::SegmentSize> size = std::nullopt;  ///< unset: there is no WAL at all
    archive::Timelines timelines{};
    std::vector<KnownHole> holes{};
  };
  /// `published`: it exists, but is incomplete: that it was stored proves nothing then.
  Finding look_for_absent(wal::SegmentName segment, bool published = false);
  Absence judge_absent(wal::SegmentName segment, const Finding& finding, wal::SegmentSize size);
  std::optional<Gap> copied_in_part(wal::SegmentName segment);
  std::optional<Gap> missing_before_switchpoint(wal::SegmentName segment,
                                                const archive::Timelines& timelines,
                                                wal::SegmentSize size);
  std::optional<wal::SegmentSize> size_of_a_raw_partial();
  Result act_on_absence(wal::SegmentName segment, const Finding& finding);
  Result restore_up_to_hole(wal::SegmentName segment, const Finding& finding, const Gap& gap);
  void require_no_older_branch(wal::SegmentName segment, const Finding& finding, const Gap& gap);
  Result restore_partial(wal::SegmentName segment, const Finding& finding, std::string why);
  std::optional<Result> restore_of_ancestors(wal::SegmentName segment, const Finding& finding);
  enum class Ancestors { finished, all };
  std::optional<Partial> of_ancestors(wal::SegmentName segment, const Finding& finding,
                                      wal::Lsn reached, Ancestors which = Ancestors::all);
  [[nodiscard]] Error damage_of(const Partial& partial) const;
  std::optional<Left> left_in(wal::SegmentName segment, const Finding& finding);
  std::optional<Left> left_by_server(wal::SegmentName segment);
  std::optional<Result> restore_up_to(const Left& left, wal::SegmentName segment);
  std::string not_restored(wal::SegmentName segment, const Left& left);
  /// What the server that recovers has of a segment in its own pg_wal.
  struct OwnWal {
    wal::Lsn end;           ///< of the last record; 0/0: there is none
    bool is_whole = false;  ///< valid to the segment's end
  };
  OwnWal own_wal_of(wal::SegmentName segment, wal::SegmentSize size);
  std::optional<Result> leave_to_server(wal::SegmentName segment, const Partial& found,
                                        wal::Lsn end, const std::optional<Left>& left,
                                        wal::SegmentSize size);
  wal::Lsn left_at(wal::SegmentName segment, wal::Lsn cut, const Finding& finding,
                   const std::string& name);
  std::string unfinished_with_wal_behind(wal::SegmentName segment, const Finding& finding);
  void deliver(const Partial& partial, std::uint64_t keep, wal::SegmentSize size);

  io::Directory& target_directory_;
  const std::string& target_name_;
  const Options& options_;
  Log& log_;
  Archives archives_;
  Answer answer_;
  SegmentCheck check_;
  int unsettled_looks_ = 0;
  bool read_again_ = false;             ///< what was damaged and had just been changed
  std::optional<Partial> published_{};  ///< what is damaged is that
};

}  // namespace

Result restore_file(Shelves archives, const Request& request, io::Directory& target_directory,
                    const std::string& target_name, const Options& options, Log& log) {
  Restorer restorer(archives, target_directory, target_name, options, log);
  auto result = std::visit([&](const auto& asked) { return restorer.restore(asked); }, request);
  result.silent = restorer.silent();
  return result;
}

namespace {

// ---- segments

Result Restorer::restore(const wal::SegmentName& segment) {
  // A listing is not atomic: a file that is renamed while it is read may be in it under both names
  // or under none. So its result for this segment and the following ones counts when two listings
  // agree.
  std::optional<std::size_t> said;
  std::optional<Error> gone;
  for (int look = 0; look < kLooks; ++look) {
    try {
      const auto left = left_by_server(segment);
      // A segment that is completed after this is found by the next look.
      const bool finished = !left || archives_.finished_form_exists(segment);
      if (left && finished)
        if (auto end = restore_up_to(*left, segment)) return std::move(*end);
      if (const auto size = finished ? restore_finished(segment) : std::nullopt) {
        answer_.tell_silence(segment.to_string());
        return {true, {}, size};
      }
    } catch (const TargetError&) {
      throw;
    } catch (const Contradiction&) {
      throw;
    } catch (const Error& error) {
      const auto change = find_recent_change(segment, error);
      if (change.ends_early) throw BeingWritten(error);
      // It may have been completed since it was read.
      if (change.changed && !std::exchange(read_again_, true)) continue;
      if (auto published = restore_published(segment, error)) return std::move(*published);
      if (auto end = end_before_wrong_size(segment, error)) return std::move(*end);
      if (auto front = restore_up_to_damage(segment, error)) return std::move(*front);
      throw;
    }
    archives_.forget();
    try {
      const auto finding = look_for_absent(segment);
      const bool settled = finding.settled || said == finding.absence.index();
      said = finding.absence.index();
      if (!settled) continue;
      auto result = act_on_absence(segment, finding);
      // A receiver may have completed it meanwhile.
      if (result.restored) answer_.tell_silence(segment.to_string());
      if (result.restored || !archives_.finished_form_exists(segment)) return result;
    } catch (const TargetError&) {
      throw;
    } catch (const Contradiction&) {
      throw;
    } catch (const Error& error) {
      // Finished, compressed or removed by another process while it was read.
      if (!archive::is_gone(error) && !archives_.finished_form_exists(segment)) throw;
      gone = error;
    }
  }
  Error error(ErrorKind::retry, "the archive keeps changing while the segment is searched for");
  error.with("segment", segment).with("directory", archives_.paths());
  if (gone) error.with("last", gone->what());
  throw error;
}

archive::RecentChange Restorer::find_recent_change(wal::SegmentName segment, const Error& error) {
  if (error.kind() != ErrorKind::damage) return {};
  try {
    return archives_.find_recent_change(segment);
  } catch (const Error&) {
    return {};  // the first error is reported
  }
}

/// A file of the wrong size is a hole, as receivers record it. (Other damage is not: more of the
/// file may be needed.)
std::optional<Result> Restorer::end_before_wrong_size(wal::SegmentName segment,
                                                      const Error& error) {
  if (!options_.up_to_hole || error.kind() != ErrorKind::damage) return std::nullopt;
  const auto identity = archives_.identity();
  if (!identity || !segment.fits(identity->segment_size)) return std::nullopt;
  std::optional<archive::WrongSize> wrong;
  bool all_wrong = true;
  archives_.ask_each([&](std::size_t i) {
    if (!archives_.at(i).finished_form_exists(segment)) return;
    const auto look = archive::check_size(archives_.shelf(i), {segment, Method::none, false},
                                          identity->segment_size, std::chrono::system_clock::now());
    all_wrong = all_wrong && look.wrong && !look.being_written;
    if (!wrong) wrong = look.wrong;
  });
  if (!wrong || !all_wrong) return std::nullopt;
  log_.error(error);
  return restore_up_to_hole(segment, look_for_absent(segment),
                            Gap{archive::text_of(std::span(&*wrong, 1), identity->segment_size)});
}

/// From the copy that is valid the furthest. If it is valid to its end, the damage is in a record
/// over one of its boundaries. nullopt if not requested.
std::optional<Result> Restorer::restore_up_to_damage(wal::SegmentName segment, const Error& error) {
  if (!options_.up_to_damage || error.kind() != ErrorKind::damage) return std::nullopt;
  const auto identity = archives_.identity();
  if (!identity || !segment.fits(identity->segment_size)) return std::nullopt;
  const auto& size = identity->segment_size;
  const auto best = find_front(archives_, segment, size);
  archives_.require_answers(segment.to_string() + ", sound");
  if (!best || !best->checked) return std::nullopt;
  log_.error(error);
  if (own_wal_of(segment, size).is_whole) {
    auto why =
        fmt::format("{} is not restored: the server has a valid copy in its pg_wal", segment);
    log_.warning("{}", why);
    return Result{false, std::move(why)};
  }
  const auto ends_before = [&] {
    log_.warning(
        "{} is damaged, and no record before the damage is complete: the recovery ends before this "
        "segment (--up-to-damage)",
        segment);
    return Result{false, error.what()};
  };
  if (best->cut <= segment.start(size)) return ends_before();
  try {
    deliver(*best, best->cut - segment.start(size), size);
  } catch (const TargetError&) {
    throw;
  } catch (const Error& border) {
    if (border.kind() != ErrorKind::damage) throw;
    return ends_before();
  }
  log_.warning("{} is damaged: WAL up to {} was restored, followed by zeros (--up-to-damage)",
               segment, best->cut);
  return Result{true, {}, size};
}

/// nullopt if there is no complete copy. Throws the first one's error if none is valid.
std::optional<wal::SegmentSize> Restorer::restore_finished(wal::SegmentName segment) {
  std::optional<Error> first_error;
  std::vector<Copy> unsound;
  std::optional<wal::SegmentSize> restored;
  archives_.ask_each([&](std::size_t i) {
    for (const auto& name : archive::finished_names(segment)) {
      if (restored || !archives_.shelf(i).find(name.to_string())) continue;
      const Copy copy{i, name};
      try {
        restored = deliver(copy, unsound);
        if (!first_error) continue;
        log_.error(*first_error);
        log_.warning("{} was restored from its other, valid file {}", segment,
                     archives_.several() ? archives_.path_of(copy) : name.to_string());
      } catch (const TargetError&) {
        throw;
      } catch (const Contradiction&) {
        throw;
      } catch (const Error& error) {
        // Compressed or removed by another process while it was being read: it has another format
        // now.
        if (!archives_.shelf(i).find(name.to_string())) continue;
        if (archives_.nobody_tells_the_cluster(error)) throw;
        if (!first_error) first_error = error;
        unsound.push_back(copy);
      }
    }
  });
  if (restored || !first_error) return restored;
  if (first_error->kind() == ErrorKind::damage) published_ = find_published(archives_, segment);
  if (archives_.several() && !published_) {
    // An unresponsive archive's content has precedence: it may respond to a retry.
    log_.error(*first_error);
    archives_.require_answers(segment.to_string() + ", sound");
  }
  throw *first_error;
}

/// A server that follows a descendant requests this segment if the archive did not have the
/// descendant's. It may have been completed since then, with WAL after the switchpoint, which is
/// not part of that server's history: see restore_of_ancestors(). nullopt if there is no complete
/// segment, or if it is not valid up to the switchpoint.
std::optional<Result> Restorer::restore_up_to(const Left& left, wal::SegmentName segment) {
  const auto size = archives_.identity()->segment_size;
  const auto start = segment.start(size);
  // Regardless of its content: no record need be complete in it, and it may be damaged.
  if (left.at == start) return Result{false, not_restored(segment, left)};
  std::optional<Partial> found;
  archives_.ask_each([&](std::size_t i) {
    for (const auto& form : archive::finished_names(segment)) {
      if ((found && found->cut >= left.at) || !archives_.shelf(i).find(form.to_string())) continue;
      try {
        found = look_into(archives_, {i, form}, size);
      } catch (const Error& unusable) {
        if (unusable.kind() != ErrorKind::damage) throw;
      }
    }
  });
  if (!found || found->cut < left.at) return std::nullopt;
  deliver(*found, left.at - start, size);
  log_.warning("{} was restored up to {} only: {}", segment, left.at, follows(segment, left));
  return Result{true, {}};
}

std::string follows(wal::SegmentName segment, const Left& left) {
  return fmt::format(
      "the server follows timeline {1}, which begins at {2} ({3} is in its pg_wal). If it is to "
      "stay on timeline {0}, set recovery_target_timeline = '{0}' and remove that file",
      segment.timeline(), left.by, left.at, wal::history_name(left.by));
}

/// The server's timeline begins at the segment's first byte. Returns why, after a warning.
std::string Restorer::not_restored(wal::SegmentName segment, const Left& left) {
  auto why = fmt::format("{} is not restored: {}", segment, follows(segment, left));
  log_.warning("{}", why);
  return why;
}

/// Where the server's history leaves the segment's timeline, if that is in this segment (its first
/// byte included). The server has the history of its timeline in its pg_wal, and perhaps others:
/// those with lower numbers, which it copied, and do not count, and of a standby each one that it
/// found and rejected, so that any of the rest counts (Left::is_copy). Not if it has WAL of the
/// segment after that position, since it is on this timeline then. And not for pg_rewind, which
/// needs the lost branch of the server that it rewinds, and requests it under the segment's own
/// name (fe_utils/archive.c).
std::optional<Left> Restorer::left_by_server(wal::SegmentName segment) {
  if (!options_.system_identifier || target_name_ == segment.to_string()) return std::nullopt;
  auto lefts = lefts_of(target_directory_, segment.timeline());
  if (options_.target_is_chosen && !lefts.empty())
    lefts = {*std::max_element(lefts.begin(), lefts.end(),
                               [](const Left& a, const Left& b) { return a.by < b.by; })};
  std::erase_if(lefts, [](const Left& left) { return left.is_copy; });
  // Before the archive is listed: most segments are far from any switchpoint.
  std::erase_if(lefts, [&](const Left& left) { return !may_be_in(left.at, segment); });
  if (lefts.empty()) return std::nullopt;
  const auto identity = archives_.identity();
  if (!identity || !segment.fits(identity->segment_size)) return std::nullopt;
  const auto& size = identity->segment_size;
  std::erase_if(lefts,
                [&](const Left& left) { return size.segno(left.at) != segment.segno(size); });
  if (lefts.empty()) return std::nullopt;
  const auto first = *std::min_element(lefts.begin(), lefts.end(),
                                       [](const Left& a, const Left& b) { return a.at < b.at; });
  if (own_wal_of(segment, size).end > first.at) return std::nullopt;
  return first;
}

wal::SegmentSize Restorer::deliver(const Copy& copy, std::span<const Copy> told) {
  Target target(target_directory_, target_name_);
  answer_.require_outside(target, copy.archive);
  using Haste = SegmentCheck::Haste;
  const auto checked =
      check_.read(copy, target, options_.system_identifier ? Haste::all : Haste::also_before)
          .value();  // a target accepts everything
  ContentSource content(copy.name.segment.start(checked.size), target);
  check_.check_seam_of(checked, content);
  check_.check_long_record_of(checked, content);
  require_agreement(archives_, check_, checked, target, options_, log_, told);
  target.publish();
  return checked.size;
}

// ---- absent files

Restorer::Finding Restorer::look_for_absent(wal::SegmentName segment, bool published) {
  archives_.require_wal();
  const auto identity = archives_.identity();
  const auto size = identity ? std::optional(identity->segment_size) : size_of_a_raw_partial();
  archives_.require_answers(segment.to_string());
  // Only .partial files without content yet, so the segment size is unknown.
  if (!size) return {.absence = judge_absent_segment(segment, archives_.listing())};
  if (!segment.fits(*size))
    throw Error(ErrorKind::conflict, "no segment has this name with the archive's segment size")
        .with("segment", segment)
        .with("segment size", size->bytes())
        .with("read from", identity ? identity->file : "the size of unfinished files");
  Finding finding;
  finding.size = identity ? size : std::nullopt;
  finding.timelines = archives_.timelines();
  finding.holes = archives_.known_holes(*size);
  finding.absence = judge_absent(segment, finding, *size);
  archives_.require_answers(segment.to_string());
  const auto* const absent = std::get_if<Absent>(&finding.absence);
  if (absent != nullptr && absent->reason == Absent::Reason::end && options_.stored != nullptr) {
    auto told = options_.stored->told();
    if (published)
      std::erase_if(told.segments,
                    [&](const auto& entry) { return entry.name.segment == segment; });
    if (auto gap = told_of(segment, told, finding.timelines, *size, finding.holes)) {
      options_.stored->look_again();  // it may have been stored since the last look-up
      finding.absence = std::move(*gap);
      return finding;
    }
  }
  finding.settled = absent != nullptr && absent->reason == Absent::Reason::elsewhere;
  // (A standby requests it again, perhaps from a copy of the archive that is still being updated.)
  if (absent != nullptr && !finding.settled && !options_.standby) {
    auto gap = archives_.recorded(segment);
    if (!gap) gap = copied_in_part(segment);
    if (!gap && options_.target_is_chosen)
      gap = missing_before_switchpoint(segment, finding.timelines, *size);
    if (gap) finding.absence = std::move(*gap);
  }
  return finding;
}

/// This segment exists where the archive was copied from, or a later complete one.
std::optional<Gap> Restorer::copied_in_part(wal::SegmentName segment) {
  const auto all = archives_.listing();
  std::optional<Gap> gap;
  archives_.ask_each([&](std::size_t i) {
    for (const auto& name : archives_.at(i).listing().hidden)
      if (const auto copied = copied_segment(name, all);
          copied && copied->segment.timeline() == segment.timeline() &&
          (copied->partial ? segment == copied->segment : segment <= copied->segment))
        gap = Gap{copied->what};
  });
  return gap;
}

/// By the history of a descendant, this timeline has WAL in the segment, and no archive has a file
/// of it. A server that follows this timeline would end its recovery before that WAL. A server that
/// follows a descendant, whose history it has then, requests this segment only if it did not get
/// the descendant's, of which no later WAL is here: the recovery ends before it, as at any
/// unfinished segment. So it does if the archive has nothing of the descendant but its history,
/// since a receiver stores that first. (Only for a server that has chosen its target: a standby
/// finds the descendant only after this segment was reported as absent.)
std::optional<Gap> Restorer::missing_before_switchpoint(wal::SegmentName segment,
                                                        const archive::Timelines& timelines,
                                                        wal::SegmentSize size) {
  const auto& segments = archives_.listing().segments;
  const auto exists = [&](auto is_meant) {
    return std::any_of(segments.begin(), segments.end(), [&](const auto& entry) {
      return is_meant(entry.name.segment) && (!entry.name.partial || entry.bytes.value() > 0);
    });
  };
  if (exists([&](const auto& name) { return name == segment; })) return std::nullopt;
  std::optional<Left> last;
  for (const auto descendant : timelines.descendants(segment.timeline())) {
    const auto end = *timelines.history(descendant)->end_of(segment.timeline());
    if (end <= segment.start(size) || size.segno(end) != segment.segno(size)) continue;
    if (target_directory_.find(wal::history_name(descendant))) return std::nullopt;
    if (!exists([&](const auto& name) { return name.timeline() == descendant; })) continue;
    if (!last || last->at < end) last = Left{end, descendant};
  }
  if (!last || own_wal_of(segment, size).end >= last->at) return std::nullopt;
  return Gap{fmt::format("according to {}, timeline {} ends only at {}, which is in it",
                         wal::history_name(last->by), segment.timeline(), last->at)};
}

/// Proof in one archive holds for all of them. (Consecutive partial segments prove nothing only if
/// they are from one receiver: the combined names are therefore not used.)
Absence Restorer::judge_absent(wal::SegmentName segment, const Finding& finding,
                               wal::SegmentSize size) {
  std::optional<Absence> judged;
  archives_.ask_each([&](std::size_t i) {
    if (judged && std::holds_alternative<Gap>(*judged)) return;
    auto absence = judge_absent_segment(segment, archives_.at(i).listing(), finding.timelines, size,
                                        finding.holes);
    if (!judged || std::holds_alternative<Gap>(absence)) judged = std::move(absence);
  });
  archives_.require_answers(segment.to_string());
  return std::move(*judged);
}

/// Files of segments being written have the size of a segment from the beginning.
std::optional<wal::SegmentSize> Restorer::size_of_a_raw_partial() {
  for (const auto& entry : archives_.listing().segments)
    if (entry.name.partial && entry.name.method == Method::none && entry.bytes.value() > 0)
      if (const auto size = wal::SegmentSize::of(*entry.bytes);
          size && entry.name.segment.fits(*size))
        return size;
  return std::nullopt;
}

Result Restorer::act_on_absence(wal::SegmentName segment, const Finding& finding) {
  if (const auto* absent = std::get_if<Absent>(&finding.absence)) {
    if (finding.size && absent->reason == Absent::Reason::end)
      if (auto restored = restore_of_ancestors(segment, finding)) return std::move(*restored);
    if (finding.size && (options_.partial || options_.up_to_hole) &&
        absent->reason == Absent::Reason::end)
      return restore_partial(segment, finding, absent->why);
    Result result{false, absent->why};
    for (const auto& entry : archives_.listing().segments)
      if (entry.name.partial && entry.name.segment == segment)
        result.unfinished = entry.name.to_string();
    return result;
  }
  const auto& gap = std::get<Gap>(finding.absence);
  // Recovery uses its own if the archive has none: a standby that was created with its first
  // segments, or that restarts after the archive was pruned.
  if (finding.size && own_wal_of(segment, *finding.size).is_whole)
    return {false, gap.what + "; but the server has a valid copy in its pg_wal"};
  if (options_.up_to_hole) return restore_up_to_hole(segment, finding, gap);
  return answer_.absent(gap, segment.to_string());
}

/// The last bytes before a hole, and then the end.
Result Restorer::restore_up_to_hole(wal::SegmentName segment, const Finding& finding,
                                    const Gap& gap) {
  if (finding.size) {
    require_no_older_branch(segment, finding, gap);
    auto result = restore_partial(segment, finding, gap.what);
    if (result.restored) return result;
  }
  log_.warning("{} is missing in the archive: {}; the recovery ends before this hole (--until-gap)",
               segment, gap.what);
  return {false, gap.what};
}

/// For the segment in which a timeline starts, recovery uses the parent timeline's segment if it
/// gets none, and does not check the switchpoint: it would recover another branch.
void Restorer::require_no_older_branch(wal::SegmentName segment, const Finding& finding,
                                       const Gap& gap) {
  const auto& size = *finding.size;
  const auto history = finding.timelines.history(segment.timeline());
  if (!history || history->ancestors().empty()) return;
  const auto& parent = history->ancestors().back();
  if (size.segno(parent.switchpoint) != segment.segno(size)) return;
  const bool parent_has_it = std::any_of(
      archives_.listing().segments.begin(), archives_.listing().segments.end(),
      [&](const auto& entry) {
        return entry.name.segment == wal::SegmentName(parent.timeline, segment.segno(size), size) &&
               (!entry.name.partial || entry.bytes.value() > 0);
      });
  if (!parent_has_it) return;
  throw Error(ErrorKind::gap,
              fmt::format("{} is missing in the archive, and timeline {} begins in it: {}", segment,
                          segment.timeline(), gap.what))
      .with("directory", archives_.paths())
      .hint(fmt::format("The hole starts where timeline {0} does. To recover everything before it, "
                        "follow timeline {1}: recovery_target_timeline = '{1}', "
                        "recovery_target_lsn = '{2}', recovery_target_inclusive = off.",
                        segment.timeline(), parent.timeline, parent.switchpoint));
}

Result Restorer::restore_partial(wal::SegmentName segment, const Finding& finding,
                                 std::string why) {
  const auto& size = *finding.size;
  if (const auto by = left_by_server(segment); by && by->at == segment.start(size))
    return {false, not_restored(segment, *by)};
  const bool before_hole = std::holds_alternative<Gap>(finding.absence);
  std::vector<Partial> others;
  auto best = find_partial(archives_, segment, size, options_.durable_end, &others);
  // An archive that could not be read may have a file that the others lack.
  archives_.require_answers(segment.to_string() + ".partial");
  if (!best) return {false, std::move(why)};
  const auto name =
      archives_.several() ? archives_.path_of(best->copy) : best->copy.name.to_string();
  // WAL torn by a crash after the switchpoint does not matter: the history that continues there is
  // on another timeline.
  const auto left = left_in(segment, finding);
  const bool reaches_it = left && best->cut >= left->at;
  if (best->damage && !options_.partial_damaged && !reaches_it) throw damage_of(*best);
  if (best->damage) log_.error(*best->damage);
  require_longest(archives_, check_, *best, others, size, options_,
                  left ? std::optional(left->at) : std::nullopt, log_);

  std::uint64_t keep = 0;
  std::string later;  ///< a later partial segment that has WAL
  if (!before_hole && !best->complete && !best->being_written)
    later = unfinished_with_wal_behind(segment, finding);
  if (!best->damage && (later.empty() || options_.up_to_hole))
    if (const auto more = of_ancestors(segment, finding, best->cut)) {
      if (auto own = leave_to_server(segment, *more, more->cut, left, size)) return std::move(*own);
      deliver(*more, more->cut - segment.start(size), size);
      log_.warning(
          "{} was restored from {}, since {} has not reached the switchpoint: WAL up to {}",
          segment,
          archives_.several() ? archives_.path_of(more->copy) : more->copy.name.to_string(), name,
          more->cut);
      return {true, {}};
    }
  if (best->complete && !best->damage && !reaches_it) {
    keep = size.bytes();
  } else {
    // The next one may exist before this one was renamed into place: then it must be complete.
    if (!later.empty() && !options_.up_to_hole) {
      // If no receiver can be queried: it may be about to write the rest.
      if (unsettled_looks_ < kLooksAtRest) {
        ++unsettled_looks_;
        wait_for_writer(archives_.shelf(best->copy.archive), best->copy.name.to_string());
        throw system_error(ENOENT, "the partial segment is not complete yet").with("file", name);
      }
      return answer_.absent(
          Gap{fmt::format("{} ends at {}, but later WAL exists ({})", name, best->cut, later)},
          segment.to_string());
    }
    const auto cut = left_at(segment, best->cut, finding, name);
    if (cut.valid()) keep = cut - segment.start(size);
  }
  if (keep == 0) return {false, "no record is complete in " + name};
  if (auto own = leave_to_server(segment, *best, segment.start(size) + keep, left, size))
    return std::move(*own);
  deliver(*best, keep, size);
  log_.warning("{} was restored from the unfinished {}: WAL up to {}{}", segment, name,
               segment.start(size) + keep,
               before_hole || !later.empty()
                   ? "; the recovery ends there, before a hole (--until-gap): " +
                         (before_hole ? why : "later WAL exists (" + later + ")")
                   : "");
  return {true, {}};
}

Error Restorer::damage_of(const Partial& partial) const {
  return Error(*partial.damage)
      .hint(fmt::format(
          "The partial segment is valid up to {}; more WAL was written, which would be lost. If "
          "there is no better copy, --partial-damaged restores the WAL before the damage.",
          partial.cut));
}

/// The first segment of a timeline, which is not finished yet. Told that it is not there, a server
/// that follows the timeline would ask for the ancestor's segment, and replay the ancestor's WAL
/// after the switchpoint: XLogFileReadAnyTLI() in access/transam/xlogrecovery.c checks where a
/// timeline begins, not where it ends. So the server is given what the ancestor's finished segment
/// has up to the switchpoint, under the name it asked for. nullopt where that does not apply, or
/// the server has the segment in its pg_wal, which it takes next. (An unfinished segment is not
/// restored without --partial, and with it only up to the switchpoint: left_at(). If the
/// switchpoint is the segment's first byte, no WAL of the segment can be restored.)
std::optional<Result> Restorer::restore_of_ancestors(wal::SegmentName segment,
                                                     const Finding& finding) {
  if (!options_.system_identifier || target_directory_.find(segment.to_string()))
    return std::nullopt;
  const auto& segments = archives_.listing().segments;
  const auto own = std::find_if(segments.begin(), segments.end(),
                                [&](const auto& entry) { return entry.name.segment == segment; });
  if (own != segments.end() && (options_.partial || options_.up_to_hole)) return std::nullopt;
  const auto& size = *finding.size;
  const auto start = segment.start(size);
  const bool unfinished = options_.partial || options_.up_to_hole;
  const auto found =
      of_ancestors(segment, finding, start, unfinished ? Ancestors::all : Ancestors::finished);
  if (!found) return std::nullopt;
  deliver(*found, found->cut - start, size);
  log_.warning(
      "{} is not in the archive, and timeline {} begins in it: it was restored from {}, up to {}{}",
      segment, segment.timeline(),
      archives_.several() ? archives_.path_of(found->copy) : found->copy.name.to_string(),
      found->cut,
      own != segments.end() ? fmt::format("; {} exists (--partial)", own->name.to_string()) : "");
  return Result{true, {}};
}

/// A timeline's first segment begins with the WAL of its ancestors (XLogInitNewTimeline() in xlog.c
/// copies it), and recovery requests the newest timeline first. As long as the partial file does
/// not reach the switchpoint, an ancestor's file may have more of it: the copy that has the most,
/// cut where the history leaves its timeline. nullopt if none has WAL after `reached`.
std::optional<Partial> Restorer::of_ancestors(wal::SegmentName segment, const Finding& finding,
                                              wal::Lsn reached, Ancestors which) {
  const auto& size = *finding.size;
  const auto start = segment.start(size);
  const auto history = finding.timelines.history(segment.timeline());
  if (!history) return std::nullopt;
  std::optional<Partial> most;
  const auto take = [&](Partial found, wal::Lsn left) {
    if (found.damage && found.cut < left && !options_.partial_damaged) throw damage_of(found);
    found.cut = std::min(found.cut, left);
    if (found.cut <= std::max(most ? most->cut : reached, start)) return;
    most = std::move(found);
  };
  const auto& ancestors = history->ancestors();
  for (auto each = ancestors.rbegin(); each != ancestors.rend(); ++each) {
    const auto left = each->switchpoint;
    if (left <= std::max(reached, start) || size.segno(left) != segment.segno(size)) break;
    const wal::SegmentName name(each->timeline, segment.segno(size), size);
    archives_.ask_each([&](std::size_t i) {
      for (const auto& form : archive::finished_names(name))
        if (archives_.shelf(i).find(form.to_string()))
          take(look_into(archives_, {i, form}, size), left);
    });
    if (which == Ancestors::all)
      if (auto partial = find_partial(archives_, name, size, options_.durable_end))
        take(std::move(*partial), left);
    archives_.require_answers(name.to_string());
  }
  return most;
}

/// A descendant whose segment was not archived (yet): it may be recovery's target, and this
/// timeline's WAL after the switchpoint is not part of it. If it is not the target, that WAL is
/// needed: a failover may have lost it. Returns the first of several to branch off, if all may be
/// meant.
std::optional<Left> Restorer::left_in(wal::SegmentName segment, const Finding& finding) {
  const auto& size = *finding.size;
  const auto timeline = segment.timeline();
  auto descendants = finding.timelines.descendants(timeline);
  if (options_.target_is_chosen) {
    // The server has the target's history and copies those of all lower numbers, siblings among
    // them (restoreTimeLineHistoryFiles() in timeline.c).
    std::erase_if(descendants, [&](wal::TimelineId descendant) {
      return !target_directory_.find(wal::history_name(descendant));
    });
    if (!descendants.empty()) descendants = {descendants.back()};
  } else if (options_.system_identifier) {
    for (const auto& left : lefts_of(target_directory_, timeline))
      if (left.is_copy) std::erase(descendants, left.by);
  }
  std::optional<Left> left;
  for (const auto descendant : descendants) {
    const auto end = finding.timelines.history(descendant)->end_of(timeline);
    const auto& segments = archives_.listing().segments;
    const bool archived = std::any_of(segments.begin(), segments.end(), [&](const auto& entry) {
      const auto& other = entry.name.segment;
      return other.timeline() == descendant && other.fits(size) &&
             other.segno(size) == segment.segno(size);
    });
    if (archived || !end || size.segno(*end) != segment.segno(size)) continue;
    if (!left || *end < left->at) left = Left{*end, descendant};
  }
  if (const auto by = left_by_server(segment); by && (!left || by->at < left->at)) left = by;
  return left;
}

/// End of the delivered part of a segment that is valid up to `cut`.
wal::Lsn Restorer::left_at(wal::SegmentName segment, wal::Lsn cut, const Finding& finding,
                           const std::string& name) {
  const auto left = left_in(segment, finding);
  if (!left || left->at >= cut) return cut;
  log_.warning("{}: the WAL of timeline {} after {}, where timeline {} begins, is not restored",
               name, segment.timeline(), left->at, left->by);
  return left->at;
}

/// A partial segment that was uploaded to a store under its final name ("pgweir store
/// publish-partial"), for readers of whole segments. Recovery takes its zeros for the end of WAL:
/// it is therefore delivered only if nothing follows it, and no other segment that ends in zeros
/// is.
std::optional<Result> Restorer::restore_published(wal::SegmentName segment, const Error& error) {
  if (error.kind() != ErrorKind::damage) return std::nullopt;
  const auto published = std::exchange(published_, std::nullopt);
  if (!published) return std::nullopt;
  const auto name =
      archives_.several() ? archives_.path_of(published->copy) : published->copy.name.to_string();
  const auto finding = look_for_absent(segment, true);
  if (const auto* const gap = std::get_if<Gap>(&finding.absence))
    throw not_the_last(name, *gap, published->cut);
  // The archive's own partial file may continue after it.
  if (options_.partial || options_.up_to_hole)
    if (const auto partial = find_partial(archives_, segment, *finding.size, options_.durable_end);
        partial && partial->cut > published->cut)
      return restore_partial(segment, finding, "");
  const auto& size = *finding.size;
  const auto end = left_at(segment, published->cut, finding, name);
  const auto keep = end - segment.start(size);
  if (auto own = leave_to_server(segment, *published, end, left_in(segment, finding), size))
    return std::move(*own);
  deliver(*published, keep, size);
  log_.warning(
      "{} was restored from {}, which was published unfinished (pgweir store publish-partial): WAL "
      "up to {}, followed by zeros",
      segment, name, segment.start(size) + keep);
  return Result{true, {}};
}

/// Its name; empty if there is none. A file without content is not missing WAL.
std::string Restorer::unfinished_with_wal_behind(wal::SegmentName segment, const Finding& finding) {
  std::string found;
  archives_.ask_each([&](std::size_t i) {
    for (const auto& behind :
         unfinished_behind(segment, archives_.at(i).listing(), *finding.size, finding.holes)) {
      if (!found.empty()) return;
      try {
        const auto page = archive::read_first_page_header(archives_.shelf(i), behind);
        if (page && page->address == behind.segment.start(*finding.size))
          found = behind.to_string();
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::damage) throw;
        found = behind.to_string();
      }
    }
  });
  return found;
}

/// The first `keep` bytes, followed by zeros.
void Restorer::deliver(const Partial& partial, std::uint64_t keep, wal::SegmentSize size) {
  Target target(target_directory_, target_name_);
  answer_.require_outside(target);
  auto& archive = archives_.shelf(partial.copy.archive);
  try {
    archive::read_segment_front(
        archive, partial.copy.name, size, [&](std::span<const std::byte> wal) {
          target.append(wal.first(std::min<std::uint64_t>(wal.size(), keep - target.size())));
          return true;
        });
  } catch (const TargetError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage || target.size() < keep) throw;
  }
  if (target.size() < keep)
    throw Error(ErrorKind::retry, "the partial segment became shorter while it was being read")
        .with("file", archives_.path_of(partial.copy));
  target.append_zeros(size.bytes() - keep);
  ContentSource content(partial.copy.name.segment.start(size), target);
  check_.check_seam_of({.source = partial.copy.name,
                        .archive = partial.copy.archive,
                        .identity = {},
                        .size = size,
                        .first_record = partial.first_record,
                        .records_end = partial.checked ? keep : 0,
                        .previous_record = partial.previous_record},
                       content);
  target.publish();
}

/// Not set if the server has no such file, or it is unknown whose server it is.
Restorer::OwnWal Restorer::own_wal_of(wal::SegmentName segment, wal::SegmentSize size) {
  if (!options_.system_identifier) return {};
  const auto entry = target_directory_.find(segment.to_string());
  if (!entry || entry->type != io::DirectoryEntry::Type::file || entry->size != size.bytes())
    return {};
  const auto history = archives_.history_of(segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = *options_.system_identifier,
                                .history = history ? &*history : nullptr},
                               segment.start(size));
  std::optional<wal::Damage> damage;
  archive::read_segment(target_directory_, {segment, Method::none, false}, size, [&](auto wal) {
    damage = verifier.feed(wal);
    return !damage;
  });
  return {verifier.last_record_end(), !damage && !verifier.unchecked()};
}

/// Recovery, a standby's too, takes the segment from its own pg_wal if it gets none
/// (RestoreArchivedFile() in access/transam/xlogarchive.c), and replaces its own by what it gets.
/// So a file that ends at `end` is not delivered to a server whose own has the same WAL and more: a
/// pg_wal that was saved from a lost server. nullopt: it has none, or what it has beyond `end` is
/// not part of the history that leaves the timeline at `left`.
std::optional<Result> Restorer::leave_to_server(wal::SegmentName segment, const Partial& found,
                                                wal::Lsn end, const std::optional<Left>& left,
                                                wal::SegmentSize size) {
  if (target_name_ == segment.to_string()) return std::nullopt;
  const auto own = own_wal_of(segment, size);
  if (own.end <= end || (left && left->at < own.end)) return std::nullopt;
  const auto content =
      archive::SegmentBytes::open(target_directory_, {segment, Method::none, false}, size);
  if (!content || !begins_as(archives_, found.copy, *content, size, end - segment.start(size)))
    return std::nullopt;
  auto why = fmt::format(
      "{} is not restored from {}, which ends at {}: the server has it up to {} in its pg_wal",
      segment, archives_.several() ? archives_.path_of(found.copy) : found.copy.name.to_string(),
      end, own.end);
  log_.warning("{}", why);
  return Result{false, std::move(why)};
}

}  // namespace

}  // namespace weir::restore
