// The life of one segment, and what a crash leaves behind at each step:
//
//   create `.partial` (or rename the spare to it)   an empty file, or none
//   write                                           nothing is known to be there
//   sync data, sync directory (the first job)       everything up to the job's end: may be reported
//   ... write, sync data ...                        the same, without the directory
//   full: sync data, close, rename, sync directory  `.partial` or the final name, complete in both
//
// A segment that is buffered in memory has its `.partial`, too, of zeros. Full, it is written and
// goes on as above; or, if there is space for it, it becomes
//
//   compressed into a hidden file, synced           the hidden file, which the next start removes
//   renamed, sync directory, `.partial` removed     the final name, complete; a `.partial` of zeros
//                                                   may come back, and means nothing beside it
//
// Renames of two segments are never under way at once: a crash could keep the second and lose the
// first, and then the archive would seem to end behind a segment that it does not have.

#include "archive/segment_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <new>
#include <set>
#include <utility>

#include "archive/content.h"
#include "archive/forms.h"
#include "archive/listing.h"
#include "archive/own_names.h"
#include "base/error.h"
#include "io/pages.h"

namespace weir::archive {

namespace {

constexpr std::size_t kPiece = 256 * 1024;  ///< bytes compared in one go
/// Bytes of zeros written in one go: the kernel keeps what comes in one piece in one piece, and a
/// commit's few bytes in a large piece cost more to write and to sync.
constexpr std::size_t kZeros = 8 * 1024;

/// Memory for segments. Kept from one to the next while segments are buffered, since the kernel
/// takes its time to make new pages; given back when not.
class Buffers {
 public:
  explicit Buffers(std::size_t bytes) : bytes_(bytes) {}

  /// nullptr if there is no memory: then the segment is not buffered.
  static std::shared_ptr<io::Pages> take(const std::shared_ptr<Buffers>& from) {
    std::unique_ptr<io::Pages> pages;
    {
      const std::lock_guard lock(from->mutex_);
      from->keep_ = true;
      if (!from->free_.empty()) {
        pages = std::move(from->free_.back());
        from->free_.pop_back();
      }
    }
    try {
      if (!pages) pages = std::make_unique<io::Pages>(from->bytes_);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
    return {pages.release(), [from](io::Pages* used) { from->give_back(used); }};
  }

  void keep_none() {
    std::vector<std::unique_ptr<io::Pages>> unused;
    const std::lock_guard lock(mutex_);
    keep_ = false;
    unused.swap(free_);
  }

 private:
  void give_back(io::Pages* used) {
    std::unique_ptr<io::Pages> pages(used);
    const std::lock_guard lock(mutex_);
    if (keep_) free_.push_back(std::move(pages));
  }

  const std::size_t bytes_;
  std::mutex mutex_;
  bool keep_ = true;
  std::vector<std::unique_ptr<io::Pages>> free_;
};

/// A segment that is being written, shared by the writer and the jobs that sync it.
struct Segment {
  Segment(Threads& threads, wal::SegmentName segment_name, std::unique_ptr<io::File> file,
          std::optional<OpenSegment> known)
      : name(segment_name),
        writing(std::move(file)),
        trusted(known),
        mutex(threads.make_mutex()),
        path(SegmentFileName{segment_name, codec::Method::none, true}.to_string()) {}

  const wal::SegmentName name;
  std::unique_ptr<io::File> writing;  ///< the writing thread's; the finishing job's when full
  const std::optional<OpenSegment> trusted;
  std::shared_ptr<io::Pages> memory;  ///< the writing thread's; set: buffered there

  const std::unique_ptr<Threads::Mutex> mutex;
  std::string path;                                ///< its name right now
  std::vector<std::unique_ptr<io::File>> syncing;  ///< not in use; one job at a time has each
  bool closed = false;

