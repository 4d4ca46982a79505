#include "prune/prune.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string_view>

#include "archive/backup_checkpoint.h"
#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "archive/unvouched.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "base/units.h"
#include "store/ledger/mark.h"
#include "store/removal.h"

namespace weir::prune {

namespace {

class Planner {
 public:
  Planner(const Homes& homes, const Options& options)
      : directory_(homes.pruned),
        whole_(homes.whole),
        told_identity_(homes.identity),
        options_(options),
        slots_(archive::read_slots(homes.slots).value_or(archive::KeptSlots{})),
        mark_(&homes.pruned == &homes.slots ? store::read_mark_for_removal(directory_)
                                            : std::nullopt),
        source_(homes.source),
        alone_(homes.alone),
        source_listing_(source_ != nullptr ? archive::list_archive(*source_) : archive::Listing{}),
        listing_(archive::list_archive(directory_)),
        all_(&homes.whole == &homes.pruned ? listing_ : archive::list_archive(whole_)) {}

  Plan run() {
    check_options();
    const auto identity = identity_of_archive();
    if (!identity) return {};  // no segments, nothing to do
    size_ = identity->segment_size;
    not_uploaded_ = store::first_not_sent(mark_, *identity, listing_);
    check_cluster(*identity);
    for (const auto& backup : options_.backups) {
      archive::require_agreement(backup, size_);
      require_known_checkpoint(backup);
    }
    find_limit();
    lower_limit_by_doubt();
    lower_limit_by_age();
    find_backups_to_await();
    if (awaited_.empty()) check_newest();
    lower_limit_by_holders();
    collect();
    if (plan_.files > 0) {
      check_backups_are_here();
      if (alone_) require_ends();
      if (!awaited_.empty()) return nothing_until_uploaded(awaited_.front());
    }
    // Whatever lowered the limit, or set it: the first segment of each backup stays.
    for (const auto& backup : options_.backups) PGWEIR_CHECK(limit_ <= size_.segno(backup.start));
    for (const auto& backup : options_.doubtful) PGWEIR_CHECK(limit_ <= size_.segno(backup.start));
    return std::move(plan_);
  }

 private:
  /// A backup with a segment that only the source has.
  struct Awaited {
    const archive::BackupPoint* backup;  ///< in options_.backups
    wal::SegmentName segment;
    std::string_view why;
    bool never_comes = false;
  };

  void check_options() const {
    if (!options_.keep_from && options_.backups.empty())
      throw Error(ErrorKind::usage, options_.older_than
                                        ? "--older-than is not sufficient to determine what to keep"
                                        : "no option specifies what to keep")
          .hint(
              "The age of WAL does not show whether the oldest backup needs it. Specify "
              "--keep-from-backup with the oldest backup to keep, or --keep-from with a segment or "
              "LSN.");
  }

  [[nodiscard]] std::optional<archive::Identity> identity_of_archive() {
    try {
      return archive::read_identity(directory_, listing_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::refused || !told_identity_) throw;
      is_sealed_ = true;
      return told_identity_;  // encrypted: there is no key here
    }
  }

  void check_cluster(const archive::Identity& identity) const {
    for (const auto& backup : options_.backups)
      if (backup.system_identifier != 0 && identity.system_identifier != 0 &&
          backup.system_identifier != identity.system_identifier)
        throw Error(ErrorKind::conflict, "the backup and the archive belong to different clusters")
            .with("backup", backup.file)
            .with("its system identifier", backup.system_identifier)
            .with("archive's", identity.system_identifier)
            .hint("Nothing was removed. Specify the archive of the backup's cluster with -D.");
    if (source_ == nullptr) return;
    const auto source = store::cluster_of(*source_, source_listing_);
    if (!source)
      throw Error(ErrorKind::conflict, "the archive directory does not show its cluster")
          .with("directory", source_->path())
          .hint(
              "Nothing was removed: the WAL in the store may be another cluster's, and slots may "
              "need it. Check -D, and that its file system is mounted. Omit -D to prune only the "
              "store.");
    if (*source != identity.system_identifier)
      throw Error(ErrorKind::conflict, "the archive and the store belong to different clusters")
          .with("directory", source_->path())
          .with("its system identifier", *source)
          .with("store's", identity.system_identifier)
          .hint("Nothing was removed. Check -D, --store and --store-name.");
  }

