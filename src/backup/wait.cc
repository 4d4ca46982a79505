#include "backup/wait.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "archive/branch.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/resume.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "backup/reach.h"
#include "base/error.h"
#include "base/units.h"
#include "net/wait.h"
#include "prune/archive_wal.h"
#include "verify/verify.h"

namespace weir::backup {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class Wait {
 public:
  Wait(io::Directory& archive, const archive::BackupPoint& backup, const Options& options)
      : archive_(archive), backup_(backup), options_(options), last_(backup.end->byte() - 1) {}

  void run();

 private:
  /// Why the archive is not durable past the end yet; nullopt: it is.
  std::optional<std::string> why_not_durable(const prune::Line& line);
  void check();

  io::Directory& archive_;
  const archive::BackupPoint& backup_;
  const Options& options_;
  const wal::Lsn last_;  ///< byte of what is needed
};

std::optional<std::string> Wait::why_not_durable(const prune::Line& line) {
  const auto receiver = options_.durable_end ? options_.durable_end() : std::nullopt;
  const auto listing = archive::list_archive_names(archive_);
  const auto identity = archive::read_identity(archive_, listing);
  if (!identity) return "the archive has no complete page of WAL yet";
  const auto& size = identity->segment_size;
  const auto segno = size.segno(last_);
  const wal::SegmentName segment(archive::timeline_of_segment(line.history, segno, size), segno,
                                 size);
  const auto is_it = [&](const archive::SegmentEntry& entry) {
    return entry.name.segment == segment;
  };
  if (std::any_of(listing.segments.begin(), listing.segments.end(),
                  [&](const auto& entry) { return is_it(entry) && !entry.name.partial; }))
    return std::nullopt;
  if (receiver) {
    const bool is_on_the_way = receiver->timeline == segment.timeline() || [&] {
      const auto history = archive::Timelines::read(archive_, listing).history(receiver->timeline);
      return history && history->timeline_of(last_) == line.history.timeline_of(last_);
    }();
    if (is_on_the_way && receiver->flush >= *backup_.end) return std::nullopt;
    return fmt::format(
        "the receiver has flushed WAL up to {} on timeline {}, and the backup ends "
        "at {} on timeline {}",
        receiver->flush, receiver->timeline, *backup_.end, backup_.end_timeline);
  }
  const auto ends = archive::read_timeline_ends(archive_, listing, size);
  const auto end = ends.find(segment.timeline());
  if (end == ends.end() || end->second < *backup_.end)
    return fmt::format("no receiver is running, and the archive ends at {}; the backup ends at {}",
                       end == ends.end() ? wal::Lsn() : end->second, *backup_.end);
  // The writer may have ended before it was durable.
  try {
    for (const auto& entry : listing.segments)
      if (is_it(entry)) archive::sync_unfinished(archive_, entry.name);
  } catch (const Error& error) {
    if (!archive::is_gone(error)) throw;
    return "the last segment of the backup's WAL was completed or removed while it was synced";
  }
  archive_.sync();
  return std::nullopt;
}

/// The same check as `pgweir verify --backup`, up to the backup's end.
void Wait::check() {
  const auto report =
      verify::verify(archive_, {.to = *backup_.end,
                                .jobs = std::clamp(std::thread::hardware_concurrency(), 1U, 4U),
                                .backup = backup_,
                                .stop = options_.stop});
  if (!report.records_checked)
    throw Error(ErrorKind::refused, "the WAL is of a newer PostgreSQL than this pgweir knows")
        .hint("Use a newer pgweir: this version cannot verify the backup's WAL.");
  if (report.backup && report.backup->reaches_consistency) return;
  Error error(ErrorKind::damage, "this archive cannot bring the backup to consistency");
  if (report.backup) error.with("pgweir verify", report.backup->verdict);
  for (const auto& finding : report.findings)
    if (finding.kind != verify::FindingKind::backup) {
      error.with(finding.file.empty() ? "finding" : finding.file, finding.what);
      break;
    }
  throw error.hint(
      "\"pgweir verify\" reports the damage, and \"pgweir import\" can bring valid copies.");
}

void Wait::run() {
  constexpr std::chrono::milliseconds kLook = 200ms, kSlowLook = 1s, kTell = 10s;
  const auto begin = Clock::now();
  auto told = begin - kTell;
  std::string lost;
  for (;;) {
    if (options_.stop()) throw Error(ErrorKind::retry, "stopped while waiting for the archive");
    prune::ArchiveWal wal(archive_, options_.stop);
    const auto reach = find_reach(backup_, wal.lines());
    std::optional<std::string> why = reach.what;
    if (reach.state == Reach::State::covered) why = why_not_durable(*reach.line);
    if (!why) break;
    if (reach.state == Reach::State::lost || reach.state == Reach::State::foreign) {
      // A file that gets another name while the names are read is seen the second time.
      if (lost == *why) {
        const bool foreign = reach.state == Reach::State::foreign;
        throw Error(foreign ? ErrorKind::conflict : ErrorKind::gap, *why)
            .with("backup's start", backup_.start)
            .with("end", *backup_.end)
            .with("timeline", backup_.end_timeline)
            .hint(foreign ? "The histories of the archive and the server differ: see \"pgweir "
                            "status\"."
                          : "This archive cannot bring the backup to consistency. Take another "
                            "one; if WAL is missing, see \"pgweir status\".");
      }
      lost = *why;
    } else {
      lost.clear();
    }
    const auto now = Clock::now();
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(now - begin);
    if (waited >= options_.wait)
      throw Error(ErrorKind::retry,
                  fmt::format("the archive did not get the WAL of the backup within {}",
                              format_duration(options_.wait)))
          .with("reason", *why)
          .hint(
              "Check that the receiver of this archive runs, and how far it lags behind (\"pgweir "
              "status\"). --wait TIME waits longer.");
    if (now - told >= kTell) {
      options_.tell("waiting for the archive: " + *why);
      told = now;
    }
    static_cast<void>(
        net::pause(*options_.interrupt, now - begin < kSlowLook * 2 ? kLook : kSlowLook));
  }
  options_.tell(
      fmt::format("checking the archive's WAL from {} to {}", backup_.start, *backup_.end));
  check();
}

}  // namespace

void wait_for_wal(io::Directory& archive, const archive::BackupPoint& backup,
                  const Options& options) {
  Wait(archive, backup, options).run();
}

}  // namespace weir::backup