  /// An open file description that no other job is using. Those once opened are kept: an error of
  /// write-back that happens between two syncs is told to every description that was open then.
  std::unique_ptr<io::File> take_file(io::Directory& directory) {
    const std::lock_guard lock(*mutex);
    if (!syncing.empty()) {
      auto file = std::move(syncing.back());
      syncing.pop_back();
      return file;
    }
    auto file = directory.open(path);
    if (!file)
      throw Error(ErrorKind::io, "a segment that is being written has vanished")
          .with("path", directory.path() + "/" + path)
          .hint("Nothing but pgweir may rename or remove files with the suffix .partial.");
    return file;
  }

  void give_back(std::unique_ptr<io::File> file) {
    {
      const std::lock_guard lock(*mutex);
      if (!closed) {
        syncing.push_back(std::move(file));
        return;
      }
    }
    file->close();
  }

  void close() {
    std::vector<std::unique_ptr<io::File>> files;
    {
      const std::lock_guard lock(*mutex);
      files.swap(syncing);
      closed = true;
    }
    for (const auto& file : files) file->close();
    if (const auto file = std::exchange(writing, nullptr)) file->close();
  }

  void rename(io::Directory& directory, const std::string& to, bool replace) {
    const std::lock_guard lock(*mutex);
    if (replace)
      directory.rename_replace(path, to);
    else
      directory.rename_no_replace(path, to);
    path = to;
  }
};

/// What the jobs of one writer know of each other.
struct Order {
  explicit Order(Threads& threads)
      : mutex(threads.make_mutex()), changed(threads.make_condition()) {}

  const std::unique_ptr<Threads::Mutex> mutex;
  const std::unique_ptr<Threads::Condition> changed;
  std::vector<std::uint64_t> unfinished;  ///< numbers of jobs, in order
  bool broken = false;                    ///< a job failed for good or was given up
  std::uint64_t durable_creations = 0;    ///< names created up to this number are safe

  void finish(std::uint64_t job, bool success) {
    const std::lock_guard lock(*mutex);
    if (!success) broken = true;
    remove(job);
  }

  /// With the mutex held.
  void remove(std::uint64_t job) {
    std::erase(unfinished, job);
    changed->notify_all();
  }

  static Error broken_error() {
    return Error(ErrorKind::durability, "an earlier sync of the archive did not succeed")
        .hint("Nothing after it can be acknowledged; its own message tells the reason.");
  }
};

class Job final : public SyncJob {
 public:
  struct Work {
    std::shared_ptr<Segment> segment;
    bool publish = false;
    std::shared_ptr<io::Pages> memory = nullptr;  ///< holds the whole segment
    bool compress = false;
    bool ready = false;  ///< the compressed form is there, durable, under its temporary name
    bool renamed = false;
  };

  Job(io::Directory& directory, std::shared_ptr<Order> order, std::uint64_t number, wal::Lsn end,
      std::vector<Work> work, std::optional<std::uint64_t> creations,
      std::set<std::string> replaceable, codec::Compression compression)
      : directory_(directory),
        order_(std::move(order)),
        number_(number),
        end_(end),
        work_(std::move(work)),
        creations_(creations),
        replaceable_(std::move(replaceable)),
        compression_(compression) {}

  /// A job that is dropped before it is done leaves bytes that no later job covers.
  ~Job() override {
    if (!done_) order_->finish(number_, false);
  }

  wal::Lsn end() const override { return end_; }

  bool publishes() const override {
    return std::any_of(work_.begin(), work_.end(), [](const Work& work) { return work.publish; });
  }

  void sync_data() override {
    guarded([&] {
      for (Work& work : work_) {
        if (work.compress && !work.ready) compress_or_leave_raw(work);
        if (work.compress) continue;
        auto file = work.segment->take_file(directory_);
        try {
          if (work.memory) write_buffered(work, *file);
          file->sync();
          require_its_name(*work.segment, *file);
        } catch (...) {
          work.segment->give_back(std::move(file));
          throw;
        }
        work.segment->give_back(std::move(file));
      }
      // Bytes that are safe in a file whose name is not would be as lost as the others.
      if (creations_) sync_names();
      const std::lock_guard lock(*order_->mutex);
      if (order_->broken) throw Order::broken_error();
      if (publishes()) return;
      order_->remove(number_);
      done_ = true;
    });
  }

