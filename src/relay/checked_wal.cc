// The relay sends complete records only (`relay::CheckedWal`). A walsender sends flushed WAL up to
// any position, and a cascading standby forwards a flipped bit. Half a record is useless, so
// nothing is lost by waiting for its end, and then its checksum shows whether it is valid. This one
// rule covers pages, records that span a segment boundary (`archive::verifier_at` reads the
// previous segment), and the zeros after an xlog switch. The front of a record larger than 2 MB is
// read twice, not kept. If a form's records are damaged (its file's checksum may be correct), the
// segment is restarted with another form of it, if one exists, and the damage is reported. If WAL
// continues after a segment that was never completed, that is a hole, and reported as missing WAL
// (58P01). One record is sent incomplete, as by a walsender: the last one of a timeline, if the
// next timeline overwrites its rest.

#include "relay/checked_wal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "archive/border.h"
#include "archive/forms.h"
#include "archive/listing.h"
#include "archive/segment_reader.h"
#include "wal/page.h"

namespace weir::relay {

namespace {

/// Maximum size of an incomplete record kept in memory; a larger one is read twice.
constexpr std::uint64_t kMostKept = std::uint64_t{2} << 20;

/// Memory beyond this is released once the long record in it was given.
constexpr std::size_t kMostRoom = std::size_t{1} << 20;

using Trouble = CheckedWal::Trouble;

Trouble damaged(const std::string& file, std::uint64_t offset, wal::Lsn at,
                const std::string& what) {
  wire::ErrorReport report{
      "XX001", fmt::format("WAL of the archive is damaged: file \"{}\", offset {}", file, offset),
      fmt::format("At {}: {}", at, what)};
  auto error = Error(ErrorKind::damage, "WAL requested by a client is damaged: " + what)
                   .with("file", file)
                   .with("offset", offset)
                   .with("position", at)
                   .hint(
                       "No later WAL is sent. \"pgweir verify\" reports all damage; once the file "
                       "is repaired, it is served without a restart.");
  return {std::move(report), std::move(error)};
}

Trouble gone(const std::string& file) {
  return {{"58P01", fmt::format("requested WAL segment {} has already been removed", file)},
          Error(ErrorKind::gap, "WAL requested by a client is not in the archive")
              .with("segment", file)
              .hint("If it was uploaded to an object store and removed here, fetch it from there: "
                    "with the client's restore_command, or with \"pgweir store get\". If it was "
                    "removed on purpose, that client needs a new base backup.")};
}

/// It was never completed, and the served WAL continues after it: a hole that an operator accepted.
Trouble never_finished(const archive::SegmentFileName& file) {
  return {{"58P01", fmt::format("requested WAL segment {} has already been removed",
                                file.segment.to_string())},
          Error(ErrorKind::gap, "WAL requested by a client is not in the archive")
              .with("file", file.to_string())
              .hint("The segment is incomplete, and the archive has later WAL: \"pgweir status\" "
                    "shows the hole. That client needs a new base backup.")};
}

wal::RecordVerifier::Options options_of(const Cluster& cluster,
                                        const wal::TimelineHistory& history) {
  wal::RecordVerifier::Options options;
  options.segment_size = cluster.segment_size;
  options.timeline = history.timeline();
  options.system_identifier = cluster.system_identifier;
  options.server_major = cluster.major;
  options.history = &history;
  return options;
}

}  // namespace

CheckedWal::CheckedWal(io::Shelf& archive, const Cluster& cluster, wal::TimelineHistory history,
                       wal::Lsn start)
    : archive_(archive),
      cluster_(cluster),
      history_(std::make_unique<const wal::TimelineHistory>(std::move(history))),
      from_(start),
      verifier_(archive::verifier_at(archive, options_of(cluster_, *history_),
                                     cluster_.segment_size.start_of(start))),
      buffer_begin_(verifier_.position()) {
  reader_.emplace(archive_, reader_options());
}

archive::WalReader::Options CheckedWal::reader_options() const {
  return {.segment_size = cluster_.segment_size,
          .timeline = history_->timeline(),
          .history = *history_,
          .unfinished = true,
          .durable_end =
              [this] {
                return archive::DurableEnd{history_->timeline(), limit_};
              },
          .left_out = &left_out_};
}

CheckedWal::Read CheckedWal::read(wal::Lsn limit, std::size_t most) {
  limit_ = limit;
  while (checked() <= from_) {
    if (trouble_) return {{}, std::exchange(trouble_, std::nullopt)};
    if (verifier_.position() >= limit) {
      if (from_ >= limit || !ends_a_timeline(limit)) return {{}};
      // (The rest of a record at the archive's start may end there, without another record.)
      if (!verifier_.inside_record() || is_overwritten_from(limit)) break;
      if (auto trouble = never_continued(limit)) return {{}, std::move(trouble)};
      continue;
    }
    const bool proved = verifier_.first_record_start().valid();
    auto trouble = read_ahead(limit, most);
    if (!trouble) continue;
    // Records before it are valid, and returned first.
    if (!proved || checked() <= from_) return {{}, std::move(trouble)};
    trouble_ = std::move(trouble);
  }
  // Where a timeline ends, its last record may remain incomplete.
  const auto end = checked() <= from_ ? limit : std::min(checked(), limit);
  auto read = end > from_ ? give(end, most) : Read{{}};
  if (!read.trouble) read.passed_over = std::exchange(passed_over_, std::nullopt);
  return read;
}

/// Everything before it may be returned.
wal::Lsn CheckedWal::checked() const { return verifier_.last_record_end(); }

/// A client gets all of a timeline, also a record that its next one overwrites: pg_receivewal
/// rejects an end before the switchpoint.
bool CheckedWal::ends_a_timeline(wal::Lsn limit) const {
  const auto& ancestors = history_->ancestors();
  return std::any_of(ancestors.begin(), ancestors.end(),
                     [&](const auto& each) { return each.switchpoint == limit; });
}

/// True if the WAL from there on says that the record before it was never completed
/// (XLP_FIRST_IS_OVERWRITE_CONTRECORD). It is not sent, and need not be durable.
bool CheckedWal::is_overwritten_from(wal::Lsn limit) const {
  auto options = reader_options();
  options.durable_end = nullptr;
  archive::WalReader reader(archive_, std::move(options));
  std::array<std::byte, wal::kLongHeaderSize> bytes{};
  const auto read = reader.read(limit, bytes);
  const auto page = wal::decode_page_header(std::span(bytes).first(read.count));
  return page && page->address == limit && page->overwrites_continuation();
}

/// Otherwise its length is wrong, or what follows it. nullopt: another file of it is read.
std::optional<Trouble> CheckedWal::never_continued(wal::Lsn limit) {
  const wal::Damage damage{
      verifier_.newest_record_start(), wal::Lsn(limit.byte() - 1),
      fmt::format("the record is incomplete at {}, where its timeline ends", limit)};
  if (take_other_form(damage)) return std::nullopt;
  return damaged(reader_->segment_at(damage.found_at).to_string(),
                 cluster_.segment_size.offset(damage.found_at), damage.at, damage.what);
}

/// There is something before `limit`.
std::optional<Trouble> CheckedWal::read_ahead(wal::Lsn limit, std::size_t most) {
  const auto at = verifier_.position();
  if (cluster_.segment_size.offset(at) == 0) segment_begin_ = verifier_;
  make_room();
  const auto kept = buffer_.size();
  const auto piece = buffer_.extend(std::min<std::uint64_t>(most, limit - at));
  auto [count, trouble] = read_at(*reader_, at, piece);
  buffer_.truncate(kept + count);
  if (trouble) return std::move(trouble);
  if (count == 0) {
    begin_segment_again();
    return std::nullopt;
  }
  if (const auto file = reader_->file(); file && file->partial) note_unfinished(*file);
  const bool none_began = verifier_.first_record_start() == wal::Lsn();
  const auto damage = verifier_.feed(piece.first(count));
  if (damage) {
    if (take_other_form(*damage)) return std::nullopt;
    const auto segment = reader_->segment_at(damage->found_at);
    const auto& size = cluster_.segment_size;
    // The record may continue after that file: in the next one, beyond a hole.
    for (const auto& file : unfinished_)
      if (file.segment.segno(size) >= size.segno(damage->at) && is_left(file))
        return never_finished(file);
    const auto file = reader_->file();
    const auto name = file && file->segment == segment ? file->to_string() : segment.to_string();
    return damaged(name, cluster_.segment_size.offset(damage->found_at), damage->at, damage->what);
  }
  if (none_began && verifier_.first_record_start() != at + wal::kLongHeaderSize)
    return prove_file(at);
  return std::nullopt;
}

/// Files without the start of a record that is still incomplete are not needed any more.
void CheckedWal::note_unfinished(const archive::SegmentFileName& file) {
  if (!unfinished_.empty() && unfinished_.back() == file) return;
  const auto& size = cluster_.segment_size;
  std::erase_if(unfinished_, [&](const archive::SegmentFileName& each) {
    return each.segment.start(size) + size.bytes() <= checked();
  });
  unfinished_.push_back(file);
}

/// An archive may start within a record, whose rest has no checksum to verify. A compressed file's
/// checksum follows the bytes read so far.
std::optional<Trouble> CheckedWal::prove_file(wal::Lsn at) {
  const auto file = reader_->file();
  if (!file || file->method == codec::Method::none || proved_ == file->to_string())
    return std::nullopt;
  try {
    archive::read_segment(archive_, *file, cluster_.segment_size,
                          [](std::span<const std::byte>) { return true; });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    return damaged(file->to_string(), cluster_.segment_size.offset(at), at, error.what());
  }
  proved_ = file->to_string();
  return std::nullopt;
}

/// Restarts this segment with another file of it. Returns false if there is none. (The damage of a
/// record that spans the segment's boundary may be before the segment: then it is found again.)
bool CheckedWal::take_other_form(const wal::Damage& damage) {
  const auto file = reader_->file();
  const auto segment = reader_->segment_at(damage.found_at);
  if (!file || file->segment != segment) return false;
  // Not damaged: a receiver has started the segment again, and pg_receivewal's file of it has WAL
  // that is not written yet.
  if (file->partial && has_another(archive::partial_names(segment))) {
    begin_segment_again();
    return true;
  }
  if (!has_another(archive::finished_names(segment))) return false;
  passed_over_ = Error(ErrorKind::damage, "WAL requested by a client is damaged: " + damage.what)
                     .with("file", file->to_string())
                     .with("offset", cluster_.segment_size.offset(damage.found_at))
                     .with("position", damage.at)
                     .hint(
                         "Another file of the segment is served instead. Remove the damaged file "
                         "once \"pgweir verify\" finds no damage in the other one.");
  begin_segment_again();
  return true;
}

/// The current segment also exists under one of these names, and can be started again.
template <typename Names>
bool CheckedWal::has_another(const Names& forms) const {
  const auto file = reader_->file();
  return file && segment_begin_ &&
         reader_->segment_at(segment_begin_->position()) == file->segment &&
         std::any_of(forms.begin(), forms.end(), [&](const auto& form) {
           const auto name = form.to_string();
           return name != file->to_string() && !left_out_.contains(name) && archive_.find(name);
         });
}

/// With another file instead of the current one; there is one.
void CheckedWal::begin_segment_again() {
  left_out_.insert(reader_->file()->to_string());
  verifier_ = *segment_begin_;
  reader_.emplace(archive_, reader_options());
  again_.reset();
  const auto begin = verifier_.position();
  if (begin > buffer_begin_) {
    buffer_.truncate(begin - buffer_begin_);
  } else {
    buffer_.truncate(0);
    buffer_begin_ = begin;
  }
}

/// Discards bytes that were given, and bytes that exceed the limit.
void CheckedWal::make_room() {
  const auto end = buffer_begin_ + buffer_.size();
  auto keep_from = std::clamp(from_, buffer_begin_, end);
  if (end - keep_from >= kMostKept) keep_from = end;
  buffer_.drop_front(keep_from - buffer_begin_);
  if (buffer_.capacity() > kMostRoom && buffer_.size() < kMostRoom / 4) {
    GrowingBuffer smaller;
    smaller.append(buffer_);
    buffer_ = std::move(smaller);
  }
  buffer_begin_ = keep_from;
}

/// Returns part of the WAL before `end`, all of which may be sent.
CheckedWal::Read CheckedWal::give(wal::Lsn end, std::size_t most) {
  if (end - from_ > most) {
    const auto last = (from_ + most).byte();
    end = wal::Lsn(last - last % wal::kPageSize);
  }
  if (from_ >= buffer_begin_) {
    const auto wal =
        std::span<const std::byte>(buffer_).subspan(from_ - buffer_begin_, end - from_);
    from_ = end;
    return {wal};
  }
  end = std::min(end, buffer_begin_);
  if (!again_) again_.emplace(archive_, reader_options());
  again_bytes_.resize(end - from_);
  auto [count, trouble] = read_at(*again_, from_, again_bytes_);
  from_ = from_ + count;
  return {std::span(again_bytes_).first(count), std::move(trouble)};
}

std::optional<GrowingBuffer> CheckedWal::hand_over(std::span<const std::byte> wal,
                                                   GrowingBuffer& other) {
  const bool contains =
      std::less_equal<>()(buffer_.begin(), wal.data()) && std::less<>()(wal.data(), buffer_.end());
  // (The buffer of a long record has room for more than is accounted for.)
  if (!contains || wal.size() < buffer_.size() / 2 || wal.size() < buffer_.capacity() / 4)
    return std::nullopt;
  other.truncate(0);
  other.append(std::span<const std::byte>(buffer_).subspan(from_ - buffer_begin_));
  buffer_begin_ = from_;
  return std::exchange(buffer_, std::move(other));
}

/// Returns some bytes, at least one; none if this segment must be started again with another file.
CheckedWal::Got CheckedWal::read_at(archive::WalReader& reader, wal::Lsn at,
                                    std::span<std::byte> into) {
  const auto read = reader.read(at, into);
  const auto segment = reader.segment_at(at).to_string();
  const auto file = reader.file() ? reader.file()->to_string() : segment;
  const auto offset = cluster_.segment_size.offset(at);
  switch (read.state) {
    case archive::WalSource::State::bytes:
      return {read.count};
    case archive::WalSource::State::gone:
      return {0, gone(segment)};
    case archive::WalSource::State::damaged:
      return {0, damaged(file, offset, at, read.error->what())};
    case archive::WalSource::State::end:
      break;
  }
  // pg_receivewal's file of a partial segment, and a receiver has started it again since.
  if (&reader == &*reader_ && reader.file() && reader.file()->partial) {
    const auto forms = archive::partial_names(reader.file()->segment);
    // A file that had too little before: with a later flush position, it has more. Once for each
    // position.
    if (std::exchange(looked_again_up_to_, limit_) != limit_)
      for (const auto& form : forms) left_out_.erase(form.to_string());
    if (has_another(forms)) return {0};
    // The receiver may have completed the segment between the reader's look-up and this one.
    if (has_another(archive::finished_names(reader.file()->segment))) return {0};
  }
  if (reader.file() && is_left(*reader.file())) return {0, never_finished(*reader.file())};
  // An ancestor's file was read up to its switchpoint, since this timeline's own has less.
  if (const auto own = reader.segment_at(at); reader.file() && reader.file()->segment != own)
    for (const auto& form : archive::partial_names(own))
      if (is_left(form)) return {0, never_finished(form)};
  return {0, damaged(file, offset, at, "the file is shorter than its served WAL")};
}

/// A partial file other than the one in which the served WAL ends.
bool CheckedWal::is_left(const archive::SegmentFileName& file) const {
  if (!file.partial || !archive_.find(file.to_string())) return false;
  const auto& size = cluster_.segment_size;
  const auto timeline = history_->timeline();
  if (file.segment.timeline() != timeline) return true;
  if (file.segment.segno(size) < size.segno(wal::Lsn(limit_.byte() - 1))) return true;
  // If the limit is the end of an older timeline, the served WAL continues after it. And if the
  // served WAL ends with a segment, the archive may already have the next one, after a hole.
  const bool goes_on = limit_ <= history_->begin_of(timeline).value_or(wal::Lsn());
  return (goes_on || size.offset(limit_) == 0) && has_begun_behind(file.segment);
}

/// Any later segment of its timeline, complete or not.
bool CheckedWal::has_begun_behind(wal::SegmentName segment) const {
  const auto listing = archive::list_archive_names(archive_);
  return std::any_of(listing.segments.begin(), listing.segments.end(), [&](const auto& entry) {
    return entry.name.segment.timeline() == segment.timeline() && segment < entry.name.segment;
  });
}

}  // namespace weir::relay