  void find_limit() {
    const archive::BackupPoint* oldest = nullptr;
    for (const auto& backup : options_.backups)
      if (oldest == nullptr || backup.start < oldest->start) oldest = &backup;
    if (oldest != nullptr) {
      limit_ = size_.segno(oldest->start);
      plan_.keep_from = wal::SegmentName(oldest->timeline, limit_, size_).to_string();
      plan_.reason = fmt::format("the backup {} starts in it", oldest->file);
    }
    if (!options_.keep_from) return;

    wal::TimelineId timeline = 1;
    std::uint64_t asked = 0;
    if (const auto* const name = std::get_if<wal::SegmentName>(&*options_.keep_from)) {
      if (!name->fits(size_))
        throw Error(ErrorKind::usage, "there is no such segment with this archive's segment size")
            .with("segment", *name)
            .with("segment size", size_.bytes());
      timeline = name->timeline();
      asked = name->segno(size_);
    } else {
      asked = size_.segno(std::get<wal::Lsn>(*options_.keep_from));
      for (const auto& entry : listing_.segments)
        timeline = std::max(timeline, entry.name.segment.timeline());
    }
    if (oldest != nullptr && asked > limit_)
      throw Error(ErrorKind::conflict, "--keep-from would remove WAL that a backup needs")
          .with("backup", oldest->file)
          .with("starts at", oldest->start)
          .with("--keep-from", wal::SegmentName(timeline, asked, size_))
          .hint(fmt::format("Nothing was removed. Omit --keep-from to keep all WAL that the backup "
                            "needs (from {} on), or omit the backup if it no longer exists.",
                            plan_.keep_from));
    limit_ = asked;
    plan_.keep_from = wal::SegmentName(timeline, asked, size_).to_string();
    plan_.reason = "specified with --keep-from";
  }

  void lower_limit_by_doubt() {
    for (const auto& backup : options_.doubtful) {
      const auto segno = size_.segno(backup.start);
      if (segno >= limit_) continue;
      limit_ = segno;
      plan_.keep_from = wal::SegmentName(backup.timeline, segno, size_).to_string();
      plan_.reason = fmt::format("the backup {} starts in it, and it is not known to be complete",
                                 backup.file);
    }
  }

  /// From the front only: removal ends at the first young file, so that no gap remains.
  void lower_limit_by_age() {
    if (!options_.older_than) return;
    const auto young = options_.now - *options_.older_than;
    std::map<std::string, std::chrono::system_clock::time_point> modified;
    for (const auto& entry : directory_.list()) modified[entry.name] = entry.modified;
    for (const auto& entry : listing_.segments) {
      if (!entry.name.segment.fits(size_)) continue;
      const auto segno = entry.name.segment.segno(size_);
      const auto name = entry.name.to_string();
      const auto found = modified.find(name);
      if (segno >= limit_ || (found != modified.end() && found->second <= young)) continue;
      limit_ = segno;
      plan_.keep_from = entry.name.segment.to_string();
      plan_.reason =
          fmt::format("{} is younger than {}", name, format_duration(*options_.older_than));
    }
  }

  /// By position alone: a slot's client may be on any timeline.
  void lower_limit_by_holders() {
    const auto asked = limit_;
    for (const auto& slot : slots_.slots)
      if (!slot.lost && slot.restart_lsn != wal::Lsn())
        hold_back({slot.name, slot.restart_lsn, {}}, asked,
                  fmt::format("the replication slot \"{}\" needs it", slot.name));
    // Without it, the store would have a hole.
    if (not_uploaded_)
      hold_back({.slot = {},
                 .restart_lsn = not_uploaded_->start(size_),
                 .segment = {},
                 .store = mark_->target()},
                asked, "it is not uploaded yet");
    std::stable_sort(plan_.held_back.begin(), plan_.held_back.end(),
                     [](const auto& a, const auto& b) { return a.restart_lsn < b.restart_lsn; });
  }

