#include "restore/restore.h"

#include <algorithm>
#include <span>
#include <variant>
#include <vector>

#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "restore/absence.h"
#include "restore/archive_facts.h"
#include "restore/history.h"
#include "restore/partial.h"
#include "restore/segment_check.h"
#include "restore/target.h"
#include "wal/record_verifier.h"

namespace weir::restore {

namespace {

using archive::SegmentFileName;
using codec::Method;

/// How often the whole look is repeated when the archive changes under it.
constexpr int kLooks = 5;

/// One request.
class Restorer {
 public:
  Restorer(io::Directory& archive, io::Directory& target_directory, const std::string& target_name,
           const Options& options, Log& log)
      : archive_(archive),
        target_directory_(target_directory),
        target_name_(target_name),
        options_(options),
        log_(log),
        facts_(archive, options, log),
        check_(facts_, target_directory, target_name, options, log) {}

  Result restore(const wal::SegmentName& segment);
  Result restore(const HistoryRequest& request);
  Result restore(const BackupHistoryRequest& request);

 private:
  std::optional<wal::SegmentSize> restore_finished(wal::SegmentName segment);
  wal::SegmentSize deliver(const SegmentFileName& name);
  Result restore_absent(wal::SegmentName segment);
  Result restore_partial(wal::SegmentName segment, wal::SegmentSize size, std::string why);
  void deliver(const Partial& partial, std::uint64_t keep, wal::SegmentSize size);
  bool server_has(wal::SegmentName segment, wal::SegmentSize size);
  Result absent(const Absence& absence, const std::string& file);
  void require_wal();
  void require_outside(const Target& target);

