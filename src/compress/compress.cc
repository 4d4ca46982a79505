#include "compress/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/digest.h"
#include "archive/forms.h"
#include "archive/home.h"
#include "archive/segment_reader.h"
#include "archive/sizes.h"
#include "base/error.h"
#include "base/for_each_index.h"
#include "wal/record_verifier.h"

namespace weir::compress {

namespace {

using archive::Digest;
using archive::SegmentFileName;

/// Converts one segment. The code follows the order of the guaranteed steps.
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
    gone,  ///< nothing left to do: another process converted it, or a prune removed the segment
    stopped,
  };
  Outcome run() {
    if (!directory_.find(target_))
      if (const auto written = write(); written != Outcome::converted) return written;
    return remove_others();
  }

  [[nodiscard]] std::uint64_t bytes_after() const { return bytes_after_; }

 private:
  [[nodiscard]] bool stopped() const { return options_.stop && options_.stop(); }

  Outcome write() {
    const auto& source = forms_.front().name;
    bool interrupted = false;
    const auto fill = [&](archive::Draft& draft) {
      const auto digest = compress(source, draft);
      // The old file is about to be removed, so the new one is verified first.
      const auto proven = digest ? read_back(draft.written()) : std::nullopt;
      interrupted = !proven;
      if (proven && *proven != *digest)
        throw Error(ErrorKind::damage, "a compressed segment does not match its original")
            .with("file", source.to_string())
            .hint("The old file stays as it is. Check the memory of this machine.");
      return !interrupted;
    };
    // A prune that removed the old file did not see the new one. Checked only up to this point:
    // once ours is renamed into place, the old one may also have been removed because of it (the
    // receiver compresses, too), and then ours is the only copy.
    const auto still_wanted = [&] {
      return directory_.find(source.to_string()) || any_other_form();
    };
    try {
      const bool published = archive::DirectoryHome(directory_)
                                 .publish({.name = target_,
                                           .writers = archive::Home::Writers::many,
                                           .still_wanted = still_wanted},
                                          fill);
      if (interrupted) return Outcome::stopped;
      if (!published) bytes_after_ = 0;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) throw;
      if (error.kind() == ErrorKind::io && !directory_.find(source.to_string()))
        return Outcome::gone;
      // The receiver was faster: remove_others() compares with its file.
      if (error.kind() != ErrorKind::conflict) throw;
      bytes_after_ = 0;
    }
    return Outcome::converted;
  }

  /// nullopt if stopped.
  std::optional<Digest> compress(const SegmentFileName& source, archive::Draft& to) {
    wal::RecordVerifier::Options checks;
    checks.segment_size = size_;
    checks.timeline = segment_.timeline();
    wal::RecordVerifier verifier(checks, segment_.start(size_));
    const auto compressor = codec::make_compressor(options_.compression, size_.bytes());
    Digest digest;
    std::uint64_t written = 0;
    const codec::PackedSink sink = [&](std::span<const std::byte> bytes) {
      to.write(bytes);
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
  std::optional<Digest> read_back(io::Bytes& file) {
    Digest digest;
    const bool whole = archive::read_content(file, codec::Method::zstd, directory_.path_of(target_),
                                             [&](std::span<const std::byte> wal) {
                                               digest.add(wal);
                                               return !stopped();
                                             });
    return whole ? std::optional(digest) : std::nullopt;
  }

  [[nodiscard]] bool any_other_form() {
    return std::any_of(forms_.begin(), forms_.end(), [&](const auto& form) {
      return form.name.to_string() != target_ && directory_.find(form.name.to_string());
    });
  }

  static constexpr std::uint64_t kSame = UINT64_MAX;
  static constexpr std::uint64_t kGone = UINT64_MAX - 1;
  /// Returns the offset of the first difference. kGone if the other file does not exist (any more):
  /// the receiver removes it when it has compressed it itself. nullopt if the target is gone.
  std::optional<std::uint64_t> difference(const SegmentFileName& target,
                                          const SegmentFileName& other) {
    try {
      if (!directory_.find(other.to_string())) return kGone;
      const auto offset =
          archive::first_difference(directory_, target, other, size_, size_.bytes());
      if (!offset) return kSame;
      // Copies from a primary and a standby may differ after an xlog switch.
      const auto file = directory_.open_bytes(target_);
      if (!file) return std::nullopt;
      return *offset < archive::meaningful_bytes(*file, target.method, segment_, size_) ? *offset
                                                                                        : kSame;
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
    // The program that created it may not have flushed it. And if the old file were removed first,
    // a crash could leave neither.
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
      // A file that was just read back is not read again, unless another process's file was
      // published first.
      if (bytes_after_ == 0 || form.name != forms_.front().name) {
        const auto offset = difference(target, form.name);
        if (!offset) return Outcome::gone;  // a prune took the target
        if (*offset == kGone) continue;
        if (*offset != kSame)
          throw Error(ErrorKind::conflict, "two files of one segment differ")
              .with("file", name)
              .with("other file", target_)
              .with("offset in the segment", *offset)
              .hint("Neither file was changed. \"pgweir verify\" shows which one is valid.");
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
  std::uint64_t bytes_after_ = 0;  ///< of what we wrote; 0 where we did not
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
  std::uint64_t done = 0;
  const auto total = work.segments.size() * segment_size.bytes();
  const std::function<void(std::uint64_t)> advance = [&](std::uint64_t bytes) {
    const std::lock_guard lock(mutex);
    done = std::min(done + bytes, total);
    if (options.progress) options.progress(done, total);
  };

  const auto recent_change_of = [&](wal::SegmentName segment, const Error& error) {
    if (error.kind() != ErrorKind::damage) return archive::RecentChange();
    try {
      return archive::find_recent_change(directory, segment, segment_size,
                                         std::chrono::system_clock::now());
    } catch (const Error&) {
      return archive::RecentChange();  // the first error is reported
    }
  };

  enum class Next { segment, once_more, nothing };
  const auto convert = [&](std::size_t i, bool again) {
    const auto& forms = work.segments[i];
    Conversion conversion(directory, forms, segment_size, options, advance);
    try {
      const auto outcome = conversion.run();
      const std::lock_guard lock(mutex);
      if (outcome == Conversion::Outcome::stopped) result.stopped = true;
      if (outcome != Conversion::Outcome::converted)
        return result.stopped ? Next::nothing : Next::segment;
      ++result.segments;
      for (const auto& form : forms) result.bytes_before += form.bytes.value();
      result.bytes_after += conversion.bytes_after();
    } catch (const Error& error) {
      // An error that does not concern a single segment ends the run, and is reported once.
      if (error.kind() == ErrorKind::disk_full || error.kind() == ErrorKind::durability ||
          error.system_code() == EROFS)
        throw;
      // Another program is copying it directly to its final name: left to the next run. Or it has
      // just done so.
      const auto change = recent_change_of(forms.front().name.segment, error);
      if (change.ends_early) return Next::segment;
      if (change.changed && !again) return Next::once_more;
      const std::lock_guard lock(mutex);
      result.failures.push_back(
          {forms.front().name.to_string(), error.what(), error.hint(), error.kind()});
    }
    return Next::segment;
  };
  for_each_index(work.segments.size(), options.jobs, [&](std::size_t i) {
    auto next = convert(i, false);
    if (next == Next::once_more) next = convert(i, true);
    return next != Next::nothing;
  });
  return result;
}

}  // namespace weir::compress