  /// From its position on, up to what would be kept anyway.
  void hold_back(Plan::HeldBack held, std::uint64_t asked, std::string reason) {
    const auto segno = size_.segno(held.restart_lsn);
    if (segno >= asked) return;
    for (const auto& entry : listing_.segments) {
      const auto& name = entry.name.segment;
      if (!name.fits(size_) || name.segno(size_) < segno || name.segno(size_) >= asked) continue;
      if (held.segment.empty()) held.segment = name.to_string();
      ++held.files;
      held.bytes += entry.bytes.value();
    }
    if (held.files == 0) return;
    if (segno < limit_) {
      limit_ = segno;
      plan_.keep_from = held.segment;
      plan_.reason = std::move(reason);
    }
    plan_.held_back.push_back(std::move(held));
  }

  void collect() {
    std::map<std::uint64_t, std::vector<Plan::Segment>> numbers;
    for (const auto& entry : listing_.segments) {
      if (!entry.name.segment.fits(size_)) continue;
      const auto segno = entry.name.segment.segno(size_);
      if (segno >= limit_) continue;
      auto& segments = numbers[segno];
      if (segments.empty() || segments.back().name != entry.name.segment)
        segments.push_back({entry.name.segment, {}});
      segments.back().files.push_back(entry.name.to_string());
      ++plan_.files;
      plan_.bytes += entry.bytes.value();
    }
    add_holes(numbers);
    PGWEIR_CHECK(numbers.empty() || numbers.rbegin()->first < limit_);
    // As lower_limit_by_holders() should have it.
    for (const auto& slot : slots_.slots)
      PGWEIR_CHECK(numbers.empty() || slot.lost || slot.restart_lsn == wal::Lsn() ||
                   numbers.rbegin()->first < size_.segno(slot.restart_lsn));
    PGWEIR_CHECK(numbers.empty() || !not_uploaded_ ||
                 numbers.rbegin()->first < not_uploaded_->segno(size_));
    // Files that an import has replaced, and kept for inspection.
    for (const auto& hidden : listing_.hidden) {
      const auto name = archive::parse_damaged_name(hidden);
      if (!name || !name->fits(size_) || name->segno(size_) >= limit_) continue;
      numbers[name->segno(size_)].push_back({*name, {hidden}});
      ++plan_.files;
      if (const auto entry = directory_.find(hidden)) plan_.bytes += entry->size;
    }
    for (auto& [segno, segments] : numbers) plan_.numbers.push_back(std::move(segments));
  }

  /// An import may fill a hole while this prune passes it: the files it has published by then are
  /// removed, too, because they would follow a gap.
  void add_holes(std::map<std::uint64_t, std::vector<Plan::Segment>>& numbers) const {
    constexpr std::uint64_t kMost = 10'000;  // not exceeded in that time
    if (numbers.empty()) return;
    std::set<wal::TimelineId> timelines;
    for (const auto& [segno, segments] : numbers)
      for (const auto& segment : segments) timelines.insert(segment.name.timeline());
    const auto last = numbers.rbegin()->first;
    std::uint64_t added = 0;
    for (auto segno = numbers.begin()->first + 1; segno <= last && added < kMost; ++segno) {
      auto& there = numbers[segno];
      for (const auto timeline : timelines) {
        const wal::SegmentName name(timeline, segno, size_);
        const auto same = [&](const Plan::Segment& segment) { return segment.name == name; };
        if (std::any_of(there.begin(), there.end(), same)) continue;
        there.push_back({name, {}});
        ++added;
      }
    }
  }

  void check_newest() const {
    if (all_.segments.empty()) return;
    const auto& newest = all_.segments.back().name.segment;  // by timeline, then number
    if (!newest.fits(size_) || newest.segno(size_) >= limit_) return;
    throw Error(ErrorKind::conflict, "this would remove the newest segments of the archive")
        .with("newest segment", newest)
        .with("to keep from", plan_.keep_from)
        .hint(
            "Nothing was removed. The position is beyond the end of the archive. Check that it "
            "belongs to this cluster, and how far the receiver has come (pgweir status).");
  }

