// Resume at a segment's first byte, not in the middle: at most one segment is received twice, and
// the verifier starts at a long page header that identifies cluster and timeline.

#include "archive/resume.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "archive/border.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/home.h"
#include "archive/look_again.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/served_start.h"
#include "base/buffer.h"
#include "base/error.h"
#include "io/file_removed.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/records.h"

namespace weir::archive {

namespace {

constexpr std::size_t kPiece = 256 * 1024;
/// Number of bytes read from the end of a large complete segment, at each connection, to verify
/// that it is complete.
constexpr std::uint64_t kTail = std::uint64_t{16} << 20;

/// The partial file into which streaming writes; nullptr if it does not exist.
const SegmentEntry* raw_partial(const SegmentForms& forms) {
  const auto raw = std::find_if(
      forms.partial.begin(), forms.partial.end(),
      [](const SegmentEntry& entry) { return entry.name.method == codec::Method::none; });
  return raw == forms.partial.end() ? nullptr : &*raw;
}

/// The bytes of a record whose continuation was overwritten are not covered by a checksum: a crash
/// may have lost some of them undetected. Trusted WAL starts after the newest such record.
class OverwriteWatch final : public wal::RecordObserver {
 public:
  bool wants(const wal::RecordHeader&) override { return false; }
  [[nodiscard]] bool needs_xlog_only() const override { return true; }
  void on_record(wal::Lsn start, wal::Lsn, const wal::RecordHeader& header,
                 std::span<const std::byte>) override {
    if (wal::is_xlog(header, wal::XlogRecord::overwrite_contrecord)) newest = start;
  }
  wal::Lsn newest;
};

class Finder {
 public:
  Finder(io::Shelf& directory, const Listing& listing, wal::SegmentSize size)
      : directory_(directory),
        size_(size),
        timeline_(listing.segments.back().name.segment.timeline()) {
    const auto begin = std::partition_point(
        listing.segments.begin(), listing.segments.end(),
        [&](const SegmentEntry& entry) { return entry.name.segment.timeline() < timeline_; });
    for (const auto& forms : EachSegmentForms(std::span(begin, listing.segments.end()))) {
      const auto segment = forms.segment();
      if (!segment.fits(size))
        throw Error(ErrorKind::conflict, "the file name does not match the segment size")
            .with("path", path_of(forms.best()))
            .with("segment size", size.bytes())
            .hint("The file belongs to a cluster with a different wal_segment_size: move it away.");
      add(segment.segno(size), forms);
    }
    for (const auto& loss : read_losses(directory, listing))
      if (loss.kind == Loss::Kind::hole && loss.next_timeline == timeline_ &&
          loss.segment_size == size)
        behind_holes_.insert(size.segno(loss.end));
  }

  ResumePoint find() {
    for (const SegmentEntry& entry : newest_) require_complete(entry);
    ResumePoint point;
    const auto next = find_start(point);
    point.unfinished_end = size_.start(last_ + 1);
    for (const auto& [segno, open] : unfinished_)
      if (segno >= next) point.open.push_back(examine(segno, open));
    find_sound_end(point);
    return point;
  }

  ServedStart find_for_readers() {
    ServedStart found;
    found.timeline = timeline_;
    found.damage = damage_of_newest();
    if (found.damage) found.damaged = newest_.front().name.segment;
    ResumePoint point;
    const auto next = find_start(point);
    for (const auto& [segno, open] : unfinished_)
      if (segno >= next) require_fits(open);
    found.start = point.start;
    return found;
  }

 private:
  /// By names alone. The number of the segment there.
  std::uint64_t find_start(ResumePoint& point) {
    point.timeline = timeline_;
    std::uint64_t next = first_.value();  // no complete one: the first partial one
    for (const auto& [begin, end] : finished_) {
      if (begin != next) point.holes.push_back({size_.start(next), size_.start(begin)});
      next = end;
    }
    for (const auto segno : behind_holes_) {
      if (segno <= next || !begun_.contains(segno)) continue;
      point.holes.push_back({size_.start(next), size_.start(segno)});
      next = segno;
    }
    point.start = size_.start(next);
    return next;
  }

