#include "import/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "archive/border.h"
#include "archive/compare.h"
#include "archive/segment_reader.h"
#include "archive/wal_reader.h"
#include "base/buffer.h"
#include "base/error.h"
#include "crypto/digest.h"

namespace weir::importing {

namespace {

using wal::Lsn;

constexpr std::size_t kReadAtOnce = 64 * 1024;

/// Whether the position is between an xlog switch, the verifier's newest record, and the segment's
/// end: the bytes there have no meaning. (archive::meaningful_bytes() is for a verifier that was
/// fed a whole segment from its first byte.)
bool behind_switch(const wal::RecordVerifier& verifier, Lsn at) {
  return verifier.last_record_end() > verifier.records_end() && at >= verifier.records_end();
}

}  // namespace

/// Reads one run, from left to right.
class Judge::Reading {
 public:
  Reading(const Judge& judge, const Run& run,
          const std::map<wal::SegmentName, std::vector<Offer>>& offered,
          std::vector<LeftOut>& left_out)
      : judge_(judge),
        run_(run),
        size_(judge.options_.segment_size),
        offered_(offered),
        left_out_(left_out),
        verifier_(first_verifier()) {}

  std::vector<Piece> run() {
    piece_.left = run_.left && verifier_.newest_record_start().valid();
    for (auto segno = run_.first; segno < run_.behind; ++segno) {
      const auto start = size_.start(segno);
      follow(segno);
      // The record in which the segment starts, if there is one.
      const auto open = verifier_.inside_record() && verifier_.newest_record_start().valid()
                            ? verifier_.newest_record_start()
                            : start;
      if (auto slot = take(segno)) {
        piece_.slots.push_back(std::move(*slot));
        continue;
      }
      // If a file has the rest of that record, and it is valid, the segments before are not in
      // doubt.
      if (damage_ && passed_ < open)
        drop_from(std::min({segno, size_.segno(open), size_.segno(damage_->at)}), segno);
      finish_piece(false);
      // The following WAL may be valid; the WAL before it is not judged here.
      verifier_ = fresh(segno + 1);
    }
    if (!piece_.slots.empty()) judge_right();
    return std::move(pieces_);
  }

 private:
  [[nodiscard]] wal::SegmentName name_of(std::uint64_t segno) const {
    return {archive::timeline_of_segment(run_.history, segno, size_), segno, size_};
  }

  [[nodiscard]] wal::RecordVerifier::Options options(std::uint64_t segno) const {
    wal::RecordVerifier::Options options;
    options.segment_size = size_;
    options.timeline = name_of(segno).timeline();
    options.system_identifier = judge_.options_.system_identifier;
    options.history = judge_.lineage_.find(options.timeline);
    options.observer = judge_.options_.observer;
    return options;
  }

  [[nodiscard]] wal::RecordVerifier fresh(std::uint64_t segno) const {
    return {options(segno), size_.start(segno)};
  }

  [[nodiscard]] wal::RecordVerifier first_verifier() const {
    if (!run_.left) return fresh(run_.first);
    // As one that reads the timeline of the segment before: its history is in the archive.
    return archive::verifier_at(judge_.archive_, options(run_.first - 1), size_.start(run_.first));
  }

  void follow(std::uint64_t segno) {
    const auto timeline = name_of(segno).timeline();
    verifier_.follow(timeline, judge_.lineage_.find(timeline));
  }

  void count(std::uint64_t bytes) const {
    if (judge_.options_.stop && judge_.options_.stop(bytes))
      throw Error(ErrorKind::retry, "stopped before everything was checked")
          .hint("The files imported so far are complete; run the command again for the rest.");
  }

  /// Takes the first of the files offered for it that continues the WAL read so far. nullopt if
  /// there is none; damage_ then says where the last one failed, unless none is complete.
  std::optional<Slot> take(std::uint64_t segno) {
    const auto name = name_of(segno);
    damage_.reset();
    passed_ = {};
    std::optional<Slot> taken;
    auto after = verifier_;
    for (const auto& offer : offered_.at(name)) {
      auto attempt = verifier_;
      Slot slot{name, offer, {}};
      const bool whole = read(slot, attempt);
      if (attempt.last_record_end() > name.start(size_))
        passed_ = std::max(passed_, attempt.last_record_start());
      if (!whole) continue;
      if (!taken) {
        taken = std::move(slot);
        after = std::move(attempt);
      } else if (taken->digest != slot.digest && differ(taken->offer, offer, name)) {
        return std::nullopt;
      }
    }
    if (taken) verifier_ = std::move(after);
    return taken;
  }

