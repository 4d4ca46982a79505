// A failed sync of the archive ends `receive --serve`, regardless of which part started it
// (`ArchiveLook`): the receiver would sync the same file again, and trust the second result (P6).
// `pgweir serve` alone has no receiver in its process, and continues to serve what it had
// announced. It announces nothing newer, since another sync would prove nothing, and reports that:
// clients that have caught up get an error instead of keepalives. A directory that was replaced
// ends all sessions. The process stays, so that `pgweir status` and the page can show why.

#include "relay/archive_look.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "archive/identity.h"
#include "archive/listing.h"
#include "io/posix_directory.h"

namespace weir::relay {

namespace {

/// Names are read for a twentieth of the time at most, however many there are.
constexpr int kShare = 20;
/// While the names do not change, writers are looked up less often: that reads all of /proc.
constexpr int kWriterShare = 1000;
/// Maximum interval for checking whether a writer has exited: the WAL it left is served then.
constexpr std::chrono::seconds kWriterEnds(5);
constexpr int kNewest = 8;
/// Interval for reading names that were reported as unchanged.
constexpr std::chrono::seconds kUnchanged(10);

/// A receiver that starts, and reaches its server, has rewritten a broken segment within this time.
constexpr std::chrono::seconds kMended(5);

wire::ErrorReport report_of(const archive::Break& broken) {
  return {"57P03",
          fmt::format("the WAL of this archive breaks off at {}: file \"{}\", offset {}", broken.at,
                      broken.file, broken.offset),
          fmt::format("{}. There is more WAL after it, which cannot be used.", broken.what),
          "All WAL before that position has been sent. The server's log has details."};
}

/// After a failed sync: another one could succeed without the WAL being on disk. Or of a timeline
/// that does not continue the served WAL.
wire::ErrorReport report_of(const Error& why) {
  return {"57P03", "no newer WAL of this archive can be served", why.message(),
          "All WAL before that has been sent. The server's log has details."};
}

/// The last few complete segments and histories: new files are among them.
std::vector<std::string> newest_names(io::Directory& archive) {
  const auto listing = archive::list_archive_names(archive);
  std::vector<std::string> names;
  for (auto entry = listing.segments.rbegin();
       entry != listing.segments.rend() && names.size() < kNewest; ++entry)
    // Another format of the same segment is not new.
    if (!entry->name.partial) names.push_back(entry->name.segment.to_string());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const auto& history : listing.histories)
    names.push_back(wal::history_name(history.timeline));
  return names;
}

}  // namespace

ArchiveLook::ArchiveLook(io::Directory& archive, const Cluster& cluster, archive::AskDurableEnd ask,
                         FindWriter find_writer, NamesChanged names_changed, Hub& hub, Log& log,
                         Threads& threads, std::function<void(const Error&)> durability_lost)
    : archive_(archive),
      cluster_(cluster),
      ask_(std::move(ask)),
      find_writer_(std::move(find_writer)),
      names_changed_(std::move(names_changed)),
      hub_(hub),
      log_(log),
      threads_(threads),
      durability_lost_(std::move(durability_lost)) {}

void ArchiveLook::look() {
  if (replaced_) return;
  std::optional<Error> error;
  try {
    if (!look_now()) return;
  } catch (const Error& failure) {
    // After a failed fsync the state of the disk is unknown, and another fsync proves nothing.
    if (durability_lost_ && failure.kind() == ErrorKind::durability) durability_lost_(failure);
    error = failure;
  } catch (const std::exception& failure) {
    error = Error(ErrorKind::retry, failure.what());
  }
  if (error) failed(*error);
  if (sync_failed_ && error) {
    hub_.set_break(hub_.served()->end, report_of(*sync_failed_));
    error = sync_failed_;
  } else if (foreign_) {
    hub_.set_break(hub_.served()->end, report_of(*foreign_));
  }
  // (WAL that is still being copied is not one.)
  hub_.set_problem(error && error->kind() != ErrorKind::retry ? error : foreign_);
  if (!error) last_error_.clear();
}