  [[nodiscard]] bool has_first_segment_of(const archive::BackupPoint& backup,
                                          const archive::Timelines& timelines) const {
    return has_first_segment_of(backup, timelines, all_);
  }
  [[nodiscard]] bool has_first_segment_of(const archive::BackupPoint& backup,
                                          const archive::Timelines& timelines,
                                          const archive::Listing& listing) const {
    const auto segno = size_.segno(backup.start);
    const auto history =
        timelines.history(backup.timeline).value_or(wal::TimelineHistory(backup.timeline));
    std::set<wal::TimelineId> expected{backup.timeline,
                                       archive::timeline_of_segment(history, segno, size_)};
    // The segment of a switchpoint after the start may be here under its new timeline only.
    for (const auto later : timelines.descendants(backup.timeline))
      if (const auto followed = timelines.history(later);
          followed && followed->end_of(backup.timeline) > backup.start)
        expected.insert(archive::timeline_of_segment(*followed, segno, size_));
    return std::any_of(listing.segments.begin(), listing.segments.end(), [&](const auto& entry) {
      const auto& name = entry.name.segment;
      return name.fits(size_) && name.segno(size_) == segno && expected.contains(name.timeline());
    });
  }

  /// Without its checkpoint, nothing shows that the backup belongs to this archive: it may be of a
  /// clone that is ahead of the archive.
  void require_known_checkpoint(const archive::BackupPoint& backup) {
    using archive::CheckpointThere;
    if (is_sealed_) return;
    auto there = archive::require_checkpoint(whole_, backup, size_);
    if (there == CheckpointThere::yes) return;
    const auto timelines = archive::Timelines::read(whole_, all_);
    if (!has_first_segment_of(backup, timelines)) return;  // check_backups_are_here() reports it
    // The segment of a switchpoint may be here under its new timeline only.
    for (const auto timeline : timelines.descendants(backup.timeline)) {
      if (there != CheckpointThere::not_yet) break;
      const auto history = timelines.history(timeline);
      if (!history || history->end_of(backup.timeline) <= backup.checkpoint) continue;
      auto continued = backup;
      continued.timeline = timeline;
      there = archive::require_checkpoint(whole_, continued, size_);
    }
    if (there == CheckpointThere::yes) return;
    const bool damaged = there == CheckpointThere::damaged;
    if (!damaged && source_ != nullptr &&
        archive::require_checkpoint(*source_, backup, size_) == CheckpointThere::yes) {
      awaited_.push_back({&backup,
                          wal::SegmentName(backup.timeline, size_.segno(*backup.checkpoint), size_),
                          "has its checkpoint in it"});
      return;
    }
    throw Error(damaged ? ErrorKind::conflict : ErrorKind::retry,
                damaged ? "the backup's checkpoint cannot be read: the archive is damaged there"
                        : "the archive does not have the backup's checkpoint yet")
        .with("backup", backup.file)
        .with("its checkpoint", *backup.checkpoint)
        .hint(damaged ? "Nothing was removed, because it is unknown whether the backup belongs to "
                        "this archive. \"pgweir verify --backup\" names the damage: repair the "
                        "segment, or specify another backup."
                      : "Nothing was removed, because it is unknown whether the backup belongs to "
                        "this archive. Run the command again when the archive has this WAL (pgweir "
                        "status). If it is in a hole, import it; if it never arrives, the backup "
                        "belongs to another server.");
  }