  /// Two that are valid and match on the left: which one is right is unknown.
  bool differ(const Offer& one, const Offer& other, wal::SegmentName name) {
    const auto timeline_end = run_.history.end_of(name.timeline());
    const auto offset = archive::first_difference(*one.shelf, one.name, *other.shelf, other.name,
                                                  size_, size_.bytes());
    if (!offset) return false;
    const auto at = name.start(size_) + *offset;
    auto reading = verifier_;
    static_cast<void>(archive::read_segment(*one.shelf, one.name, size_,
                                            [&](auto wal) { return !reading.feed(wal); }));
    if (behind_switch(reading, at) || (timeline_end && at >= *timeline_end)) return false;
    for (const auto* const each : {&one, &other})
      left_out_.push_back(
          {each->path(), Reason::conflict,
           fmt::format("its WAL differs from that of {}, from {} on, and both are valid",
                       (each == &one ? other : one).path(), at),
           "Find out which one belongs to this archive's branch, and offer only that one."});
    damage_.reset();
    return true;
  }

  /// Returns false, with a report, if it does not hold all of the segment, or is not valid.
  bool read(Slot& slot, wal::RecordVerifier& verifier, bool again = false) {
    const auto& offer = slot.offer;
    std::optional<wal::Damage> damage;
    std::optional<crypto::Digest> sha1;
    if (!offer.original.sha1.empty()) sha1.emplace(crypto::Digest::Kind::sha1);
    std::uint64_t given = 0;
    try {
      given = archive::read_segment(*offer.shelf, offer.name, size_, [&](auto wal) {
        count(wal.size());
        damage = verifier.feed(wal);
        if (sha1) sha1->add(wal);
        slot.digest.add(wal);
        return !damage;
      });
    } catch (const Error& error) {
      if (archive::is_gone(error)) {
        if (offer.shelf.get() == &judge_.archive_) throw;  // compressed, for example
        leave_out(offer, Reason::not_sound, "it was removed after it was listed",
                  "Run the command again.");
        return false;
      }
      if (!is_of_the_file(error) ||
          (error.kind() == ErrorKind::io && offer.shelf.get() == &judge_.archive_))
        throw;
      if (!again && wait_for_writer(offer, size_, judge_.options_.stop)) {
        slot.digest = {};
        verifier = verifier_;
        return read(slot, verifier, true);
      }
      leave_out(offer, Reason::not_sound, error.what(), error.hint());
      return false;
    }
    if (verifier.unchecked()) {
      leave_out(offer, Reason::not_sound,
                "it is of a newer PostgreSQL than this pgweir knows, and cannot be checked");
      return false;
    }
    if (damage) {
      if (!was_written_whole(offer, slot.name, *damage) && ends_there(offer, slot.name, verifier)) {
        leave_out(offer, Reason::not_asked_for,
                  fmt::format("it is unfinished: its WAL ends at {}", verifier.last_record_end()));
        return false;
      }
      damage_ = damage;
      leave_out(offer, Reason::not_sound,
                fmt::format("{} at {} (found at {})", damage->what, damage->at, damage->found_at),
                damage->at < slot.name.start(size_)
                    ? "The record starts in the preceding segment; it is unknown which of the two "
                      "is damaged or belongs to another branch. Use another copy."
                    : "Use another copy.");
      return false;
    }
    if (sha1)
      if (const auto found = crypto::to_hex(sha1->finish()); found != offer.original.sha1) {
        leave_out(offer, Reason::not_sound,
                  fmt::format("its SHA-1 is {}, which differs from the one in its name", found),
                  "Use another copy.");
        return false;
      }
    if (given < size_.bytes()) {
      leave_out(offer, Reason::not_asked_for,
                fmt::format("it is unfinished: its WAL ends at {}", verifier.last_record_end()));
      return false;
    }
    return true;
  }

  /// The damaged record starts in the segment before, and on the page where it ends something was
  /// written after it. It was therefore written to its end: it is damaged, in one of its segments,
  /// and is not merely the end of the WAL.
  [[nodiscard]] bool was_written_whole(const Offer& offer, wal::SegmentName name,
                                       const wal::Damage& damage) const {
    if (damage.at >= name.start(size_)) return false;
    std::uint64_t at = 0;
    std::optional<std::uint64_t> end;
    std::vector<std::byte> header;
    bool more = false;
    try {
      static_cast<void>(archive::read_segment(*offer.shelf, offer.name, size_, [&](auto wal) {
        for (const auto byte : wal) {
          if (at < wal::kLongHeaderSize) header.push_back(byte);
          if (at == wal::kLongHeaderSize) end = continuation_end(header);
          if (end) more = more || (at >= *end && byte != std::byte{0});
          if (more || (end && at >= *end && (at + 1) % wal::kPageSize == 0)) return false;
          ++at;
        }
        return true;
      }));
    } catch (const Error&) {
      return false;
    }
    return more;
  }