/// A repeated error is not logged again.
void ArchiveLook::failed(const Error& error) {
  const std::string what = error.what();
  if (std::exchange(last_error_, what) == what) return;
  if (error.kind() != ErrorKind::durability)
    return log_.warning("could not check the archive for new WAL: {}; retrying", what);
  if (sync_failed_) return;
  sync_failed_ =
      Error(ErrorKind::durability, fmt::format("a flush of the archive failed: {}", what))
          .hint(
              "No newer WAL is served until this process is restarted, except for WAL that a "
              "running receiver has flushed. Check the disk and the kernel log. The page cache may "
              "contain WAL that is not on disk: start the receiver, or restart the machine, before "
              "you restart this process.");
  log_.error(*sync_failed_);
}

/// False: nothing was determined, because it is not time yet.
bool ArchiveLook::look_now() {
  if (threads_.now() >= next_identity_ && end_if_replaced()) return false;
  const auto durable = ask_();
  if (!durable) return look_at_names();
  next_look_ = {};
  looked_at_end_ = false;  // once it streams no longer: its last answer may precede what it left
  next_end_ = {};
  judge(std::nullopt);  // it rewrites the broken WAL
  const auto served = hub_.served();
  const bool is_served = durable->timeline == served->timeline();
  if (is_served && !served->lacks_ancestors()) {
    tell(served->history, durable->flush);
  } else if (durable->timeline >= served->timeline()) {
    const auto history = history_of(archive_, durable->timeline);
    if (!history && !is_served)
      throw Error(ErrorKind::damage, "a timeline's history file is broken")
          .with("file", wal::history_name(durable->timeline));
    tell(history.value_or(served->history), durable->flush);
  }
  return true;
}

/// True: nothing is served any more. Clients that have caught up would otherwise believe that all
/// is well, and others would get WAL that does not belong together.
bool ArchiveLook::end_if_replaced() {
  if (durability_lost_) return false;
  const auto error = why_replaced();
  if (!error) return false;
  replaced_ = true;
  log_.error(*error);
  hub_.set_problem(error);
  hub_.abandon({"57P03", "the archive that was served here is gone", error->message(),
                "The server's log has details."});
  return true;
}

std::optional<Error> ArchiveLook::why_replaced() {
  constexpr auto kRestart =
      "Nothing is served until pgweir serve is restarted; it then serves the directory's present "
      "WAL. Clients of the previous archive need its WAL from elsewhere, or a new base backup.";
  const auto begin = threads_.now();
  try {
    io::require_found(archive_);
  } catch (const Error& error) {
    return error;
  }
  const auto listing = archive::list_archive_names(archive_);
  const bool was_empty = std::exchange(empty_, listing.segments.empty());
  // (A single segment that is renamed at this moment may be missing in one listing.)
  if (empty_ && !was_empty) {
    next_identity_ = {};
    return std::nullopt;
  }
  if (empty_)
    return Error(ErrorKind::conflict, "the archive that is served no longer has any WAL")
        .with("directory", archive_.path())
        .hint(kRestart);
  const auto found = archive::read_identity(archive_, listing);
  if (found && (found->system_identifier != cluster_.system_identifier ||
                found->segment_size != cluster_.segment_size))
    return Error(ErrorKind::conflict, "the directory now has WAL of another cluster")
        .with("directory", archive_.path())
        .with("system identifier", found->system_identifier)
        .with("served", cluster_.system_identifier)
        .with("file", found->file)
        .hint(kRestart);
  const auto now = threads_.now();
  next_identity_ = std::max(now + kUnchanged, now + kShare * (now - begin));
  return std::nullopt;
}

bool ArchiveLook::look_at_names() {
  if (sync_failed_) throw Error(*sync_failed_);
  const auto begin = threads_.now();
  if (begin < next_look_) return false;
  if (!names_changed_ || names_changed_()) names_changed_since_ = true;
  const auto next = writer_ ? std::min(next_names_, next_writer_) : next_names_;
  const bool end_is_due = begin >= next_end_ && (!looked_at_end_ || broken_);
  if (!end_is_due && !names_changed_since_ && begin < next) return false;
  if (!end_is_due && begin < next_writer_ && read_names() == finished_) {
    have_seen_names();
    return true;
  }
  // Before the names: what it finishes meanwhile is found next time.
  auto writer = find_writer_ ? find_writer_() : std::nullopt;
  if (find_writer_) {
    const auto now = threads_.now();
    const auto rarely = kWriterShare * (now - begin);
    next_writer_ = now + (writer ? std::min<Threads::Time::duration>(rarely, kWriterEnds) : rarely);
  }
  auto names = read_names();
  const bool gone = writer_ && !writer;
  if (names != finished_ || gone || end_is_due) {
    if (end_if_replaced()) return false;
    look_at_end(writer ? Counts::finished : Counts::everything);
    finished_ = std::move(names);
  }
  if (gone)
    log_.info("{} no longer writes to the archive; now serving up to {}", *writer_,
              hub_.served()->end);
  if (writer && !writer_)
    log_.info(
        "{} writes to the archive, and cannot be queried for its flush position: only complete "
        "segments are served",
        *writer);
  writer_ = std::move(writer);
  have_seen_names();
  return true;
}