  io::Directory& archive_;
  io::Directory& target_directory_;
  const std::string& target_name_;
  const Options& options_;
  Log& log_;
  ArchiveFacts facts_;
  SegmentCheck check_;
};

}  // namespace

Result restore_file(io::Directory& archive, const Request& request, io::Directory& target_directory,
                    const std::string& target_name, const Options& options, Log& log) {
  Restorer restorer(archive, target_directory, target_name, options, log);
  return std::visit([&](const auto& asked) { return restorer.restore(asked); }, request);
}

namespace {

// ---- segments

Result Restorer::restore(const wal::SegmentName& segment) {
  for (int look = 0; look < kLooks; ++look) {
    if (const auto size = restore_finished(segment)) return {true, {}, size};
    facts_.forget();
    Result result = restore_absent(segment);
    if (result.restored) return result;
    // A receiver may have finished it meanwhile, and a listing shows a file that is renamed while
    // it is read under both names or under none.
    if (!facts_.finished_form_exists(segment)) return result;
  }
  throw Error(ErrorKind::retry, "the segment's file changes its form again and again")
      .with("segment", segment)
      .with("directory", archive_.path());
}

/// nullopt if there is no finished form. Throws the first form's error if none is sound.
std::optional<wal::SegmentSize> Restorer::restore_finished(wal::SegmentName segment) {
  std::optional<Error> first_error;
  std::string told;
  for (const Method method : kForms) {
    const SegmentFileName name{segment, method, false};
    if (!archive_.find(name.to_string())) continue;
    try {
      const auto size = deliver(name);
      if (first_error) {
        log_.error(*first_error);
        log_.warning("{} was restored from its other, sound form {}", segment, name.to_string());
      }
      return size;
    } catch (const TargetError&) {
      throw;
    } catch (const Error& error) {
      // Compressed or removed by another process while it was being read: it has another form now.
      if (!archive_.find(name.to_string())) continue;
      if (!first_error) first_error = error;
    }
  }
  if (first_error) throw *first_error;
  return std::nullopt;
}

wal::SegmentSize Restorer::deliver(const SegmentFileName& name) {
  Target target(target_directory_, target_name_);
  require_outside(target);
  using Haste = SegmentCheck::Haste;
  const auto checked =
      check_.read(name, target, options_.system_identifier ? Haste::all : Haste::also_before);
  check_.check_seam_of(checked, content_of(target));
  check_.check_long_record_of(checked, content_of(target));
  check_.require_agreement(checked);
  target.publish();
  return checked.size;
}

// ---- what is not there

Result Restorer::restore_absent(wal::SegmentName segment) {
  require_wal();
  const auto& found = facts_.identity();
  if (!found) {
    // Nothing but .partial files into which nothing was written yet.
    return {false, "there is no WAL in the archive yet"};
  }
  if (!segment.fits(found->segment_size))
    throw Error(ErrorKind::conflict, "no segment has this name with the archive's segment size")
        .with("segment", segment)
        .with("segment size", found->segment_size.bytes())
        .with("read from", found->file);
  const auto timelines = archive::Timelines::read(archive_, facts_.listing());
  const auto absence =
      judge_absent_segment(segment, facts_.listing(), timelines, found->segment_size);
  if (const auto* gap = std::get_if<Gap>(&absence)) {
    // Not while it is being renamed.
    if (facts_.finished_form_exists(segment)) return {false, gap->what};
    // Recovery takes its own where the archive has none: a standby that was made with its first
    // segments, or that restarts after the archive was pruned.
    if (server_has(segment, found->segment_size))
      return {false, gap->what + "; but the server has a sound one in its pg_wal"};
    return absent(absence, segment.to_string());
  }
  auto why = std::get<Absent>(absence).why;
  if (options_.partial) return restore_partial(segment, found->segment_size, std::move(why));
  Result result{false, std::move(why)};
  for (const auto& entry : facts_.listing().segments)
    if (entry.name.partial && entry.name.segment == segment)
      result.unfinished = entry.name.to_string();
  return result;
}

Result Restorer::restore_partial(wal::SegmentName segment, wal::SegmentSize size, std::string why) {
  auto best = find_partial(facts_, segment, size);
  if (!best) return {false, std::move(why)};
  const auto name = best->name.to_string();
  if (best->damage && !options_.partial_damaged)
    throw std::move(*best->damage)
        .hint(fmt::format(
            "The unfinished segment is sound up to {}; WAL is there behind the damage, which would "
            "be lost. If there is no better copy, --partial-damaged hands out what is before it.",
            best->cut));
  if (best->damage) log_.error(*best->damage);

  // The next one may have been begun before this one got its final name: then it must be whole.
  const auto timelines = archive::Timelines::read(archive_, facts_.listing());
  const auto* const later = find_later(segment, facts_.listing(), timelines, size, true);
  std::uint64_t keep = 0;
  if (best->complete && later != nullptr) {
    keep = size.bytes();
  } else {
    if (later != nullptr)
      return absent(Gap{fmt::format("{} ends at {}, but later WAL is there, too ({})", name,
                                    best->cut, later->name.to_string())},
                    segment.to_string());
    auto cut = best->cut;
    // A descendant of which nothing was archived yet: recovery may be on its way to it, and this
    // timeline's WAL behind the switchpoint is none of it.
    const auto timeline = segment.timeline();
    for (const auto descendant : timelines.descendants(timeline)) {
      const auto end = timelines.history(descendant)->end_of(timeline);
      const auto& segments = facts_.listing().segments;
      const bool archived = std::any_of(segments.begin(), segments.end(), [&](const auto& entry) {
        return entry.name.segment.timeline() == descendant;
      });
      if (archived || !end || size.segno(*end) != segment.segno(size) || *end >= cut) continue;
      log_.warning("{}: what timeline {} wrote behind {}, where timeline {} left it, is left out",
                   name, timeline, *end, descendant);
      cut = *end;
    }
    if (cut.valid()) keep = cut - segment.start(size);
  }
  if (keep == 0) return {false, "no record is complete in " + name};
  deliver(*best, keep, size);
  log_.warning("{} was restored from the unfinished {}: WAL up to {}", segment, name,
               segment.start(size) + keep);
  return {true, {}};
}

/// The first `keep` bytes, and zeros behind them.
void Restorer::deliver(const Partial& partial, std::uint64_t keep, wal::SegmentSize size) {
  Target target(target_directory_, target_name_);
  require_outside(target);
  try {
    archive::read_segment(archive_, partial.name, size, [&](std::span<const std::byte> wal) {
      target.append(wal.first(std::min<std::uint64_t>(wal.size(), keep - target.size())));
    });
  } catch (const TargetError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage || target.size() < keep) throw;
  }
  if (target.size() < keep)
    throw Error(ErrorKind::retry, "the unfinished segment became shorter while it was read")
        .with("file", facts_.path_of(partial.name.to_string()));
  target.append_zeros(size.bytes() - keep);
  check_.check_seam_of({.source = partial.name,
                        .identity = {},
                        .size = size,
                        .first_record = partial.first_record,
                        .records_end = partial.checked ? keep : 0,
                        .previous_record = partial.previous_record},
                       content_of(target));
  target.publish();
}

/// True if the server that recovers has the whole segment in its own pg_wal, sound to its end.
bool Restorer::server_has(wal::SegmentName segment, wal::SegmentSize size) {
  if (!options_.system_identifier) return false;
  const auto entry = target_directory_.find(segment.to_string());
  if (!entry || entry->type != io::DirectoryEntry::Type::file || entry->size != size.bytes())
    return false;
  const auto history = facts_.history_of(segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = *options_.system_identifier,
                                .history = history ? &*history : nullptr},
                               segment.start(size));
  std::optional<wal::Damage> damage;
  archive::read_segment(target_directory_, {segment, Method::none, false}, size,
                        [&](auto wal) { damage = verifier.feed(wal); });
  return !damage && !verifier.unchecked();
}