  /// One undamaged file is sufficient.
  [[nodiscard]] std::optional<Error> damage_of_newest() {
    std::optional<Error> found;
    for (const SegmentEntry& entry : newest_) {
      try {
        require_complete(entry);
        return std::nullopt;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::damage) throw;
        if (!found) found = error;
      }
    }
    return found;
  }

  /// In the order of their numbers.
  void add(std::uint64_t segno, const SegmentForms& forms) {
    if (!first_) first_ = segno;
    last_ = segno;
    if (const auto* open = raw_partial(forms)) unfinished_.emplace(segno, *open);
    if (forms.finished.empty()) {
      begun_.insert(segno);
      return;
    }
    newest_ = forms.finished;
    if (!finished_.empty() && finished_.back().second == segno)
      ++finished_.back().second;
    else
      finished_.emplace_back(segno, segno + 1);
  }

  [[nodiscard]] std::string path_of(const SegmentEntry& entry) const {
    return directory_.path() + "/" + entry.name.to_string();
  }

  /// Streaming is about to resume after this file, and the server to remove its own copy. The right
  /// size is not sufficient, because a file copied from a pg_wal always has it: the segment that
  /// the server was still writing ends early, and the segments after it are old ones under the
  /// names of future WAL. Resuming after them would leave an undetected hole.
  void require_complete(const SegmentEntry& entry) {
    const bool raw = entry.name.method == codec::Method::none;
    const auto file = directory_.open_bytes(entry.name.to_string());
    if (!file)
      throw Error(ErrorKind::io, "a complete segment has disappeared").with("path", path_of(entry));
    if (raw) require_size(entry, file->size());
    const wal::Lsn start = entry.name.segment.start(size_);
    wal::RecordVerifier::Options options;
    options.segment_size = size_;
    options.timeline = timeline_;
    // Valid WAL to the end is sufficient, but after an xlog switch there is no record to start
    // with.
    if (raw && size_.bytes() > kTail &&
        is_sound_from(*file, start + (size_.bytes() - kTail), options))
      return;
    wal::RecordVerifier verifier(options, start);
    std::optional<wal::Damage> damage;
    std::uint64_t bytes = 0;
    try {
      read_content(*file, entry.name.method, path_of(entry), [&](auto wal) {
        bytes += wal.size();
        if (!damage) damage = verifier.feed(wal);
        return raw ? !damage : bytes <= size_.bytes();
      });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      throw Error(error).hint(kRemedy);
    }
    if (!raw) require_size(entry, bytes);
    if (!damage) {
      remember(std::move(verifier));
      return;
    }
    // An xlog switch that starts in the segment before, and leaves all of this one empty.
    if (!verifier.newest_record_start().valid() &&
        verifier_at(directory_, options, start + size_.bytes()).newest_record_start().valid())
      return;
    const bool never_begun =
        damage->is_unwritten && size_.offset(damage->found_at) < wal::kLongHeaderSize;
    throw Error(ErrorKind::damage, "the newest complete segment is not valid WAL to its end")
        .with("path", path_of(entry))
        .with("at", damage->at)
        .with("found", damage->what)
        .hint(never_begun ? kNeverBegun : kEndsEarly);
  }

  void require_size(const SegmentEntry& entry, std::uint64_t bytes) const {
    if (bytes == size_.bytes()) return;
    throw Error(ErrorKind::damage, "the newest complete segment has the wrong size")
        .with("path", path_of(entry))
        .with("size", bytes)
        .with("expected", size_.bytes())
        .hint(kRemedy);
  }

  /// It has read the complete segments to their end.
  void remember(wal::RecordVerifier verifier) {
    if (verifier.newest_record_start().valid()) before_ = std::move(verifier);
  }

