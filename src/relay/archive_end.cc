#include "relay/archive_end.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "archive/border.h"
#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/resume.h"
#include "archive/segment_reader.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::relay {

namespace {

/// Files get other names while they are looked at: then once more.
constexpr int kLooks = 5;

/// A timeline on which the end was looked for, from a segment's first byte on.
struct LookedAt {
  wal::TimelineId timeline = 0;
  wal::Lsn from;
};

/// The files of a timeline that say what lies before `end`: those that were read to find it, and
/// the finished one before them.
void make_durable(io::Directory& archive, const archive::Listing& listing, const LookedAt& looked,
                  wal::Lsn end, wal::SegmentSize size, Counts counts) {
  std::vector<wal::SegmentName> finished;
  std::optional<wal::SegmentName> newest;  // of all timelines: that is make_end_durable()'s
  for (const auto& entry : listing.segments) {
    const auto& segment = entry.name.segment;
    if (!entry.name.partial) newest = segment;
    if (segment.timeline() != looked.timeline || !segment.fits(size)) continue;
    const auto start = segment.start(size);
    if (!entry.name.partial) {
      if (start < looked.from) finished.clear();
      if (start < end && (finished.empty() || finished.back() != segment))
        finished.push_back(segment);
    } else if (counts == Counts::everything && start >= looked.from) {
      archive::sync_unfinished(archive, entry.name);
    }
  }
  for (const auto& segment : finished)
    if (segment != newest) archive::sync_finished(archive, segment);
}

/// A file that is not whole may be on its way in, as by cp: nobody touches it for so long then.
constexpr std::chrono::seconds kStillCopied(60);

constexpr std::string_view kServedAllTheSame =
    "WAL before it and behind it is served; clients that reach it get an error. Keep the file, it "
    "may be the only copy: \"pgweir import --replace-damaged\" repairs finished segments from "
    "another copy, and a receiver that reaches its server writes an unfinished one again. Nothing "
    "has to be restarted.";

/// Reads one form of an unfinished segment, beyond damage, too.
class PastDamage {
 public:
  /// `verifier` stands at the segment's first byte.
  PastDamage(wal::RecordVerifier verifier, wal::RecordVerifier::Options options)
      : verifier_(std::move(verifier)), options_(options), at_(verifier_.position()) {}

  void read(io::Directory& archive, const archive::SegmentFileName& name, wal::SegmentSize size) {
    try {
      archive::read_segment(archive, name, size, [&](std::span<const std::byte> wal) {
        for (; !wal.empty(); wal = take(wal)) {
        }
        return true;
      });
    } catch (const Error& error) {
      // A compressed one ends where its stream breaks off.
      if (error.kind() != ErrorKind::damage) throw;
    }
    take_page();
    end_piece();
  }

  [[nodiscard]] const wal::RecordVerifier& verifier() const { return verifier_; }
  [[nodiscard]] const std::optional<wal::Damage>& damage() const { return damage_; }
  /// Behind the last complete record behind the damage, or the last page there; 0/0: none is.
  [[nodiscard]] wal::Lsn end() const { return end_; }

 private:
  std::span<const std::byte> take(std::span<const std::byte> wal) {
    const auto count = std::min(wal::kPageSize - page_.size(), wal.size());
    page_.insert(page_.end(), wal.begin(), wal.begin() + static_cast<std::ptrdiff_t>(count));
    if (page_.size() == wal::kPageSize) take_page();
    return wal.subspan(count);
  }

  void take_page() {
    if (page_.empty()) return;
    const auto at = std::exchange(at_, at_ + page_.size());
    if (!damage_)
      damage_ = verifier_.feed(page_);
    else
      take_page_behind(at);
    page_.clear();
  }

  /// Of a recycled file pages have other addresses.
  void take_page_behind(wal::Lsn at) {
    page_.resize(std::max(page_.size(), wal::kLongHeaderSize));
    const auto header = wal::decode_page_header(std::span(page_).first(wal::kLongHeaderSize));
    if (!header || header->address != at || !wal::major_version_of_magic(header->magic))
      return end_piece();
    end_ = std::max(end_, at);
    if (!piece_) piece_.emplace(options_, at);
    if (piece_->feed(page_)) end_piece();
  }

  void end_piece() {
    if (piece_) end_ = std::max(end_, piece_->last_record_end());
    piece_.reset();
  }