Result Restorer::absent(const Absence& absence, const std::string& file) {
  if (const auto* fine = std::get_if<Absent>(&absence)) return {false, fine->why};
  const auto& what = std::get<Gap>(absence).what;
  if (options_.gap_is_absence) {
    log_.warning("{} is missing in the archive: {}; told as absent (--on-gap absent)", file, what);
    return {false, what};
  }
  throw Error(ErrorKind::gap, fmt::format("{} is missing in the archive: {}", file, what))
      .with("directory", archive_.path())
      .hint(
          "A recovery that went on without it would end too early and open the database with data "
          "missing. Look for the file on the server that wrote it (pg_wal) or in another archive "
          "and put it here; or set a recovery target before it. For a standby that can stream what "
          "is missing: --on-gap absent.");
}

/// Nothing is written into an archive by a restore. Whatever its path is: the hidden file shows.
void Restorer::require_outside(const Target& target) {
  if (archive_.find(target.temporary_name()))
    throw Error(ErrorKind::usage, "the file would be restored into the archive itself")
        .with("directory", archive_.path());
}

void Restorer::require_wal() {
  if (!facts_.listing().segments.empty() || options_.empty_is_absence) return;
  throw Error(ErrorKind::gap, "there is no WAL at all in the archive directory")
      .with("directory", archive_.path())
      .hint(
          "Is its file system mounted, and is it the right directory? If an empty archive is as it "
          "should be (for a standby that streams): --allow-empty.");
}

// ---- histories

Result Restorer::restore(const HistoryRequest& request) {
  const auto name = wal::history_name(request.timeline);
  require_wal();
  if (options_.system_identifier)
    static_cast<void>(facts_.identity());  // a history does not say whose it is
  const auto timelines = archive::Timelines::read(archive_, facts_.listing());
  if (const auto content = read_checked_history(archive_, request.timeline, facts_.listing(),
                                                timelines, options_.verify)) {
    Target target(target_directory_, target_name_);
    require_outside(target);
    target.append(std::as_bytes(std::span(content->data(), content->size())));
    target.publish();
    return {true, {}};
  }
  return absent(judge_absent_history(request.timeline, facts_.listing(), timelines), name);
}

Result Restorer::restore(const BackupHistoryRequest& request) {
  const auto file = archive_.open_for_reading(request.name);
  if (!file) {
    require_wal();
    return {false, "the archive does not have it"};
  }
  std::vector<std::byte> content(file->size());
  if (file->read_at(0, content) != content.size() || content.empty())
    throw Error(ErrorKind::damage, "the backup history file is empty or changes")
        .with("file", facts_.path_of(request.name));
  Target target(target_directory_, target_name_);
  require_outside(target);
  target.append(content);
  target.publish();
  return {true, {}};
}

}  // namespace

}  // namespace weir::restore