  [[nodiscard]] bool is_sound_from(io::Bytes& raw, wal::Lsn begin,
                                   const wal::RecordVerifier::Options& options) {
    wal::RecordVerifier verifier(options, begin);
    Buffer buffer(kPiece);
    for (auto at = size_.offset(begin); at < size_.bytes();) {
      const auto count = raw.read_at(at, buffer);
      if (count == 0 || verifier.feed(std::span(buffer).first(count))) return false;
      at += count;
    }
    remember(std::move(verifier));
    return true;
  }

  void require_fits(const SegmentEntry& entry) const {
    if (entry.bytes.value() > size_.bytes())
      throw Error(ErrorKind::conflict, "a partial segment is longer than a segment")
          .with("path", path_of(entry))
          .with("size", *entry.bytes)
          .with("segment size", size_.bytes())
          .hint(
              "It belongs to a cluster with a different wal_segment_size, or is damaged: move it "
              "away.");
  }

  /// Determines how much of a partial segment is valid WAL.
  OpenSegment examine(std::uint64_t segno, const SegmentEntry& entry) {
    require_fits(entry);
    const wal::Lsn start = size_.start(segno);
    OpenSegment open{start, start, start};
    const auto file = directory_.open_bytes(entry.name.to_string());
    if (!file)
      throw Error(ErrorKind::io, "a partial segment has disappeared").with("path", path_of(entry));
    OverwriteWatch watch;
    wal::RecordVerifier::Options options;
    options.segment_size = size_;
    options.timeline = timeline_;
    options.observer = &watch;
    wal::RecordVerifier verifier(options, start);
    // The written part ends where the verifier finds an error: after it there are zeros, or the
    // remains of the last writes before a crash.
    read_content(*file, codec::Method::none, path_of(entry),
                 [&](auto raw) { return !verifier.feed(raw); });
    if (verifier.unchecked() || !verifier.first_record_start().valid()) return open;
    open.first_record = std::max(verifier.first_record_start(), watch.newest);
    open.trusted_end = std::max(open.first_record, verifier.records_end());
    return open;
  }

  /// A record that crosses a boundary has its checksum in its first part, so the complete segments
  /// before the partial ones are included.
  void find_sound_end(ResumePoint& point) {
    point.sound_end = point.unbroken_end = point.start;
    const auto& open = point.open;
    if (open.empty() || open.front().start != point.start) return;
    const bool known = before_ && before_->position() == point.start;
    auto verifier = known ? std::move(*before_)
                          : verifier_at(directory_, {.segment_size = size_, .timeline = timeline_},
                                        point.start);
    std::optional<wal::Damage> damage;
    for (std::size_t i = 0; i < open.size() && open[i].start == verifier.position(); ++i) {
      const bool last = i + 1 == open.size() || open[i + 1].start != open[i].start + size_.bytes();
      const wal::SegmentName segment(timeline_, size_.segno(open[i].start), size_);
      const auto name = SegmentFileName{segment, codec::Method::none, true}.to_string();
      const auto file = directory_.open_bytes(name);
      if (!file) throw system_error(ENOENT, "a partial segment has disappeared");
      // After a record that starts in the segment, examine() has read everything.
      const auto joins = [&] { return last && verifier.last_record_start() >= open[i].start; };
      read_content(*file, codec::Method::none, directory_.path() + "/" + name, [&](auto raw) {
        damage = verifier.feed(raw);
        return !damage && !joins();
      });
      if (joins()) {
        point.sound_end = point.unbroken_end = open[i].trusted_end;
        return;
      }
    }
    // (For a server version newer than the supported ones, the end of the WAL cannot be
    // determined.)
    if (verifier.unchecked()) return;
    point.sound_end = std::max(point.start, verifier.records_end());
    point.unbroken_end =
        std::max(point.sound_end, damage ? end_of_break(*damage) : verifier.position());
  }