  wal::RecordVerifier verifier_;
  const wal::RecordVerifier::Options options_;
  wal::Lsn at_;
  std::vector<std::byte> page_;
  std::optional<wal::Damage> damage_;
  std::optional<wal::RecordVerifier> piece_;  ///< of sound WAL behind the damage
  wal::Lsn end_;
};

/// Damage in unfinished segments with more WAL behind it.
struct Interruption {
  archive::SegmentFileName file;
  wal::Damage damage;
  wal::Lsn end;  ///< of the WAL behind it
};

/// Among the segments from `from` on, a segment's first byte; what is finished before is not
/// looked at.
std::optional<Interruption> find_interruption(io::Directory& archive,
                                              const archive::Listing& listing,
                                              wal::TimelineId timeline, wal::Lsn from,
                                              wal::SegmentSize size) {
  std::map<std::uint64_t, std::vector<archive::SegmentFileName>> unfinished;
  for (const auto& forms : archive::segment_forms(listing)) {
    const auto segment = forms.segment();
    if (segment.timeline() != timeline || !segment.fits(size) || segment.start(size) < from ||
        !forms.finished.empty())
      continue;
    for (const auto& entry : forms.partial) unfinished[segment.segno(size)].push_back(entry.name);
  }
  wal::RecordVerifier::Options options;
  options.segment_size = size;
  options.timeline = timeline;
  std::optional<Interruption> found;
  std::optional<wal::RecordVerifier> verifier;
  for (const auto& [segno, names] : unfinished) {
    const auto start = size.start(segno);
    if (!found && (!verifier || verifier->position() != start)) {
      if (verifier) break;  // behind a missing segment there is another piece of WAL
      verifier = archive::verifier_at(archive, options, start);
    }
    const auto before = found ? wal::RecordVerifier(options, start) : *verifier;
    std::optional<Interruption> here;
    wal::Lsn end;
    for (const auto& name : names) {
      PastDamage past(before, options);
      past.read(archive, name, size);
      const auto& damage = past.damage();
      end = std::max({end, past.end(), past.verifier().last_record_end()});
      if (found || past.verifier().unchecked()) continue;
      const auto at = past.verifier().position();
      if (here && here->damage.found_at > at) continue;
      here = Interruption{name, damage.value_or(wal::Damage{at, at, "the file ends here"}), end};
      verifier = past.verifier();
    }
    if (found) {
      found->end = std::max(found->end, end);
    } else if (here && here->damage.found_at < start + size.bytes()) {
      here->end = end;
      found = std::move(here);
    } else if (!here) {
      return std::nullopt;
    }
  }
  if (!found || found->end <= found->damage.found_at) return std::nullopt;
  return found;
}

/// False where somebody is writing just there.
bool is_settled(io::Directory& archive, const Interruption& found, wal::TimelineId timeline,
                const std::optional<io::FileIdentity>& before, const archive::AskDurableEnd& ask) {
  if (io::identity_of(archive, found.file.to_string()) != before) return false;
  const auto durable = ask ? ask() : std::nullopt;
  return !durable || durable->timeline != timeline || found.damage.found_at < durable->flush;
}

/// Not of what is announced: of what is not sound before it.
Error told_of(io::Directory& archive, const Interruption& found, wal::SegmentSize size) {
  return Error(ErrorKind::damage,
               "unfinished WAL of the archive is damaged, with more WAL behind it: " +
                   found.damage.what)
      .with("path", archive.path_of(found.file.to_string()))
      .with("offset", size.offset(found.damage.found_at))
      .with("position", found.damage.at)
      .with("WAL behind it ends at", found.end)
      .hint(std::string(kServedAllTheSame));
}

/// It may be complete soon, and nothing of it has been synced then.
void require_not_being_copied(io::Directory& archive, const archive::SegmentFileName& name) {
  const auto entry = archive.find(name.to_string());
  if (!entry || std::chrono::system_clock::now() - entry->modified >= kStillCopied) return;
  throw Error(ErrorKind::retry, "the newest finished segment is not complete")
      .with("path", archive.path_of(name.to_string()))
      .hint("Another program may be copying it into the archive at this moment.");
}

std::optional<FoundEnd> look(io::Directory& archive, wal::SegmentSize size, Counts counts,
                             const archive::AskDurableEnd& ask) {
  const auto listing = archive::list_archive(archive);
  const auto resume =
      archive::find_resume_point(archive, listing, size, archive::NewestFinished::may_be_damaged);
  if (!resume) return std::nullopt;
  if (resume->cut) require_not_being_copied(archive, *resume->cut);
  std::optional<Error> damage = resume->damage;
  if (damage) damage->hint(std::string(kServedAllTheSame));
  const auto identity_of = [&](const std::optional<Interruption>& found) {
    return found ? io::identity_of(archive, found->file.to_string()) : std::nullopt;
  };
  if (counts == Counts::finished &&
      std::all_of(listing.segments.begin(), listing.segments.end(),
                  [](const auto& entry) { return entry.name.partial; }))
    return std::nullopt;
  // A segment's first byte: all before it is finished.
  const auto end_of = [&](wal::TimelineId timeline, wal::Lsn from) {
    if (counts == Counts::finished) return from;
    const auto end = archive::sound_end(archive, listing, timeline, from, size);
    auto found = find_interruption(archive, listing, timeline, from, size);
    if (!found || found->end <= end) return end;
    // Once more: what looked like damage may have been a write that was under way.
    const auto before = identity_of(found);
    found = find_interruption(archive, listing, timeline, from, size);
    if (!found || found->end <= end || !is_settled(archive, *found, timeline, before, ask))
      return std::max(end, archive::sound_end(archive, listing, timeline, from, size));
    damage = told_of(archive, *found, size);
    return found->end;
  };
  const auto history = history_of(archive, resume->timeline);
  if (!history)
    throw Error(ErrorKind::damage, "a timeline's history file is broken")
        .with("file", wal::history_name(resume->timeline));
  std::vector<LookedAt> looked = {{resume->timeline, resume->start}};
  Served served{*history, end_of(resume->timeline, resume->start)};
  // A receiver begins a new timeline at a segment's first byte, below where that timeline begins.
  while (!served.history.ancestors().empty() &&
         served.end <= *served.history.begin_of(served.timeline())) {
    const auto parent = served.history.ancestors().back();
    looked.push_back({parent.timeline, size.start_of(parent.switchpoint)});
    const auto end = end_of(parent.timeline, looked.back().from);
    // What lies behind the switchpoint is no part of the cluster's history any more. (A receiver
    // that came to a timeline by others on which it archived nothing has not their histories.)
    served = {served.history.of_parent(), std::min(end, parent.switchpoint)};
  }
  for (const auto& each : looked) make_durable(archive, listing, each, served.end, size, counts);
  archive::make_end_durable(archive, listing);  // and the names
  return FoundEnd{std::move(served), std::move(damage)};
}

}  // namespace