  /// From the header of a segment's first page (xlp_rem_len): the offset after the segment's part
  /// of a record from the segment before. nullopt: there is no such record.
  [[nodiscard]] static std::optional<std::uint64_t> continuation_end(
      std::span<const std::byte> header) {
    const auto page = wal::decode_page_header(header);
    if (!page || page->remaining == 0) return std::nullopt;
    const auto first = wal::kPageSize - wal::kLongHeaderSize;
    if (page->remaining <= first) return wal::kLongHeaderSize + page->remaining;
    const auto rest = page->remaining - first;
    const auto room = wal::kPageSize - wal::kShortHeaderSize;
    const auto pages = (rest - 1) / room;
    return wal::kPageSize * (1 + pages) + wal::kShortHeaderSize + (rest - pages * room);
  }

  /// A file that a server or a receiver was still writing has valid WAL up to some position,
  /// followed by zeros or old content. In a damaged one pages of its own follow.
  [[nodiscard]] bool ends_there(const Offer& offer, wal::SegmentName name,
                                const wal::RecordVerifier& verifier) const {
    const auto start = name.start(size_);
    std::uint64_t at = 0;
    bool own_page = false;
    std::vector<std::byte> header;
    const auto found = verifier.position() - start;
    try {
      static_cast<void>(archive::read_segment(*offer.shelf, offer.name, size_, [&](auto wal) {
        for (; !wal.empty() && !own_page;) {
          const auto in_page = at % wal::kPageSize;
          const auto piece = std::min<std::uint64_t>(wal.size(), wal::kPageSize - in_page);
          if (in_page == 0) header.clear();
          const auto wanted = std::min<std::uint64_t>(
              piece, wal::kShortHeaderSize - std::min(wal::kShortHeaderSize, header.size()));
          header.insert(header.end(), wal.begin(),
                        wal.begin() + static_cast<std::ptrdiff_t>(wanted));
          const auto page_at = at - in_page;
          if (header.size() == wal::kShortHeaderSize && wanted > 0 && page_at > found) {
            // (Its long header is only on the first page, which precedes it.)
            const auto page = wal::decode_page_header(header);
            own_page = page && page->address == start + page_at;
          }
          at += piece;
          wal = wal.subspan(piece);
        }
        return !own_page;
      }));
    } catch (const Error&) {
      return false;
    }
    if (own_page) return false;
    if (offer.name.partial) return true;
    // A segment that another one follows was completed.
    return !offered_.contains(name_of(name.segno(size_) + 1)) &&
           (run_.back || offer.shelf->find("archive_status"));
  }

  void leave_out(const Offer& offer, Reason reason, std::string what, std::string hint = {}) {
    left_out_.push_back({offer.path(), reason, std::move(what), std::move(hint)});
  }

  /// Segments of the piece from there on contain part of a damaged record.
  void drop_from(std::uint64_t segno, std::uint64_t damaged) {
    while (!piece_.slots.empty() && piece_.slots.back().name.segno(size_) >= segno) {
      leave_out(piece_.slots.back().offer, Reason::not_sound,
                fmt::format("a record that spans from it to {} is damaged: it is unknown which of "
                            "these segments is damaged",
                            name_of(damaged)),
                "Use another copy of these segments.");
      piece_.slots.pop_back();
    }
  }

  void finish_piece(bool right) {
    piece_.right = right;
    if (!piece_.slots.empty()) pieces_.push_back(std::move(piece_));
    piece_ = {};
  }

