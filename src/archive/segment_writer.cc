// The states of one segment, and what a crash leaves at each step:
//
//   create `.partial` (or rename the spare to it)   an empty file, or none
//   write                                           nothing is known to be there
//   sync data, sync directory (the first job)       everything up to the job's end: may be reported
//   ... write, sync data ...                        the same, without the directory
//   full: sync data, close, rename, sync directory  `.partial` or the final name, complete in both
//
// A segment that is buffered in memory has a `.partial` of zeros, too. When full, it is written and
// continues as above; or, if there is space for it, it becomes
//
//   compressed into a hidden file, synced           the hidden file, which the next start removes
//   renamed, sync directory, `.partial` removed     the final name, complete; a `.partial` of zeros
//                                                   may come back, and is ignored next to it
//
// A large segment is buffered in pieces. Jobs write them in any order; a crash may leave a later
// piece without an earlier one, as with data in the page cache. Nothing after the first missing
// piece was reported as flushed.
//
// Two segments are never renamed at the same time: a crash could keep the second and lose the
// first, and then the archive would seem to end after a segment that it lacks.

#include "archive/segment_writer.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "archive/listing.h"
#include "archive/segment_buffers.h"
#include "archive/segment_job.h"
#include "archive/spare_segment.h"
#include "archive/written_segment.h"
#include "base/error.h"

namespace weir::archive {

namespace {

constexpr std::size_t kComparedAtOnce = 256 * 1024;  ///< bytes compared in one go

}  // namespace

struct SegmentWriter::Impl {
  Impl(io::Directory& archive_directory, Options writer_options)
      : directory(archive_directory),
        options(std::move(writer_options)),
        piece(piece_bytes(options.segment_size, options.largest_buffered)),
        buffers(std::make_shared<SegmentBuffers>(piece)),
        spare(archive_directory, options.segment_size.bytes()) {}

  io::Directory& directory;
  const Options options;
  const std::shared_ptr<JobOrder> order = std::make_shared<JobOrder>(*options.threads);
  std::uint64_t next_job = 1;

  wal::TimelineId timeline = 0;
  wal::Lsn position;
  bool begun = false;
  std::vector<OpenSegment> open;
  std::shared_ptr<WrittenSegment> current;  ///< nullptr until the first byte after a boundary
  bool written = false;                     ///< to `current` since the last job was taken
  bool buffer_new = false;
  wal::Lsn buffered_end;
  const std::uint64_t piece;  ///< bytes
  const std::shared_ptr<SegmentBuffers> buffers;
  std::vector<JobWork> full;          ///< segments and pieces, since the last job was taken
  std::uint64_t creations = 0;        ///< names that a directory fsync must cover
  std::uint64_t creations_taken = 0;  ///< of these, covered by a job
  std::uint64_t first_creation = 0;   ///< of the first segment after begin(); 0: none yet

  SpareSegment spare;

