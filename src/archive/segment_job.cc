#include "archive/segment_job.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/listing.h"
#include "archive/own_names.h"

namespace weir::archive {

namespace {

class Job final : public SyncJob {
 public:
  Job(io::Directory& directory, std::shared_ptr<JobOrder> order, std::vector<JobWork> work,
      const JobOptions& options)
      : directory_(directory),
        order_(std::move(order)),
        work_(std::move(work)),
        segment_size_(options.segment_size),
        number_(options.number),
        end_(options.end),
        creations_(options.creations),
        replaceable_(options.replaceable),
        compression_(options.compression) {}

  /// A job that is dropped before it is done leaves bytes that no later job covers.
  ~Job() override {
    if (!done_) order_->finish(number_, false);
  }

  wal::Lsn end() const override { return end_; }

  bool publishes() const override {
    return std::any_of(work_.begin(), work_.end(),
                       [](const JobWork& work) { return work.publish; });
  }

  bool writes() const override {
    return std::any_of(work_.begin(), work_.end(),
                       [](const JobWork& work) { return work.memory != nullptr; });
  }

  void sync_data() override {
    guarded([&] {
      for (JobWork& work : work_) {
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
      // Durable bytes in a file whose name is not durable would be lost, too.
      if (creations_) sync_names();
      const std::lock_guard lock(*order_->mutex);
      if (order_->broken) throw_broken();
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
      for (JobWork& work : work_) {
        if (!work.publish) continue;
        publish(work);
        finished.push_back(work.segment->name);
      }
      if (!done_) finish();
    });
    return finished;
  }

  bool only_follows() const override { return only_follows_; }

 private:
  /// Durable bytes in a file that no name refers to are lost, too.
  void require_its_name(const WrittenSegment& segment, const io::File& file) {
    auto* const identities = directory_.identities();
    if (identities == nullptr || identities->leads_to(segment.path, file)) return;
    throw Error(ErrorKind::durability, "the segment being written was renamed or replaced")
        .with("path", directory_.path() + "/" + segment.path)
        .hint(
            "Another process renamed, moved or replaced it. No WAL after that was confirmed. "
            "Restore the file if the server no longer has its WAL, then restart: WAL that the "
            "server still has is received again.");
  }

  void write_buffered(JobWork& work, io::File& file) {
    auto* const direct = file.direct_writes();
    if (direct != nullptr) direct->bypass_cache(true);
    file.write_at(work.offset, work.memory->bytes());
    if (direct != nullptr) direct->bypass_cache(false);
    work.memory = nullptr;
  }

  /// If there is no space for the compressed file, there is for the raw one: its blocks are
  /// reserved. Durability has precedence; it can be compressed later.
  void compress_or_leave_raw(JobWork& work) {
    try {
      compress(work);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::disk_full) throw;
      directory_.remove(temporary_name(compressed_name(*work.segment)));
      work.compress = false;
    }
  }

  void compress(JobWork& work) {
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
    // This is the last moment at which the raw bytes are in memory.
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
      throw Error(ErrorKind::damage, "a compressed segment does not match its original")
          .with("path", directory_.path() + "/" + temporary)
          .hint("It was not acknowledged. Check the memory of this machine.");
    file->sync();   // the bytes, before they get the name
    file->close();  // late write errors appear here
    work.ready = true;
    work.memory = nullptr;
  }

  [[nodiscard]] std::string compressed_name(const WrittenSegment& segment) const {
    return SegmentFileName{segment.name, compression_.method, false}.to_string();
  }

  void publish(JobWork& work) {
    WrittenSegment& segment = *work.segment;
    const std::string published =
        work.compress ? compressed_name(segment) : segment.name.to_string();
    for (bool again = false; !work.renamed; again = true) {
      check_existing(work);
      segment.close();  // late write errors appear here, before the name marks it as complete
      try {
        rename(work, published);
        work.renamed = true;
      } catch (const Error& error) {
        // Another process may have put the segment there since the check.
        if (again || error.kind() != ErrorKind::conflict) throw;
      }
    }
    // The name itself. Without this a crash could bring `.partial` back, and before the next
    // rename: see the top of segment_writer.cc.
    directory_.sync();
    if (work.compress) directory_.remove(segment.path);  // of zeros
    bool removed = false;
    for (const codec::Method method : kForms) {
      if (method != codec::Method::none)  // that one has been renamed or removed
        directory_.remove(SegmentFileName{segment.name, method, true}.to_string());
      const std::string finished = SegmentFileName{segment.name, method, false}.to_string();
      if (finished == published || !replaceable_.contains(finished)) continue;
      directory_.remove(finished);
      removed = true;
    }
    // After a crash, a reader would find half a copy before the segment.
    if (removed) directory_.sync();
  }