  std::vector<wal::SegmentName> publish() override {
    std::vector<wal::SegmentName> finished;
    if (!publishes()) return finished;
    guarded([&] {
      wait_for_earlier_jobs();
      for (Work& work : work_) {
        if (!work.publish) continue;
        publish(work);
        finished.push_back(work.segment->name);
      }
      if (!done_) finish();
    });
    return finished;
  }

 private:
  /// Bytes that are safe in a file which nobody finds are as lost as the others.
  void require_its_name(const Segment& segment, const io::File& file) {
    auto* const identities = directory_.identities();
    if (identities == nullptr || identities->leads_to(segment.path, file)) return;
    throw Error(ErrorKind::durability, "the file that is written is no longer found under its name")
        .with("path", directory_.path() + "/" + segment.path)
        .hint(
            "Somebody renamed it, moved it away or replaced it, while it was in use. Nothing after "
            "that was acknowledged. Put it back if it is needed, and start again: what the server "
            "still has is received again.");
  }

  void write_buffered(Work& work, io::File& file) {
    file.bypass_cache(true);
    file.write_at(0, work.memory->bytes());
    file.bypass_cache(false);
    work.memory = nullptr;
  }

  /// Where there is no space for the compressed form there is for the raw one: its blocks are
  /// reserved. Safe comes before small; compressed it can be later.
  void compress_or_leave_raw(Work& work) {
    try {
      compress(work);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::disk_full) throw;
      directory_.remove(temporary_name(compressed_name(*work.segment)));
      work.compress = false;
    }
  }

  void compress(Work& work) {
    const std::string name = compressed_name(*work.segment);
    const std::string temporary = temporary_name(name);
    const auto wal = work.memory->bytes();
    directory_.remove(temporary);  // of an earlier attempt
    const auto file = directory_.create(temporary);
    const auto compressor = codec::make_compressor(compression_, wal.size());
    std::uint64_t written = 0;
    const codec::PackedSink sink = [&](std::span<const std::byte> bytes) {
      file->write_at(written, bytes);
      written += bytes.size();
    };
    compressor->feed(wal, sink);
    compressor->finish(sink);
    // Here is the last moment at which the raw bytes are at hand.
    std::size_t at = 0;
    bool equal = true;
    read_content(*file, compression_.method, directory_.path() + "/" + temporary,
                 [&](std::span<const std::byte> bytes) {
                   equal = bytes.size() <= wal.size() - at &&
                           std::memcmp(bytes.data(), wal.data() + at, bytes.size()) == 0;
                   at += bytes.size();
                   return equal;
                 });
    if (!equal || at != wal.size())
      throw Error(ErrorKind::damage, "a segment did not come out of compression as it went in")
          .with("path", directory_.path() + "/" + temporary)
          .hint("It was not acknowledged. Check the memory of this machine.");
    file->sync();   // the bytes, before they get the name
    file->close();  // late write errors appear here
    work.ready = true;
    work.memory = nullptr;
  }

  [[nodiscard]] std::string compressed_name(const Segment& segment) const {
    return SegmentFileName{segment.name, compression_.method, false}.to_string();
  }

  void publish(Work& work) {
    Segment& segment = *work.segment;
    if (!work.renamed) {
      refuse_existing(segment);
      segment.close();  // late write errors appear here, before the name says "complete"
      if (work.compress) {
        const std::string name = compressed_name(segment);
        directory_.rename_no_replace(temporary_name(name), name);
      } else {
        const std::string name = segment.name.to_string();
        segment.rename(directory_, name, replaceable_.contains(name));
      }
      work.renamed = true;
    }
    // The name itself. Without it a crash could bring `.partial` back, and before the next rename:
    // see the top of this file.
    directory_.sync();
    if (work.compress) directory_.remove(segment.path);  // of zeros
    for (const codec::Method method : kForms) {
      if (method == codec::Method::none) continue;  // is the one that was published, or has been it
      directory_.remove(SegmentFileName{segment.name, method, true}.to_string());
      const std::string finished = SegmentFileName{segment.name, method, false}.to_string();
      if (replaceable_.contains(finished)) directory_.remove(finished);
    }
  }