std::optional<Cluster> find_cluster(io::Directory& archive) {
  const auto listing = archive::list_archive(archive);
  const auto identity = archive::read_identity(archive, listing);
  if (!identity) return std::nullopt;
  Cluster cluster{identity->system_identifier, identity->segment_size, 0};
  const auto name = archive::SegmentFileName::parse(identity->file);
  PGWEIR_CHECK(name.has_value());  // it was found among the segments
  archive::WalReader reader(archive, {.segment_size = cluster.segment_size,
                                      .timeline = name->segment.timeline(),
                                      .unfinished = true});
  std::array<std::byte, wal::kLongHeaderSize> bytes{};
  const auto read = reader.read(name->segment.start(cluster.segment_size), bytes);
  const auto header = wal::decode_page_header(std::span(bytes).first(read.count));
  const auto major = header ? wal::major_version_of_magic(header->magic) : std::nullopt;
  if (!major)
    throw Error(ErrorKind::refused, "the archive's WAL is of a version that is not known")
        .with("file", identity->file)
        .hint("A newer pgweir may know it.");
  cluster.major = *major;
  return cluster;
}

std::optional<FoundEnd> find_served(io::Directory& archive, wal::SegmentSize size, Counts counts,
                                    const archive::AskDurableEnd& ask) {
  for (int round = 1;; ++round) {
    try {
      return look(archive, size, counts, ask);
    } catch (const Error& error) {
      if (!archive::is_gone(error) || round == kLooks) throw;
    }
  }
}

std::optional<wal::TimelineHistory> history_of(io::Shelf& archive, wal::TimelineId timeline) {
  const auto content = archive::read_history(archive, timeline);
  if (!content) return wal::TimelineHistory(timeline);
  return wal::TimelineHistory::parse(timeline, *content);
}

}  // namespace weir::relay