  void rename(const JobWork& work, const std::string& published) {
    const bool replace = replaceable_.contains(published);
    if (!work.compress)
      work.segment->rename(directory_, published, replace);
    else if (replace)
      directory_.rename_replace(temporary_name(published), published);
    else
      directory_.rename_no_replace(temporary_name(published), published);
  }

  /// Another process may have put the segment there meanwhile, for example `cp` that copies the
  /// directory of an archive_command. Its file may be half copied, and nothing says that it is
  /// durable: if it contains nothing else, it is replaced.
  void check_existing(const JobWork& work) {
    for (const auto& form : finished_names(work.segment->name)) {
      const std::string name = form.to_string();
      if (replaceable_.contains(name)) continue;
      const auto existing = directory_.open_for_reading(name);
      if (!existing) continue;
      if (!is_part_of(*existing, form.method, work))
        throw Error(ErrorKind::conflict,
                    "the segment already exists in the archive, with different contents")
            .with("path", directory_.path() + "/" + name)
            .hint(
                "The received WAL is kept as .partial. Compare the two with pg_waldump, and remove "
                "the wrong one.");
      replaceable_.insert(name);
    }
  }

  /// Whether the file contains the segment to be published, or the first part of it. Copies from a
  /// primary and a standby may differ after an xlog switch.
  bool is_part_of(io::File& existing, codec::Method method, const JobWork& work) {
    const std::string name =
        work.compress ? temporary_name(compressed_name(*work.segment)) : work.segment->path;
    const auto file = directory_.open_for_reading(name);
    if (!file) return false;
    const auto own_method = work.compress ? compression_.method : codec::Method::none;
    ContentReader segment(*file, own_method);
    ContentReader theirs(existing, method, {.may_break_off = true});
    std::vector<std::byte> same;
    std::uint64_t at = 0;
    std::optional<std::uint64_t> meaningful;
    try {
      return theirs.read([&](std::span<const std::byte> bytes) {
        same.resize(bytes.size());
        if (segment.read(same) != bytes.size()) return false;
        const auto other = std::mismatch(bytes.begin(), bytes.end(), same.begin()).first;
        const auto differs = at + static_cast<std::uint64_t>(other - bytes.begin());
        at += bytes.size();
        if (differs == at) return true;
        if (!meaningful)
          meaningful = meaningful_bytes(*file, own_method, work.segment->name, segment_size_);
        return differs >= *meaningful;
      });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      return false;
    }
  }

  void sync_names() {
    directory_.sync();
    const std::lock_guard lock(*order_->mutex);
    order_->durable_creations = std::max(order_->durable_creations, *creations_);
  }

  /// The file must not be renamed while an earlier fsync of the same bytes may still fail.
  void wait_for_earlier_jobs() {
    Threads::Lock lock(*order_->mutex);
    order_->changed->wait(
        lock, [&] { return order_->broken || done_ || order_->unfinished.front() == number_; });
    if (order_->broken) throw_broken();
  }

  [[noreturn]] void throw_broken() {
    only_follows_ = true;
    throw JobOrder::broken_error();
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
  const std::shared_ptr<JobOrder> order_;
  std::vector<JobWork> work_;
  const wal::SegmentSize segment_size_;
  const std::uint64_t number_;
  const wal::Lsn end_;
  const std::optional<std::uint64_t> creations_;
  std::set<std::string> replaceable_;  ///< complete files of its segments
  const codec::Compression compression_;
  bool done_ = false;  ///< no longer in order_->unfinished
  bool only_follows_ = false;
};

}  // namespace

std::unique_ptr<SyncJob> make_sync_job(io::Directory& directory, std::shared_ptr<JobOrder> order,
                                       std::vector<JobWork> work, const JobOptions& options) {
  return std::make_unique<Job>(directory, std::move(order), std::move(work), options);
}

std::vector<wal::SegmentName> run(SyncJob& job) {
  job.sync_data();
  return job.publish();
}

}  // namespace weir::archive