  void refuse_existing(const Segment& segment) {
    for (const auto& form : finished_names(segment.name)) {
      const std::string name = form.to_string();
      if (!replaceable_.contains(name) && directory_.find(name))
        throw Error(ErrorKind::conflict, "the segment is in the archive already")
            .with("path", directory_.path() + "/" + name)
            .hint(
                "It was received again and stays as .partial. Compare the two, and remove the one "
                "that is wrong.");
    }
  }

  void sync_names() {
    directory_.sync();
    const std::lock_guard lock(*order_->mutex);
    order_->durable_creations = std::max(order_->durable_creations, *creations_);
  }

  /// A final name must not be given while an earlier sync of the same bytes may still fail.
  void wait_for_earlier_jobs() {
    Threads::Lock lock(*order_->mutex);
    order_->changed->wait(
        lock, [&] { return order_->broken || done_ || order_->unfinished.front() == number_; });
    if (order_->broken) throw Order::broken_error();
  }

  void finish() {
    order_->finish(number_, true);
    done_ = true;
  }

  /// After a failed sync or close nothing of this writer is certain any more.
  template <typename Action>
  void guarded(Action action) {
    try {
      action();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability && !done_) {
        order_->finish(number_, false);
        done_ = true;
      }
      throw;
    }
  }

  io::Directory& directory_;
  const std::shared_ptr<Order> order_;
  const std::uint64_t number_;
  const wal::Lsn end_;
  std::vector<Work> work_;
  const std::optional<std::uint64_t> creations_;
  const std::set<std::string> replaceable_;
  const codec::Compression compression_;
  bool done_ = false;  ///< no longer in order_->unfinished
};

}  // namespace

struct SegmentWriter::Impl {
  enum class Spare { none, preparing, ready, in_use };

  Impl(io::Directory& archive_directory, Options writer_options)
      : directory(archive_directory),
        options(std::move(writer_options)),
        buffers(std::make_shared<Buffers>(options.segment_size.bytes())) {}

  io::Directory& directory;
  const Options options;
  const std::shared_ptr<Order> order = std::make_shared<Order>(*options.threads);
  std::uint64_t next_job = 1;

  wal::TimelineId timeline = 0;
  wal::Lsn position;
  bool begun = false;
  std::vector<OpenSegment> open;
  std::shared_ptr<Segment> current;  ///< nullptr until the first byte behind a border
  bool written = false;              ///< to `current` since the last job was taken
  bool buffer_new = false;
  wal::Lsn buffered_end;
  const std::shared_ptr<Buffers> buffers;
  std::vector<std::shared_ptr<Segment>> full;  ///< since the last job was taken
  std::uint64_t creations = 0;                 ///< names that a directory sync has to cover
  std::uint64_t creations_taken = 0;           ///< of these, covered by a job
  std::uint64_t first_creation = 0;            ///< of the first segment after begin(); 0: none yet

  std::mutex spare_mutex;
  Spare spare = Spare::none;