  /// The zeros behind the received part of a record count as its rest: it fails at its end, or at
  /// the next page.
  [[nodiscard]] wal::Lsn end_of_break(const wal::Damage& damage) const {
    if (!damage.record) return damage.found_at;
    auto end = damage.at;
    for (std::uint64_t left = damage.record->total_length;;) {
      const auto room = wal::kPageSize - end.byte() % wal::kPageSize;
      if (left <= room) return std::max(damage.found_at, end + left);
      left -= room;
      end = end + room;
      end = end + (size_.offset(end) == 0 ? wal::kLongHeaderSize : wal::kShortHeaderSize);
    }
  }

  static constexpr std::string_view kRemedy =
      "Another program or a disk fault has truncated it. Keep the file, it may be the only copy: "
      "\"pgweir import --replace-damaged\" repairs it from another copy, such as the server's "
      "pg_wal or a second archive. If only the server has the segment, move the file out of the "
      "archive, and it is received again.";

  static constexpr std::string_view kEndsEarly =
      "It was damaged, or copied from a pg_wal while the server was writing it (or had recycled an "
      "old file). Keep it, it may be the only copy: \"pgweir import --replace-damaged\" repairs it "
      "from another copy, such as the server's pg_wal or a second archive. If only the server has "
      "the segment, move the file out of the archive, and it is received again.";
  static constexpr std::string_view kNeverBegun =
      "The file has no WAL of this segment. If it was copied from the pg_wal of a server, which "
      "prepares files for later use, move it out of the archive, and each one of this kind before "
      "it (\"pgweir verify\" reports them). Otherwise, \"pgweir import --replace-damaged\" repairs "
      "it from another copy.";

  io::Shelf& directory_;
  const wal::SegmentSize size_;
  const wal::TimelineId timeline_;
  // Segments of the timeline, by number.
  std::optional<std::uint64_t> first_;
  std::uint64_t last_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> finished_;  ///< from … to before
  std::vector<SegmentEntry> newest_;                               ///< files of the last of these
  std::map<std::uint64_t, SegmentEntry> unfinished_;  ///< the file into which streaming writes
  std::set<std::uint64_t> begun_;                     ///< partial, in any format
  std::set<std::uint64_t> behind_holes_;              ///< after a hole that was accepted
  std::optional<wal::RecordVerifier> before_;         ///< has read the newest complete segment
};

bool copy(io::Bytes& from, Draft& to) {
  Buffer buffer(kPiece);
  for (std::uint64_t at = 0;;) {
    const auto count = from.read_at(at, buffer);
    if (count == 0) return true;
    to.write(std::span(buffer).first(count));
    at += count;
  }
}

std::optional<wal::SegmentName> newest_finished(const Listing& listing) {
  const auto newest = std::find_if(listing.segments.rbegin(), listing.segments.rend(),
                                   [](const SegmentEntry& entry) { return !entry.name.partial; });
  if (newest == listing.segments.rend()) return std::nullopt;
  return newest->name.segment;
}

}  // namespace

std::optional<ResumePoint> find_resume_point(io::Shelf& directory, const Listing& listing,
                                             wal::SegmentSize segment_size) {
  if (listing.segments.empty()) return std::nullopt;
  return Finder(directory, listing, segment_size).find();
}

std::optional<ServedStart> find_served_start(io::Shelf& directory, const Listing& listing,
                                             wal::SegmentSize segment_size) {
  if (listing.segments.empty()) return std::nullopt;
  return Finder(directory, listing, segment_size).find_for_readers();
}

void make_end_durable(io::Directory& directory, const Listing& listing) {
  if (const auto newest = newest_finished(listing)) sync_finished(directory, *newest);
  directory.sync();
}

bool rewrite_unsynced_end(io::Directory& directory, const Listing& listing) {
  const auto newest = newest_finished(listing);
  if (!newest || !directory.find(std::string(kSyncMark))) return false;
  for (const auto& form : finished_names(*newest)) {
    const auto name = form.to_string();
    const auto file = directory.open_bytes(name);
    if (!file) continue;
    DirectoryHome home(directory);
    home.publish({.name = name, .replace = true}, [&](Draft& draft) { return copy(*file, draft); });
  }
  return true;
}