  /// Continues in the archive's WAL after it, until a record that ends there is complete.
  void judge_right() {
    if (!run_.right) return finish_piece(false);
    const auto border = size_.start(run_.behind);
    archive::WalReader reader(judge_.archive_, {.segment_size = size_,
                                                .timeline = run_.history.timeline(),
                                                .history = run_.history,
                                                .unfinished = true,
                                                .durable_end = judge_.options_.durable_end});
    // The same bytes for a verifier without the imported WAL: an error is then the archive's own.
    auto alone = fresh(run_.behind);
    Buffer buffer(kReadAtOnce);
    for (auto at = border; verifier_.last_record_end() <= border;) {
      if (size_.offset(at) == 0) {
        follow(size_.segno(at));
        const auto timeline = name_of(size_.segno(at)).timeline();
        alone.follow(timeline, judge_.lineage_.find(timeline));
      }
      // Not across a segment's end: after it another timeline may have to be followed.
      const auto room = std::min<std::uint64_t>(buffer.size(), size_.bytes() - size_.offset(at));
      const auto read = reader.read(at, std::span(buffer).first(room));
      if (read.state != archive::WalSource::State::bytes) return finish_piece(false);
      count(read.count);
      const auto wal = std::span<const std::byte>(buffer).first(read.count);
      const auto ours = alone.feed(wal);
      if (const auto damage = verifier_.feed(wal)) {
        if (ours && ours->found_at == damage->found_at) return finish_piece(false);
        return refuse(*damage, reader.file().value());
      }
      at = at + read.count;
    }
    finish_piece(true);
  }

  void refuse(const wal::Damage& damage, const archive::SegmentFileName& behind) {
    for (const auto& slot : piece_.slots)
      leave_out(slot.offer, Reason::not_sound,
                fmt::format("the segments from {} to {} do not match the archive's WAL after "
                            "them, in {}: {} at {}",
                            piece_.slots.front().name, piece_.slots.back().name, behind.to_string(),
                            damage.what, damage.at),
                behind.partial
                    ? "They are valid. They belong to another branch, or that partial segment was "
                      "damaged by a crash, after the confirmed WAL: start the receiver, which "
                      "repairs it, then try again."
                    : "They are valid, but belong to another branch, or to a server that was "
                      "reset. Use copies from the server whose WAL was archived.");
    piece_ = {};
  }

  const Judge& judge_;
  const Run& run_;
  const wal::SegmentSize size_;
  const std::map<wal::SegmentName, std::vector<Offer>>& offered_;
  std::vector<LeftOut>& left_out_;
  wal::RecordVerifier verifier_;
  std::optional<wal::Damage> damage_;
  Lsn passed_;  ///< start of the last valid record that ends in the segment, in any file
  Piece piece_;
  std::vector<Piece> pieces_;
};

std::vector<Piece> Judge::judge(const Run& run,
                                const std::map<wal::SegmentName, std::vector<Offer>>& offered,
                                std::vector<LeftOut>& left_out) {
  return Reading(*this, run, offered, left_out).run();
}

bool sound_in_itself(const Offer& offer, const Cluster& cluster) {
  wal::RecordVerifier::Options options;
  options.segment_size = cluster.segment_size.value();
  options.timeline = offer.name.segment.timeline();
  options.system_identifier = cluster.system_identifier;
  wal::RecordVerifier verifier(options, offer.name.segment.start(options.segment_size));
  bool sound = true;
  try {
    archive::read_segment(*offer.shelf, offer.name, options.segment_size, [&](auto wal) {
      sound = !verifier.feed(wal);
      return sound;
    });
  } catch (const Error& error) {
    if (!is_of_the_file(error)) throw;
    return false;
  }
  return sound || offer.name.partial;
}

std::optional<std::uint64_t> meaningful_difference(io::Shelf& archive,
                                                   const archive::SegmentFileName& ours,
                                                   const Offer& offered,
                                                   wal::SegmentSize segment_size,
                                                   std::optional<Lsn> left_at, Extent extent) {
  const auto start = ours.segment.start(segment_size);
  wal::RecordVerifier::Options options;
  options.segment_size = segment_size;
  options.timeline = ours.segment.timeline();
  auto upto = segment_size.bytes();
  if (offered.name.partial || extent == Extent::sound_part) {
    // By itself: on the left it may not match ours.
    wal::RecordVerifier verifier(options, start);
    archive::read_segment(*offered.shelf, offered.name, segment_size,
                          [&](auto wal) { return !verifier.feed(wal); });
    const auto end = verifier.last_record_end();
    upto = end > start ? std::min(upto, end - start) : 0;
  }
  if (left_at && *left_at < start + upto) upto = *left_at > start ? *left_at - start : 0;
  if (upto == 0) return std::nullopt;
  const auto offset =
      archive::first_difference(archive, ours, *offered.shelf, offered.name, segment_size, upto);
  if (!offset) return std::nullopt;
  auto verifier = archive::verifier_at(archive, options, start);
  bool sound = true;
  archive::read_segment(archive, ours, segment_size, [&](auto wal) {
    sound = !verifier.feed(wal);
    return sound;
  });
  // (Where ours is damaged, the filler may be that of the segment before.)
  if (sound && behind_switch(verifier, start + *offset)) return std::nullopt;
  return offset;
}

}  // namespace weir::importing