  /// Those of whose WAL, from start to end, the source has segments that are not here.
  void find_backups_to_await() {
    if (source_ == nullptr) return;
    const auto& there = source_listing_;
    const auto timelines = archive::Timelines::read(whole_, all_);
    const auto timelines_there = archive::Timelines::read(*source_, there);
    const auto forms_here = forms_of(all_);
    const auto forms_there = forms_of(there);
    for (const auto& backup : options_.backups) {
      if (!has_first_segment_of(backup, timelines)) {
        if (has_first_segment_of(backup, timelines_there, there))
          awaited_.push_back({&backup,
                              wal::SegmentName(backup.timeline, size_.segno(backup.start), size_),
                              "starts in it"});
      } else if (const auto segment =
                     first_to_upload(backup, timelines_there, forms_here, forms_there)) {
        const bool is_last = backup.end && *backup.end <= size_.start(segment->segno(size_) + 1);
        awaited_.push_back({&backup, *segment,
                            !backup.end ? "may need it: its end is not known"
                            : is_last   ? "ends in it"
                                        : "needs it",
                            !forms_there.at(*segment) && backup.end &&
                                ends_after_its_timeline(backup, timelines_there)});
      }
    }
  }
  /// The segments of a listing; true for those with a complete file.
  using Forms = std::map<wal::SegmentName, bool>;
  static Forms forms_of(const archive::Listing& listing) {
    Forms forms;
    for (const auto& entry : listing.segments) {
      auto& complete = forms[entry.name.segment];
      complete = complete || !entry.name.partial;
    }
    return forms;
  }
  /// The first segment, up to the backup's end, of which the source has more than there is here; a
  /// partial one that was uploaded as such, up to the end at least, is not waited for.
  [[nodiscard]] std::optional<wal::SegmentName> first_to_upload(const archive::BackupPoint& backup,
                                                                const archive::Timelines& timelines,
                                                                const Forms& here,
                                                                const Forms& there) const {
    if (!backup.end) return first_complete_to_upload(backup, timelines, here, there);
    if (*backup.end <= backup.start) return std::nullopt;
    const auto histories = histories_with_end(backup, timelines);
    const auto last = size_.segno(wal::Lsn(backup.end->byte() - 1));
    for (auto segno = size_.segno(backup.start); segno <= last; ++segno) {
      std::optional<wal::SegmentName> best;
      const int form_here = best_form(here, histories, segno);
      int form_there = 0;
      for (const auto& history : histories) {
        const auto name = segment_of(history, segno);
        const auto found = there.find(name);
        if (found == there.end() || form_there >= (found->second ? 2 : 1)) continue;
        form_there = found->second ? 2 : 1;
        best = name;
      }
      if (form_here < form_there) return best;
      if (form_here == 1 && segno == last && best && !reaches(*backup.end, histories)) return best;
    }
    return std::nullopt;
  }
  /// Those of the backup's timeline, and of later ones: the segment with its end may have been
  /// completed on one of these only.
  static std::vector<wal::TimelineHistory> histories_with_end(const archive::BackupPoint& backup,
                                                              const archive::Timelines& timelines) {
    const auto timeline = backup.end_timeline != 0 ? backup.end_timeline : backup.timeline;
    std::vector<wal::TimelineHistory> histories{
        timelines.history(timeline).value_or(wal::TimelineHistory(timeline))};
    for (const auto later : timelines.descendants(timeline)) {
      const auto history = timelines.history(later);
      if (history && history->end_of(timeline) >= backup.end) histories.push_back(*history);
    }
    return histories;
  }
  [[nodiscard]] wal::SegmentName segment_of(const wal::TimelineHistory& history,
                                            std::uint64_t segno) const {
    return {archive::timeline_of_segment(history, segno, size_), segno, size_};
  }
  /// 0: none, 1: partial, 2: complete.
  [[nodiscard]] int best_form(const Forms& forms,
                              const std::vector<wal::TimelineHistory>& histories,
                              std::uint64_t segno) const {
    int best = 0;
    for (const auto& history : histories)
      if (const auto found = forms.find(segment_of(history, segno)); found != forms.end())
        best = std::max(best, found->second ? 2 : 1);
    return best;
  }
  /// The object of a partial segment may end before. (One that cannot be read here does not count.)
  [[nodiscard]] bool reaches(wal::Lsn end,
                             const std::vector<wal::TimelineHistory>& histories) const {
    std::array<std::byte, 1> last{};
    try {
      for (const auto& history : histories) {
        archive::WalReader reader(whole_, {.segment_size = size_,
                                           .timeline = history.timeline(),
                                           .history = history,
                                           .unfinished = true});
        if (reader.read(wal::Lsn(end.byte() - 1), last).state == archive::WalSource::State::bytes)
          return true;
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::refused) throw;
    }
    return false;
  }
  /// For a backup whose end nothing shows, such as a standby's without a manifest: the first one
  /// from its start on that only the source has.
  [[nodiscard]] std::optional<wal::SegmentName> first_complete_to_upload(
      const archive::BackupPoint& backup, const archive::Timelines& timelines, const Forms& here,
      const Forms& there) const {
    const auto later = timelines.descendants(backup.timeline);
    for (const auto& [name, complete] : there) {
      if (!complete || !name.fits(size_) || name.segno(size_) < size_.segno(backup.start)) continue;
      if (name.timeline() != backup.timeline &&
          std::find(later.begin(), later.end(), name.timeline()) == later.end())
        continue;
      if (const auto found = here.find(name); found == here.end() || !found->second) return name;
    }
    return std::nullopt;
  }
  /// The backup's timeline was left before the backup's end, and by no later timeline after it: the
  /// segment with the end stays partial, and is not uploaded.
  static bool ends_after_its_timeline(const archive::BackupPoint& backup,
                                      const archive::Timelines& timelines) {
    const auto timeline = backup.end_timeline != 0 ? backup.end_timeline : backup.timeline;
    const auto descendants = timelines.descendants(timeline);
    return !descendants.empty() &&
           std::none_of(descendants.begin(), descendants.end(), [&](wal::TimelineId later) {
             return timelines.history(later)->end_of(timeline) >= backup.end;
           });
  }
  [[nodiscard]] bool is_awaited(const archive::BackupPoint& backup) const {
    return std::any_of(awaited_.begin(), awaited_.end(),
                       [&](const Awaited& each) { return each.backup == &backup; });
  }