  void open_segment();
  std::unique_ptr<io::File> create_partial(const std::string& name);
  bool use_spare(const std::string& name);
  void compare_trusted(std::span<const std::byte> wal);
  [[nodiscard]] wal::SegmentSize size() const { return options.segment_size; }
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
    throw Error(ErrorKind::conflict, "an unfinished segment is longer than a segment")
        .with("path", impl_->directory.path() + "/" + name)
        .with("size", entry->size)
        .with("segment size", impl_->size().bytes())
        .hint("It is of a cluster with another wal_segment_size, or damaged. Move it away.");
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
    const auto piece =
        wal.first(std::min<std::uint64_t>(wal.size(), impl_->size().bytes() - offset));
    impl_->compare_trusted(piece);
    impl_->written = true;  // also if it fails: a front part may be there
    if (const auto& memory = impl_->current->memory) {
      std::byte* const place = memory->bytes().data() + offset;
      if (place != piece.data()) std::memcpy(place, piece.data(), piece.size());
      impl_->buffered_end = impl_->position + piece.size();
    } else {
      impl_->current->writing->write_at(offset, piece);
    }
    impl_->position = impl_->position + piece.size();
    wal = wal.subspan(piece.size());
    if (impl_->size().offset(impl_->position) == 0) {
      impl_->full.push_back(std::exchange(impl_->current, nullptr));
      impl_->written = false;
    }
  }
}

std::span<std::byte> SegmentWriter::place() const {
  if (!impl_->current || !impl_->current->memory) return {};
  return impl_->current->memory->bytes().subspan(impl_->size().offset(impl_->position));
}