  void open_segment();
  void begin_piece();
  void end_piece();
  std::unique_ptr<io::File> create_partial(const std::string& name);
  void compare_trusted(std::span<const std::byte> wal);
  [[nodiscard]] wal::SegmentSize size() const { return options.segment_size; }
  /// Offset of position() in its piece, in bytes.
  [[nodiscard]] std::uint64_t in_piece() const { return size().offset(position) % piece; }
  [[nodiscard]] bool compresses() const {
    return options.compression.method != codec::Method::none && options.replaceable.empty();
  }
};

SegmentWriter::SegmentWriter(io::Directory& directory, Options options)
    : impl_(std::make_unique<Impl>(directory, std::move(options))) {}

SegmentWriter::~SegmentWriter() = default;

void SegmentWriter::begin(wal::TimelineId timeline, wal::Lsn segment_start,
                          std::span<const OpenSegment> open) {
  PGWEIR_CHECK(!impl_->begun);
  PGWEIR_CHECK(impl_->size().offset(segment_start) == 0);
  const wal::SegmentName segment(timeline, impl_->size().segno(segment_start), impl_->size());
  const std::string name = SegmentFileName{segment, codec::Method::none, true}.to_string();
  const auto entry = impl_->directory.find(name);
  if (entry && entry->size > impl_->size().bytes())
    throw Error(ErrorKind::conflict, "a partial segment is longer than a segment")
        .with("path", impl_->directory.path() + "/" + name)
        .with("size", entry->size)
        .with("segment size", impl_->size().bytes())
        .hint(
            "It belongs to a cluster with a different wal_segment_size, or is damaged. Move it "
            "away.");
  impl_->timeline = timeline;
  impl_->position = segment_start;
  impl_->open.assign(open.begin(), open.end());
  impl_->first_creation = 0;
  impl_->begun = true;
}

wal::Lsn SegmentWriter::position() const { return impl_->position; }
wal::TimelineId SegmentWriter::timeline() const { return impl_->timeline; }
void SegmentWriter::buffer_new_segments(bool buffer_new) { impl_->buffer_new = buffer_new; }
wal::Lsn SegmentWriter::buffered_end() const { return impl_->buffered_end; }

void SegmentWriter::write(std::span<const std::byte> wal) {
  PGWEIR_CHECK(impl_->begun);
  while (!wal.empty()) {
    if (!impl_->current) impl_->open_segment();
    const std::uint64_t offset = impl_->size().offset(impl_->position);
    const std::uint64_t in_piece = offset % impl_->piece;
    if (in_piece == 0) impl_->begin_piece();
    const auto piece = wal.first(std::min<std::uint64_t>(wal.size(), impl_->piece - in_piece));
    impl_->compare_trusted(piece);
    impl_->written = true;  // even if it fails: the first part may be written
    if (const auto& memory = impl_->current->memory) {
      std::byte* const place = memory->bytes().data() + in_piece;
      if (place != piece.data()) std::memcpy(place, piece.data(), piece.size());
      impl_->buffered_end = impl_->position + piece.size();
    } else {
      impl_->current->writing->write_at(offset, piece);
    }
    impl_->position = impl_->position + piece.size();
    wal = wal.subspan(piece.size());
    if (impl_->in_piece() == 0) impl_->end_piece();
  }
}

std::span<std::byte> SegmentWriter::place() const {
  if (!impl_->current || !impl_->current->memory) return {};
  return impl_->current->memory->bytes().subspan(impl_->in_piece());
}

std::unique_ptr<SyncJob> SegmentWriter::take_sync_job() {
  // First, since it may fail and be retried. Here and not in the job: later WAL for the segment is
  // written piece by piece, and a crash must not leave it in the file without the part before it.
  if (impl_->written && impl_->current->memory) {
    auto& current = *impl_->current;
    const auto front = current.memory->bytes().first(impl_->in_piece());
    current.writing->write_at(impl_->size().offset(impl_->position) - front.size(), front);
    current.memory = nullptr;
  }
  auto work = std::exchange(impl_->full, {});
  if (impl_->written) work.push_back({impl_->current, false});
  std::optional<std::uint64_t> creations;
  if (impl_->creations != impl_->creations_taken) creations = impl_->creations;
  if (work.empty() && !creations) return nullptr;

  const std::uint64_t number = impl_->next_job++;
  {
    const std::lock_guard lock(*impl_->order->mutex);
    impl_->order->unfinished.push_back(number);
  }
  impl_->written = false;
  impl_->creations_taken = impl_->creations;
  return make_sync_job(impl_->directory, impl_->order, std::move(work),
                       {.segment_size = impl_->size(),
                        .number = number,
                        .end = impl_->position,
                        .creations = creations,
                        .replaceable = impl_->options.replaceable,
                        .compression = impl_->options.compression});
}

void SegmentWriter::end() {
  PGWEIR_CHECK(impl_->begun);
  const auto segment = std::exchange(impl_->current, nullptr);
  impl_->full.clear();
  impl_->open.clear();
  impl_->written = false;
  impl_->begun = false;
  if (segment) segment->close();
}

/// Opens or creates the `.partial` whose first byte is position().
void SegmentWriter::Impl::open_segment() {
  const wal::SegmentName segment(timeline, size().segno(position), size());
  const std::string name = SegmentFileName{segment, codec::Method::none, true}.to_string();

  // If a crash kept the name of the second of two new segments and lost the first, the archive
  // would seem to start with the second. After a complete segment the resume point handles that;
  // the first segment after begin() must be durable under its name before there is another one.
  // (Its first job has done that long ago, unless nothing was flushed for a whole segment.)
  if (first_creation != 0) {
    bool safe = false;
    {
      const std::lock_guard lock(*order->mutex);
      safe = order->durable_creations >= first_creation;
    }
    if (!safe) {
      const std::uint64_t covered = creations;
      directory.sync();
      const std::lock_guard lock(*order->mutex);
      order->durable_creations = std::max(order->durable_creations, covered);
    }
  }

  auto file = directory.open(name);
  const bool is_new = !file;
  if (!file) file = create_partial(name);
  const std::uint64_t bytes = file->size();
  if (bytes > size().bytes())
    throw Error(ErrorKind::conflict, "a partial segment is longer than a segment")
        .with("path", directory.path() + "/" + name)
        .with("size", bytes)
        .with("segment size", size().bytes())
        .hint(
            "It belongs to a cluster with a different wal_segment_size, or is damaged. Move it "
            "away.");
  if (bytes < size().bytes()) file->allocate(size().bytes());

  const auto known = std::find_if(open.begin(), open.end(),
                                  [&](const OpenSegment& o) { return o.start == position; });
  current = std::make_shared<WrittenSegment>(
      *options.threads, segment, std::move(file), is_new,
      known == open.end() ? std::nullopt : std::optional<OpenSegment>(*known));
  // Even if the name existed: the process that created it may have been killed before its fsync.
  ++creations;
  if (first_creation == 0) first_creation = creations;
}

/// The next byte is the first of a segment, or of a piece of it.
void SegmentWriter::Impl::begin_piece() {
  if (current->memory) return;  // an earlier attempt to write there failed
  const bool may = options.largest_buffered != 0 && current->is_new &&
                   (piece == size().bytes() || !compresses());
  if (buffer_new && may)
    current->memory = SegmentBuffers::take(buffers);
  else
    buffers->keep_none();
}

/// The byte before was the last of a segment, or of a piece of it.
void SegmentWriter::Impl::end_piece() {
  const bool ends_segment = size().offset(position) == 0;
  if (!ends_segment && !current->memory) return;  // it remains the current segment
  JobWork done{.segment = current, .publish = ends_segment};
  done.memory = std::exchange(current->memory, nullptr);
  done.offset = (ends_segment ? size().bytes() : size().offset(position)) - piece;
  done.compress = done.memory && compresses();
  full.push_back(std::move(done));
  // The same job flushes the bytes before the piece.
  written = false;
  if (ends_segment) current = nullptr;
}

std::unique_ptr<io::File> SegmentWriter::Impl::create_partial(const std::string& name) {
  if (spare.become(name))
    if (auto file = directory.open(name)) return file;
  return directory.create(name);
}

/// WAL that may have been confirmed is never replaced by different WAL.
void SegmentWriter::Impl::compare_trusted(std::span<const std::byte> wal) {
  if (!current->trusted) return;
  const wal::Lsn begin = std::max(position, current->trusted->first_record);
  const wal::Lsn end = std::min(position + wal.size(), current->trusted->trusted_end);
  std::vector<std::byte> held;
  for (wal::Lsn at = begin; at < end;) {
    held.resize(std::min<std::uint64_t>(kComparedAtOnce, end - at));
    const std::size_t count = current->writing->read_at(size().offset(at), held);
    const auto offered = wal.subspan(at - position, held.size());
    if (count == held.size() && std::memcmp(held.data(), offered.data(), count) == 0) {
      at = at + count;
      continue;
    }
    const auto [mine, theirs] = std::mismatch(held.begin(), held.end(), offered.begin());
    const auto differs = at + static_cast<std::uint64_t>(mine - held.begin());
    throw OtherWal(Error(ErrorKind::conflict, "the upstream's WAL differs from the archive's")
                       .with("timeline", timeline)
                       .with("position", differs)
                       .with("path", directory.path() + "/" + current->path)
                       .hint("Two servers write on the same timeline, or the upstream was restored "
                             "to an earlier state without a new timeline. Find out which one is "
                             "right; an archive can hold the WAL of only one of them."),
                   differs);
  }
}

void SegmentWriter::prepare_spare() { impl_->spare.prepare(); }
bool SegmentWriter::spare_ready() const { return impl_->spare.ready(); }

}  // namespace weir::archive