  /// Until then, what is here may be the only WAL with which an older backup can be recovered if
  /// the source is lost.
  [[nodiscard]] Plan nothing_until_uploaded(const Awaited& awaited) const {
    Plan plan;
    plan.awaited = awaited.segment.to_string();
    plan.reason = fmt::format("the backup {} {}", awaited.backup->file, awaited.why);
    plan.never_comes = awaited.never_comes;
    return plan;
  }

  /// A partial segment that was uploaded as such counts as the last one, if it has the end.
  void require_ends() const {
    const auto timelines = archive::Timelines::read(whole_, all_);
    const auto here = forms_of(all_);
    for (const auto& backup : options_.backups) {
      if (!backup.end || *backup.end <= backup.start) continue;
      const auto histories = histories_with_end(backup, timelines);
      const auto last = size_.segno(wal::Lsn(backup.end->byte() - 1));
      for (auto segno = size_.segno(backup.start); segno <= last; ++segno) {
        const int form = best_form(here, histories, segno);
        if (form == 2 || (form == 1 && segno == last && reaches(*backup.end, histories))) continue;
        throw Error(ErrorKind::retry, "the store does not have the WAL of a backup up to its end")
            .with("backup", backup.file)
            .with("segment", segment_of(histories.front(), segno))
            .hint(
                "Nothing was removed: the older WAL may be all with which a backup can be "
                "recovered. Run the command again when this segment was uploaded; if it never is, "
                "specify another backup.");
      }
    }
  }

  /// A backup whose first segment is missing here is of another archive, or already unusable: then
  /// the arguments are probably wrong.
  void check_backups_are_here() const {
    const auto timelines = archive::Timelines::read(whole_, all_);
    for (const auto& backup : options_.backups) {
      if (has_first_segment_of(backup, timelines) || is_awaited(backup)) continue;
      throw Error(ErrorKind::conflict, "the archive does not have the segment the backup starts in")
          .with("backup", backup.file)
          .with("segment", wal::SegmentName(backup.timeline, size_.segno(backup.start), size_))
          .hint(
              "Nothing was removed. Check that backup and archive belong to the same cluster; "
              "\"pgweir verify --backup\" shows details.");
    }
  }

  io::Shelf& directory_;
  io::Shelf& whole_;
  const std::optional<archive::Identity> told_identity_;
  bool is_sealed_ = false;  ///< encrypted, and there is no key here
  const Options& options_;
  archive::KeptSlots slots_;
  const std::optional<store::Mark> mark_;  ///< read before the listing: it may lag
  io::Shelf* const source_;
  const bool alone_;
  /// Older than what is here: what was completed meanwhile is not waited for.
  archive::Listing source_listing_;
  archive::Listing listing_;
  archive::Listing all_;  ///< of whole_
  std::vector<Awaited> awaited_{};
  std::optional<wal::SegmentName> not_uploaded_;  ///< the first such segment here
  wal::SegmentSize size_;
  std::uint64_t limit_ = 0;  ///< number of the first segment to keep
  Plan plan_;
};

}  // namespace

std::string text_of(const Plan::HeldBack& held) {
  if (!held.slot.empty())
    return fmt::format(
        "the replication slot \"{}\" (restart_lsn {}) holds back {} files, {}, from {} on",
        held.slot, held.restart_lsn, held.files, format_size(held.bytes), held.segment);
  return fmt::format(
      "{} files, {}, from {} on are kept, because {} has not been uploaded to {} yet; \"pgweir "
      "status\" or \"pgweir store push\" shows why; if the archive is no longer uploaded there, "
      "remove its file {}",
      held.files, format_size(held.bytes), held.segment, held.segment, held.store,
      store::kMarkName);
}

Plan make_plan(const Homes& homes, const Options& options) { return Planner(homes, options).run(); }

Plan make_plan(io::Shelf& archive, const Options& options) {
  return make_plan({archive, archive, archive}, options);
}

namespace {

/// Removes files that a compressor, delayed between its last check and its rename, has created for
/// removed segments: otherwise the archive would start with such a segment, followed by a hole.
/// Returns true if there were any.
bool remove_late_forms(io::Directory& directory, const Plan& plan, const archive::Listing& listing,
                       const std::function<void(const std::string& file)>& removed) {
  std::set<wal::SegmentName> gone;
  for (const auto& segments : plan.numbers)
    for (const auto& segment : segments) gone.insert(segment.name);
  bool some = false;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial || !gone.contains(entry.name.segment)) continue;
    const auto name = entry.name.to_string();
    directory.remove(name);
    some = true;
    if (removed) removed(name);
  }
  if (some) directory.sync();
  return some;
}

}  // namespace

