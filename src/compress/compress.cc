#include "compress/compress.h"

#include <fmt/format.h>
#include <isa-l/crc.h>
#include <isa-l/crc64.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "wal/record_verifier.h"

namespace weir::compress {

namespace {

using archive::SegmentFileName;

// Not the names that the receiver uses and cleans up: both may be at work on one segment.
constexpr std::string_view kPrefix = ".pgweir-convert-";
constexpr std::string_view kSuffix = ".tmp";

/// A lock on the temporary file tells that somebody is at work on it; the kernel takes it back when
/// the process is gone. nullopt: this file system knows no locks.
std::optional<bool> try_lock(io::File& file) {
  try {
    return file.try_lock();
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Two conversions may run at once: neither must ever rename what the other one is writing.
std::string unique_name(std::string_view target) {
  std::random_device random;
  return fmt::format("{}{:08x}{:08x}-{}{}", kPrefix, random(), random(), target, kSuffix);
}

/// 96 bits of two different polynomials, over a stream.
class Digest {
 public:
  void add(std::span<const std::byte> bytes) {
    // ISA-L does not write to the buffer, its prototypes only lack the const.
    auto* buffer = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    crc64_ = crc64_ecma_refl(crc64_, buffer, bytes.size());
    crc32c_ = crc32_iscsi(buffer, static_cast<int>(bytes.size()), crc32c_);
    size_ += bytes.size();
  }
  bool operator==(const Digest&) const = default;

 private:
  std::uint64_t crc64_ = 0;
  std::uint32_t crc32c_ = ~0u;
  std::uint64_t size_ = 0;
};

/// One segment. Reads as the steps that its promise is made of.
class Conversion {
 public:
  Conversion(io::Directory& directory, const std::vector<archive::SegmentEntry>& forms,
             wal::SegmentSize size, const Options& options,
             const std::function<void(std::uint64_t)>& advance)
      : directory_(directory),
        forms_(forms),
        segment_(forms.front().name.segment),
        size_(size),
        options_(options),
        advance_(advance),
        target_(SegmentFileName{segment_, codec::Method::zstd, false}.to_string()) {}

  enum class Outcome {
    converted,
    gone,  ///< there was nothing to do: somebody else did it, or a prune took the segment
    stopped,
  };
  Outcome run() {
    if (!directory_.find(target_)) {
      if (const auto written = write(); written != Outcome::converted) return written;
      publish();
    }
    return remove_others();
  }

  [[nodiscard]] std::uint64_t bytes_after() const { return bytes_after_; }

 private:
  [[nodiscard]] bool stopped() const { return options_.stop && options_.stop(); }

  Outcome write() {
    const auto& source = forms_.front().name;
    try {
      const auto file = create_temporary();
      const auto digest = compress(source, *file);
      // The old form is about to go: what is left has to be proven first.
      const auto proven = digest ? read_back(*file) : std::nullopt;
      if (!proven) {
        directory_.remove(temporary_);
        return Outcome::stopped;
      }
      if (*proven != *digest)
        throw Error(ErrorKind::damage, "a segment did not come out of compression as it went in")
            .with("file", source.to_string())
            .hint("The old file stays as it is. Check the memory of this machine.");
      file->sync();   // the bytes, before they get the name
      file->close();  // late write errors appear here
      return Outcome::converted;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw;
      drop_temporary();
      if (error.kind() == ErrorKind::io && !directory_.find(source.to_string()))
        return Outcome::gone;
      throw;
    }
  }

  /// Under a lock of its own, held until it has its name or is gone: remove_leftovers() leaves it
  /// alone as long.
  std::unique_ptr<io::File> create_temporary() {
    for (;;) {
      temporary_ = unique_name(target_);
      auto file = directory_.create(temporary_);
      lock_ = directory_.open(temporary_);
      if (lock_ && try_lock(*lock_) == false) lock_ = nullptr;
      // Before it was locked another run may have taken it for a leftover.
      if (lock_ && directory_.find(temporary_)) return file;
    }
  }

  void drop_temporary() {
    try {
      directory_.remove(temporary_);
    } catch (const Error&) {
      // The error that brought us here is the one to tell; the next run removes the file.
    }
  }

  /// nullopt if stopped.
  std::optional<Digest> compress(const SegmentFileName& source, io::File& to) {
    wal::RecordVerifier::Options checks;
    checks.segment_size = size_;
    checks.timeline = segment_.timeline();
    wal::RecordVerifier verifier(checks, segment_.start(size_));
    const auto compressor = codec::make_compressor(options_.compression, size_.bytes());
    Digest digest;
    std::uint64_t written = 0;
    const codec::PackedSink sink = [&](std::span<const std::byte> bytes) {
      to.write_at(written, bytes);
      written += bytes.size();
    };
    bool stop = false;
    std::optional<wal::Damage> damage;
    archive::read_segment(directory_, source, size_, [&](std::span<const std::byte> wal) {
      stop = stopped();
      if (!stop) damage = verifier.feed(wal);
      if (stop || damage) return false;
      digest.add(wal);
      compressor->feed(wal, sink);
      advance_(wal.size());
      return true;
    });
    if (stop) return std::nullopt;
    if (damage)
      throw Error(ErrorKind::damage, damage->what)
          .with("file", source.to_string())
          .with("LSN", damage->at)
          .hint("It stays as it is. See \"pgweir verify\".");
    compressor->finish(sink);
    bytes_after_ = written;
    return digest;
  }

  /// nullopt if stopped.
  std::optional<Digest> read_back(io::File& file) {
    Digest digest;
    const bool whole =
        archive::read_content(file, codec::Method::zstd, directory_.path() + "/" + temporary_,
                              [&](std::span<const std::byte> wal) {
                                digest.add(wal);
                                return !stopped();
                              });
    return whole ? std::optional(digest) : std::nullopt;
  }

  void publish() {
    // A prune that removed the old form did not see the new one. Only up to here: once ours has its
    // name, the old one may also have gone because of it (the receiver compresses, too), and
    // nothing but ours is left.
    if (!directory_.find(forms_.front().name.to_string()) && !any_other_form()) {
      drop_temporary();
      bytes_after_ = 0;
      return;
    }
    try {
      directory_.rename_no_replace(temporary_, target_);
    } catch (const Error& error) {
      drop_temporary();
      // The receiver was quicker: remove_others() compares with its file.
      if (error.kind() != ErrorKind::conflict) throw;
      bytes_after_ = 0;
    }
  }

  [[nodiscard]] bool any_other_form() {
    return std::any_of(forms_.begin(), forms_.end(), [&](const auto& form) {
      return form.name.to_string() != target_ && directory_.find(form.name.to_string());
    });
  }

  static constexpr std::uint64_t kSame = UINT64_MAX;
  static constexpr std::uint64_t kGone = UINT64_MAX - 1;
  /// Offset of the first difference. kGone if the other one is not there (any more): the receiver
  /// removes it when it has compressed it itself. nullopt if the target is gone.
  std::optional<std::uint64_t> difference(const SegmentFileName& target,
                                          const SegmentFileName& other) {
    try {
      if (!directory_.find(other.to_string())) return kGone;
      return archive::first_difference(directory_, target, other, size_, size_.bytes())
          .value_or(kSame);
    } catch (const Error& error) {
      if (!archive::is_gone(error)) throw;
      if (!directory_.find(target_)) return std::nullopt;
      return kGone;
    }
  }

  Outcome remove_others() {
    const SegmentFileName target{segment_, codec::Method::zstd, false};
    const auto file = directory_.open(target_);
    if (!file) return Outcome::gone;
    // Who made it may not have synced it. And were the old name gone first, a crash could leave
    // neither.
    try {
      file->sync();
      file->close();
    } catch (const Error&) {
      if (!directory_.find(target_)) return Outcome::gone;  // a prune took it
      throw;
    }
    directory_.sync();
    for (const auto& form : forms_) {
      const auto name = form.name.to_string();
      if (name == target_) continue;
      if (stopped()) return Outcome::stopped;
      // What was just read back needs no second look, unless somebody else's file won.
      if (bytes_after_ == 0 || form.name != forms_.front().name) {
        const auto offset = difference(target, form.name);
        if (!offset) return Outcome::gone;  // a prune took the target
        if (*offset == kGone) continue;
        if (*offset != kSame)
          throw Error(ErrorKind::conflict, "two files of one segment differ")
              .with("file", name)
              .with("other file", target_)
              .with("offset in the segment", *offset)
              .hint("Neither is touched. See \"pgweir verify\" for which one is sound.");
      }
      directory_.remove(name);
    }
    if (bytes_after_ == 0)
      if (const auto entry = directory_.find(target_)) bytes_after_ = entry->size;
    return Outcome::converted;
  }

  io::Directory& directory_;
  const std::vector<archive::SegmentEntry>& forms_;
  const wal::SegmentName segment_;
  const wal::SegmentSize size_;
  const Options& options_;
  const std::function<void(std::uint64_t)>& advance_;
  const std::string target_;
  std::string temporary_;
  std::unique_ptr<io::File> lock_;  ///< on the temporary file
  std::uint64_t bytes_after_ = 0;   ///< of what we wrote; 0 where we did not
};

}  // namespace

Work find_work(const archive::Listing& listing) {
  Work work;
  for (auto& forms : archive::segment_forms(listing))
    if (!forms.finished.empty()) work.segments.push_back(std::move(forms.finished));
  std::erase_if(work.segments, [](const auto& forms) {
    return forms.size() == 1 && forms.front().name.method == codec::Method::zstd;
  });
  for (const auto& forms : work.segments)
    for (const auto& form : forms) work.bytes += form.bytes.value();
  return work;
}

Result compress_archive(io::Directory& directory, const Work& work, wal::SegmentSize segment_size,
                        const Options& options) {
  PGWEIR_CHECK(options.compression.method == codec::Method::zstd);
  Result result;
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<std::size_t> next = 0;
  std::uint64_t done = 0;
  const auto total = work.segments.size() * segment_size.bytes();
  const std::function<void(std::uint64_t)> advance = [&](std::uint64_t bytes) {
    const std::lock_guard lock(mutex);
    done = std::min(done + bytes, total);
    if (options.progress) options.progress(done, total);
  };
  const auto give_up = [&] { next = work.segments.size(); };

  const auto worker = [&] {
    for (auto i = next++; i < work.segments.size(); i = next++) {
      const auto& forms = work.segments[i];
      Conversion conversion(directory, forms, segment_size, options, advance);
      try {
        const auto outcome = conversion.run();
        const std::lock_guard lock(mutex);
        if (outcome == Conversion::Outcome::stopped) {
          result.stopped = true;
          give_up();
        }
        if (outcome != Conversion::Outcome::converted) continue;
        ++result.segments;
        for (const auto& form : forms) result.bytes_before += form.bytes.value();
        result.bytes_after += conversion.bytes_after();
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        // What concerns no single segment ends it, and is told once.
        if (error.kind() == ErrorKind::disk_full || error.kind() == ErrorKind::durability ||
            error.system_code() == EROFS) {
          if (!failure) failure = std::current_exception();
          give_up();
          continue;
        }
        result.failures.push_back(
            {forms.front().name.to_string(), error.what(), error.hint(), error.kind()});
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        give_up();
      }
    }
  };
  {
    const auto count = std::clamp<std::size_t>(work.segments.size(), 1, std::max(1u, options.jobs));
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < count; ++i) threads.emplace_back(worker);
    worker();
  }
  if (failure) std::rethrow_exception(failure);
  return result;
}

bool is_leftover(std::string_view name) {
  return name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

void remove_leftovers(io::Directory& directory,
                      std::chrono::system_clock::time_point written_before) {
  for (const auto& entry : directory.list()) {
    if (!is_leftover(entry.name)) continue;
    const auto file = directory.open(entry.name);
    if (!file) continue;
    if (try_lock(*file).value_or(entry.modified < written_before)) directory.remove(entry.name);
  }
}

}  // namespace weir::compress