void ArchiveLook::look_at_end(Counts counts) {
  const auto begin = threads_.now();
  const auto served = hub_.served();
  const auto& size = cluster_.segment_size;
  const wal::SegmentName last(served->timeline(), size.segno(served->end), size);
  const auto found = find_served(archive_, size, counts, last);
  const bool being_copied = found && found->being_copied;
  looked_at_end_ = !being_copied;
  if (found) tell(found->history, found->end);
  const auto now = threads_.now();
  next_end_ = now + kShare * (now - begin);
  if (being_copied) return;  // then it is not known whether the WAL breaks off
  next_end_ = std::max(next_end_, now + kUnchanged);
  judge(found);
  if (broken_ && !told_break_) next_end_ = std::max(broken_since_ + kMended, now);
}

/// Handles errors in the WAL found; nullopt: a receiver streams, so there are none.
void ArchiveLook::judge(const std::optional<FoundEnd>& found) {
  if (found && found->damage && std::exchange(told_damage_, found->damage->what()) != told_damage_)
    log_.error(Error(*found->damage)
                   .hint("The WAL before it and after it is served; a client that reaches it gets "
                         "an error. Nothing has to be restarted once the file is repaired."));
  auto broken = found ? found->broken : std::nullopt;
  if (!broken) {
    clear_break();
    if (told_break_)
      log_.info("{} no longer breaks off; now serving up to {}", broken_->file, hub_.served()->end);
    broken_.reset();
    told_break_ = false;
    return;
  }
  const auto now = threads_.now();
  if (broken_ != broken) {
    clear_break();
    broken_ = std::move(broken);
    broken_since_ = now;
    told_break_ = false;
    return;
  }
  if (now < broken_since_ + kMended) return;
  hub_.set_break(found->end, report_of(*broken_));
  if (std::exchange(told_break_, true)) return;
  log_.warning(
      "the unfinished WAL of the archive breaks off at {}, file {}, offset {}: {}; there is more "
      "WAL after it. After a power loss, this is harmless: no confirmed WAL is missing, and a "
      "receiver that reaches its server writes the segment again. Otherwise confirmed WAL is "
      "damaged, and a recovery ends here. \"pgweir verify\" shows the details. Clients get the "
      "WAL before that position, and then an error",
      broken_->at, broken_->file, broken_->offset, broken_->what);
}

/// The one of a foreign timeline stays until that is over: clients are not woken at each look.
void ArchiveLook::clear_break() {
  if (!foreign_) hub_.set_break({}, std::nullopt);
}

std::vector<std::string> ArchiveLook::read_names() {
  const auto begin = threads_.now();
  auto names = newest_names(archive_);
  const auto now = threads_.now();
  // A single slow read is due to the machine or the disk, not to the number of names.
  next_look_ = now + kShare * std::min(now - begin, names_took_);
  names_took_ = now - begin;
  return names;
}

void ArchiveLook::have_seen_names() {
  next_names_ = threads_.now() + kUnchanged;
  names_changed_since_ = false;
}

void ArchiveLook::tell(const wal::TimelineHistory& history, wal::Lsn end) {
  switch (hub_.on_durable(history, end)) {
    case ServedEnd::Told::switched:
      log_.info("now serving timeline {} up to {}", history.timeline(), end);
      break;
    case ServedEnd::Told::foreign:
      if (foreign_) return;
      foreign_ = Error(ErrorKind::conflict,
                       "the archive has a timeline that does not continue the served WAL")
                     .with("timeline", history.timeline())
                     .with("served", hub_.served()->timeline())
                     .hint(
                         "The WAL served so far is still served, but nothing newer. If the "
                         "newer timeline is the right one, restart.");
      return log_.error(*foreign_);
    case ServedEnd::Told::nothing:
    case ServedEnd::Told::further:
      break;
  }
  if (!foreign_) return;
  foreign_.reset();
  clear_break();
}

}  // namespace weir::relay
