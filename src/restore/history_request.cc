#include "restore/history_request.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "archive/look_again.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "restore/absence.h"
#include "restore/history.h"
#include "store/shelf/near_shelf.h"

namespace weir::restore {

namespace {

/// A recovery to the latest timeline looks for each in turn, and ends its search at the first that
/// is missing (findNewestTimeLine() in access/transam/timeline.c).
void tell_skipped(wal::TimelineId timeline, const archive::Timelines& timelines, Log& log) {
  const auto known = timelines.known();
  const auto newer = std::upper_bound(known.begin(), known.end(), timeline);
  if (timeline <= 1 || newer == known.end()) return;
  log.warning(
      "{} is not in the archive, but {} is: with recovery_target_timeline = 'latest', PostgreSQL "
      "does not look for timeline {} after this. To follow it, set recovery_target_timeline = '{}'",
      wal::history_name(timeline), wal::history_name(known.back()), known.back(), known.back());
}

/// nullopt: must be retried.
std::optional<Result> restore_once(Archives& archives, Answer& answer, wal::TimelineId timeline,
                                   bool again) {
  const auto name = wal::history_name(timeline);
  archives.require_wal();
  if (answer.options().system_identifier || archives.several())
    static_cast<void>(archives.identity());  // a history does not name its cluster
  if (const auto content = read_agreed_history(archives, timeline, answer.options().verify,
                                               answer.options().first_sound, answer.log())) {
    answer.put(std::as_bytes(std::span(content->data(), content->size())));
    return Result{true, {}};
  }
  const auto timelines = archives.timelines();
  const auto identity = archives.identity();
  const auto holes =
      identity ? archives.known_holes(identity->segment_size) : std::vector<KnownHole>();
  auto absence = judge_absent_history(timeline, archives.listing(), timelines, holes);
  // Names that are not of files are in the listing of one archive only.
  if (archives.several())
    archives.ask_each([&](std::size_t i) {
      auto own = judge_absent_history(timeline, archives.at(i).listing(), timelines, holes);
      if (std::holds_alternative<Gap>(own)) absence = std::move(own);
    });
  archives.require_answers(name);
  auto* const stored = answer.options().stored;
  if (const auto* const absent = std::get_if<Absent>(&absence);
      absent != nullptr && absent->reason == Absent::Reason::end && stored != nullptr)
    if (auto gap = told_of(timeline, stored->told(), timelines)) {
      stored->look_again();  // it may have been stored since the last look-up
      if (!again) return std::nullopt;
      absence = std::move(*gap);
    }
  if (const auto* const absent = std::get_if<Absent>(&absence);
      absent != nullptr && absent->reason == Absent::Reason::end)
    if (auto gap = archives.recorded(timeline)) absence = std::move(*gap);
  if (std::holds_alternative<Absent>(absence)) tell_skipped(timeline, timelines, answer.log());
  return answer.absent(absence, name);
}

}  // namespace

Result restore_history(Archives& archives, Answer& answer, wal::TimelineId timeline) {
  bool again = false;
  for (int look = 0;; ++look) {
    try {
      auto result = restore_once(archives, answer, timeline, again);
      if (!result) {
        again = true;
        archives.forget();
        continue;
      }
      if (result->restored) answer.tell_silence(wal::history_name(timeline));
      return std::move(*result);
    } catch (const TargetError&) {
      throw;
    } catch (const Error& error) {
      // The segment that it is compared with was completed or compressed meanwhile.
      if (!archive::is_gone(error) || look + 1 == archive::kMostLooksAtArchive) throw;
      archives.forget();
    }
  }
}

Result restore_backup_history(Archives& archives, Answer& answer, const std::string& name) {
  // It does not name its cluster, and several archives must be of one cluster.
  if (archives.several() && !answer.options().first_sound) static_cast<void>(archives.identity());
  std::vector<std::byte> content;
  std::string path;
  archives.ask_each([&](std::size_t i) {
    if (!content.empty() && answer.options().first_sound) return;
    const auto file = archives.shelf(i).open_bytes(name);
    if (!file) return;
    std::vector<std::byte> found(file->size());
    auto found_path = archives.at(i).path_of(name);
    if (file->read_at(0, found) != found.size() || found.empty())
      throw Error(ErrorKind::damage, "the backup history file is empty or changes")
          .with("file", found_path);
    if (!content.empty() && found != content)
      throw Contradiction(ErrorKind::conflict,
                          "two archives have different copies of the backup history file")
          .with("file", path)
          .with("and", found_path)
          .hint("Compare the two, and move the wrong one away.");
    content = std::move(found);
    path = std::move(found_path);
  });
  if (content.empty()) {
    archives.require_wal();
    archives.require_answers(name);
    return {false, "the archive does not have it"};
  }
  answer.put(content);
  answer.tell_silence(name);
  return {true, {}};
}

}  // namespace weir::restore