void sync_unfinished(io::Directory& directory, const SegmentFileName& name) {
  // Another process has completed it, after flushing it, or removed it.
  constexpr const char* kGone = "the segment file is gone";
  const auto file = directory.open_for_reading(name.to_string());
  if (!file) throw system_error(ENOENT, kGone);
  try {
    file->sync();
  } catch (const io::FileRemoved&) {
    throw system_error(ENOENT, kGone);
  }
  file->close();
}

bool sync_if_present(io::Directory& directory, const std::string& name) {
  for (int looks = 1;; ++looks) {
    const auto file = directory.open_for_reading(name);
    if (!file) return false;
    try {
      file->sync();
      file->close();
      return true;
    } catch (const io::FileRemoved&) {
      // A receiver that starts may have replaced it (rewrite_unsynced_end()).
      if (looks == kMostLooksAtSegment) throw;
    }
  }
}

namespace {

/// Returns false if there is no such segment.
bool sync_finished_if_present(io::Directory& directory, wal::SegmentName segment) {
  bool synced = false;
  for (const auto& form : finished_names(segment)) {
    const auto name = form.to_string();
    try {
      synced = sync_if_present(directory, name) || synced;
    } catch (const Error&) {
      // Removed while it was open, because there is another file now? If this cannot be determined
      // it counts as a failed fsync, which is not repeated (P6), and not as another error.
      bool there = true;
      try {
        there = directory.find(name).has_value();
      } catch (const Error&) {
      }
      if (there) throw;
    }
  }
  return synced;
}

}  // namespace

void sync_finished(io::Directory& directory, wal::SegmentName segment) {
  if (!sync_finished_if_present(directory, segment))
    throw Error(ErrorKind::io, "a complete segment has disappeared")
        .with("path", directory.path() + "/" + segment.to_string())
        .hint("Another program removed it while the archive was being read. Start again.");
}

bool was_changed_within(io::Directory& directory, const std::string& name,
                        std::chrono::seconds time, std::chrono::system_clock::time_point now) {
  const auto identity = io::identity_of(directory, name);
  if (!identity) return false;
  const auto age = now.time_since_epoch() - std::chrono::nanoseconds(identity->changed_ns);
  return age < time && age > -time;  // a time in the future is that of another clock
}

void sync_copies(io::Directory& directory, const Listing& listing,
                 const std::optional<wal::SegmentName>& durable_before,
                 std::chrono::system_clock::time_point now) {
  constexpr int kMostUnchanged = 100;  // each costs a round trip on a network file system
  std::optional<wal::SegmentName> seen;
  int unchanged = 0;
  for (auto entry = listing.segments.rbegin(); entry != listing.segments.rend(); ++entry) {
    const auto& segment = entry->name.segment;
    if (entry->name.partial || seen == segment) continue;
    if (seen) {
      if (durable_before && segment < *durable_before) return;
      if (!was_changed_within(directory, entry->name.to_string(), kWrittenBack, now)) {
        if (++unchanged == kMostUnchanged) return;
        continue;
      }
      sync_finished_if_present(directory, segment);
    }
    seen = segment;
  }
}

void make_end_durable(io::Directory& directory, const Listing& listing, const ResumePoint& resume,
                      wal::SegmentSize segment_size) {
  for (const auto& open : resume.open) {
    const wal::SegmentName segment(resume.timeline, segment_size.segno(open.start), segment_size);
    sync_unfinished(directory, SegmentFileName{segment, codec::Method::none, true});
  }
  const auto newest = newest_finished(listing);
  const std::string mark(kSyncMark);
  if (newest && !directory.find(mark)) directory.create(mark)->close();
  make_end_durable(directory, listing);
  if (newest) directory.remove(mark);
}

}  // namespace weir::archive