std::unique_ptr<SyncJob> SegmentWriter::take_sync_job() {
  std::vector<Job::Work> work;
  // First, since it may fail and be tried again. Here and not in the job: what comes to the segment
  // next is written piece by piece, and a crash shall not find it in the file without its front.
  if (impl_->written && impl_->current->memory) {
    const auto front = impl_->current->memory->bytes().first(impl_->size().offset(impl_->position));
    impl_->current->writing->write_at(0, front);
    impl_->current->memory = nullptr;
  }
  for (const auto& segment : impl_->full) {
    Job::Work one{segment, true};
    one.memory = std::exchange(segment->memory, nullptr);
    one.compress = one.memory && impl_->options.compression.method != codec::Method::none &&
                   impl_->options.replaceable.empty();
    work.push_back(std::move(one));
  }
  if (impl_->written) work.push_back({impl_->current, false});
  std::optional<std::uint64_t> creations;
  if (impl_->creations != impl_->creations_taken) creations = impl_->creations;
  if (work.empty() && !creations) return nullptr;

  const std::uint64_t number = impl_->next_job++;
  {
    const std::lock_guard lock(*impl_->order->mutex);
    impl_->order->unfinished.push_back(number);
  }
  impl_->full.clear();
  impl_->written = false;
  impl_->creations_taken = impl_->creations;
  return std::make_unique<Job>(impl_->directory, impl_->order, number, impl_->position,
                               std::move(work), creations, impl_->options.replaceable,
                               impl_->options.compression);
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

/// Opens the `.partial` that position() is the first byte of, or makes it.
void SegmentWriter::Impl::open_segment() {
  const wal::SegmentName segment(timeline, size().segno(position), size());
  const std::string name = SegmentFileName{segment, codec::Method::none, true}.to_string();

  // Should the names of two new segments be lost and kept by a crash one by one, the archive could
  // seem to begin with the second. Behind a finished segment the resume point takes care of that;
  // the first segment after begin() has to be findable before there is another one. (Its first job
  // has done that long ago, unless nothing was synced for a whole segment.)
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
    throw Error(ErrorKind::conflict, "an unfinished segment is longer than a segment")
        .with("path", directory.path() + "/" + name)
        .with("size", bytes)
        .with("segment size", size().bytes())
        .hint("It is of a cluster with another wal_segment_size, or damaged. Move it away.");
  if (bytes < size().bytes()) file->allocate(size().bytes());

  const auto known = std::find_if(open.begin(), open.end(),
                                  [&](const OpenSegment& o) { return o.start == position; });
  current = std::make_shared<Segment>(
      *options.threads, segment, std::move(file),
      known == open.end() ? std::nullopt : std::optional<OpenSegment>(*known));
  if (buffer_new && is_new && size().bytes() <= options.largest_buffered)
    current->memory = Buffers::take(buffers);
  else
    buffers->keep_none();
  // Also a name that was there: the process that made it may have been killed before its sync.
  ++creations;
  if (first_creation == 0) first_creation = creations;
}

std::unique_ptr<io::File> SegmentWriter::Impl::create_partial(const std::string& name) {
  if (use_spare(name))
    if (auto file = directory.open(name)) return file;
  return directory.create(name);
}

/// Never waits: while a spare is being prepared there is none.
bool SegmentWriter::Impl::use_spare(const std::string& name) {
  {
    const std::lock_guard lock(spare_mutex);
    if (spare != Spare::ready) return false;
    spare = Spare::in_use;
  }
  const auto set = [&](Spare state) {
    const std::lock_guard lock(spare_mutex);
    spare = state;
  };
  try {
    directory.rename_no_replace(std::string(kSpareName), name);
  } catch (const Error&) {
    set(Spare::none);  // it costs nothing but speed; what stands in its way fails create(), too
    return false;
  }
  set(Spare::none);
  return true;
}

/// WAL that may have been acknowledged is never replaced by other WAL.
void SegmentWriter::Impl::compare_trusted(std::span<const std::byte> wal) {
  if (!current->trusted) return;
  const wal::Lsn begin = std::max(position, current->trusted->first_record);
  const wal::Lsn end = std::min(position + wal.size(), current->trusted->trusted_end);
  std::vector<std::byte> held;
  for (wal::Lsn at = begin; at < end;) {
    held.resize(std::min<std::uint64_t>(kPiece, end - at));
    const std::size_t count = current->writing->read_at(size().offset(at), held);
    const auto offered = wal.subspan(at - position, held.size());
    if (count == held.size() && std::memcmp(held.data(), offered.data(), count) == 0) {
      at = at + count;
      continue;
    }
    const auto [mine, theirs] = std::mismatch(held.begin(), held.end(), offered.begin());
    const auto differs = at + static_cast<std::uint64_t>(mine - held.begin());
    throw OtherWal(
        Error(ErrorKind::conflict, "the upstream sends other WAL than the archive holds")
            .with("timeline", timeline)
            .with("position", differs)
            .with("path", directory.path() + "/" + current->path)
            .hint("Two servers write on the same timeline, or the upstream was restored to an "
                  "earlier state without a new timeline. Find out which one is right; an archive "
                  "holds one."),
        differs);
  }
}

void SegmentWriter::prepare_spare() {
  {
    const std::lock_guard lock(impl_->spare_mutex);
    if (impl_->spare != Impl::Spare::none) return;
    impl_->spare = Impl::Spare::preparing;
  }
  const auto set = [&](Impl::Spare state) {
    const std::lock_guard lock(impl_->spare_mutex);
    impl_->spare = state;
  };
  const std::string name(kSpareName);
  try {
    impl_->directory.remove(name);
    const auto file = impl_->directory.create(name);
    // Blocks that have been written once take a third of the time to sync that reserved ones do.
    file->allocate(impl_->size().bytes());
    static constexpr std::array<std::byte, kZeros> kPieceOfZeros{};
    for (std::uint64_t at = 0; at < impl_->size().bytes(); at += kZeros)
      file->write_at(at, kPieceOfZeros);
    file->sync();
    file->close();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::durability) {
      try {
        impl_->directory.remove(name);  // the space is worth more to the WAL
      } catch (const Error&) {
        // The first error is the one to tell; the next attempt or clean_up() removes the file.
      }
    }
    set(Impl::Spare::none);
    throw;
  }
  set(Impl::Spare::ready);
}

bool SegmentWriter::spare_ready() const {
  const std::lock_guard lock(impl_->spare_mutex);
  return impl_->spare == Impl::Spare::ready;
}

std::vector<wal::SegmentName> run(SyncJob& job) {
  job.sync_data();
  return job.publish();
}

}  // namespace weir::archive