bool carry_out(io::Directory& directory, const Plan& plan, const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed) {
  // An earlier prune may have stopped in the middle of a number, by an error or a signal: the files
  // it removed are no longer visible, and a crash would bring them back, before the hole that this
  // prune is about to make. The same applies to the slot file used here: it was flushed before its
  // rename, and a crash must not bring back an earlier one that retains more.
  if (!plan.numbers.empty()) directory.sync();
  for (const auto& segments : plan.numbers) {
    if (stop && stop()) return false;
    bool some = false;
    for (const auto& segment : segments) {
      // One number at a time: files of another one would be removed without a flush in between.
      PGWEIR_CHECK(segment.name.to_string().substr(8) ==
                   segments.front().name.to_string().substr(8));
      if (segment.files.empty()) {  // it was missing
        for (const auto& form : archive::finished_names(segment.name)) {
          const auto name = form.to_string();
          if (!directory.find(name)) continue;
          directory.remove(name);
          some = true;
          if (removed) removed(name);
        }
        continue;
      }
      some = true;
      // The listing has the raw file first. A running compressor checks for the raw file right
      // before it publishes its own; if it checked before the removal, its file exists by now, or
      // soon: such late files are removed at the end (remove_late_forms()), or by the next prune.
      for (const auto& file : segment.files) {
        directory.remove(file);
        if (removed) removed(file);
      }
      const auto& gone = segment.files;
      for (const auto& form : archive::finished_names(segment.name))
        if (const auto name = form.to_string();
            form.method != codec::Method::none ||
            std::find(gone.begin(), gone.end(), name) == gone.end())
          directory.remove(name);
    }
    if (!some) continue;
    // Names removed in one go may come back or stay away each on its own.
    directory.sync();
  }
  // Records of losses, boundaries and published segments before the new start no longer matter.
  if (!plan.numbers.empty()) {
    auto listing = archive::list_archive_names(directory);
    if (remove_late_forms(directory, plan, listing, removed))
      listing = archive::list_archive_names(directory);
    archive::close_losses(directory, listing);
    archive::close_unvouched(directory, listing);
    archive::close_published_open(directory, listing);
  }
  return true;
}

bool carry_out(store::ObjectStore& store, const KeysOf& keys_of, const Plan& plan,
               const std::function<bool()>& stop,
               const std::function<void(const std::string& file)>& removed,
               const std::function<void(const store::Kept& kept)>& kept,
               const store::Patience& patience) {
  constexpr std::size_t kMost = 1000;
  std::vector<std::string> keys;
  std::vector<std::string> names;
  const auto remove = [&] {
    if (keys.empty()) return;
    PGWEIR_CHECK(keys.size() == names.size());
    std::set<std::string> stay;
    for (const auto& each : remove_patiently(store, keys, patience)) {
      stay.insert(each.key);
      if (kept) kept(each);
    }
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (removed && !stay.contains(keys[i])) removed(names[i]);
    keys.clear();
    names.clear();
  };
  for (const auto& segments : plan.numbers)
    for (const auto& segment : segments)
      for (const auto& file : segment.files)
        for (const auto& key : keys_of(file)) {
          keys.push_back(key);
          names.push_back(file);
          if (keys.size() < kMost) continue;
          remove();
          if (stop && stop()) return false;
        }
  remove();
  return true;
}

}  // namespace weir::prune
