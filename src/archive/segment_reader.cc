#include "archive/segment_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/processors.h"
#include "io/pages.h"

namespace weir::archive {

namespace {

/// Bytes of the file read at once: large enough for few calls, small enough that what was read is
/// still in the processor's cache when it is checked and written on.
constexpr std::size_t kRead = 256 * 1024;
/// The same of a compressed file, of which one reads less for the same content.
constexpr std::size_t kReadPacked = 64 * 1024;

/// Counts what goes to the sink, cuts it into pieces, and tells an error of the sink from one of
/// the codec between.
class Output {
 public:
  Output(const codec::Sink& sink, std::uint64_t limit) : sink_(sink), limit_(limit) {}

  void take(std::span<const std::byte> raw) {
    if (raw.size() > limit_ - given_) {
      too_much_ = true;
      raw = raw.first(limit_ - given_);
    }
    while (!raw.empty()) {
      const auto piece = raw.first(std::min(raw.size(), kPiece));
      raw = raw.subspan(piece.size());
      try {
        sink_(piece);
      } catch (...) {
        sink_failed_ = true;
        throw;
      }
      given_ += piece.size();
    }
    if (too_much_)
      throw Error(ErrorKind::damage, "the content is longer than a segment")
          .with("expected", limit_);
  }

  [[nodiscard]] std::uint64_t given() const { return given_; }
  [[nodiscard]] bool sink_failed() const { return sink_failed_; }

 private:
  const codec::Sink& sink_;
  std::uint64_t limit_;
  std::uint64_t given_ = 0;
  bool too_much_ = false;
  bool sink_failed_ = false;
};

std::string path_of(io::Directory& directory, const std::string& file) {
  const auto& path = directory.path();
  return path.ends_with('/') ? path + file : path + "/" + file;
}

Error with_place(const Error& error, const std::string& path, std::uint64_t file_offset,
                 std::uint64_t segment_offset) {
  Error placed(error.kind(), error.what());
  placed.with("file", path).with("offset in the file", file_offset);
  placed.with("offset in the segment", segment_offset);
  if (!error.hint().empty()) placed.hint(error.hint());
  return placed;
}

std::unique_ptr<io::File> open_existing(io::Directory& directory, const std::string& name) {
  auto file = directory.open_for_reading(name);
  if (!file)
    throw system_error(ENOENT, "the segment file is gone").with("file", path_of(directory, name));
  return file;
}

std::uint64_t read_raw(io::File& file, const std::string& path, std::uint64_t expected,
                       bool partial, Output& output) {
  // Before a byte is given: a short file would cost its reader the work, and more.
  const auto size = file.size();
  if (partial ? size > expected : size != expected)
    throw Error(ErrorKind::damage, "unexpected size of a segment file")
        .with("file", path)
        .with(partial ? "expected at most" : "expected", expected)
        .with("found", size);
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kRead, size)));
  for (std::uint64_t at = 0; at < size;) {
    const auto count = file.read_at(at, buffer);
    if (count == 0) break;
    output.take(std::span(buffer).first(count));
    at += count;
  }
  if (output.given() != size)
    throw Error(ErrorKind::damage, "the segment file became shorter while it was read")
        .with("file", path)
        .with("expected", size)
        .with("found", output.given());
  return output.given();
}

/// What feeds a sink with all of a file's content.
using Unpack = std::function<void(const codec::Sink&)>;

enum class Threads { one, two_for_frames, two };

/// Below that, a thread costs more than it gives.
constexpr std::uint64_t kWorthAThread = 1024 * 1024;

/// Full buffers on their way from one thread to another, and empty ones back. A few, so that what
/// was unpacked is still in the processors' caches when it is checked. One who has to wait waits
/// for several buffers: to be woken for each costs more than the work on it.
class Relay {
 public:
  Relay() {
    for (std::size_t i = 0; i < kBuffers; ++i) empty_.emplace_back(codec::kOutput);
  }

  struct Stopped {};

  /// For the thread that unpacks. Throws Stopped if nobody wants more.
  void pass(codec::Decompressor& from, std::span<const std::byte> raw) {
    std::unique_lock lock(mutex_);
    if (full_.size() == kBuffers)
      changed_.wait(lock, [&] { return stopped_ || full_.size() <= kBuffers / 2; });
    if (stopped_) throw Stopped{};
    // One may still be in the other thread's hands.
    Buffer fresh = empty_.empty() ? Buffer(codec::kOutput) : std::move(empty_.back());
    if (!empty_.empty()) empty_.pop_back();
    full_.push_back({from.take_buffer(std::move(fresh)), raw.size()});
    if (full_.size() == kBuffers / 2) changed_.notify_one();
  }
  /// Its last word.
  void end(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    error_ = std::move(error);
    changed_.notify_one();
  }

  /// For the other thread: hands on everything, then throws what ended the unpacking, if anything.
  void drain(const codec::Sink& take) {
    Piece piece;
    std::unique_lock lock(mutex_);
    for (;;) {
      if (full_.empty())
        changed_.wait(lock, [&] { return ended_ || full_.size() >= kBuffers / 2; });
      if (full_.empty()) break;
      piece = std::move(full_.front());
      full_.pop_front();
      if (full_.size() == kBuffers / 2) changed_.notify_one();
      lock.unlock();
      take(std::span(piece.buffer).first(piece.bytes));
      lock.lock();
      empty_.push_back(std::move(piece.buffer));
    }
    if (error_) std::rethrow_exception(error_);
  }
  /// Nobody drains any more.
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_one();
  }

 private:
  static constexpr std::size_t kBuffers = 6;
  using Buffer = std::vector<std::byte>;
  struct Piece {
    Buffer buffer;
    std::size_t bytes = 0;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> full_;
  std::vector<Buffer> empty_;
  bool ended_ = false;
  bool stopped_ = false;
  std::exception_ptr error_;
};

/// A thread that is joined when this is gone. Empty if none is to be had: then it works without.
class SecondThread {
 public:
  template <typename Work>
  explicit SecondThread(Work work) {
    try {
      thread_ = std::thread(std::move(work));
    } catch (const std::system_error&) {
    }
  }
  ~SecondThread() {
    if (thread_.joinable()) thread_.join();
  }
  SecondThread(const SecondThread&) = delete;
  SecondThread& operator=(const SecondThread&) = delete;
  explicit operator bool() const { return thread_.joinable(); }

 private:
  std::thread thread_;
};

void unpack_in_second_thread(const Unpack& unpack, codec::Decompressor& decompressor,
                             const codec::Sink& take) {
  Relay relay;
  const SecondThread second([&] {
    std::exception_ptr error;
    try {
      unpack([&](std::span<const std::byte> raw) { relay.pass(decompressor, raw); });
    } catch (const Relay::Stopped&) {
    } catch (...) {
      error = std::current_exception();
    }
    relay.end(error);
  });
  if (!second) {
    unpack(take);
    return;
  }
  try {
    relay.drain(take);
  } catch (...) {
    relay.stop();
    throw;
  }
}

/// Unpacks whole frames in two threads. The one that asks for the content is given it in order, and
/// unpacks a frame itself whenever the next one in order is not there yet.
class FrameTeam {
 public:
  /// Frames that hold more are unpacked one after another: there is a buffer for each of kAhead.
  static constexpr std::uint64_t kMostContent = std::uint64_t{8} << 20;

  FrameTeam(io::File& file, const std::vector<codec::Frame>& frames)
      : file_(file), frames_(frames) {}

  /// Returns the number of frames that were given to the sink: not all of them if one could not be
  /// unpacked. What the sink throws passes through.
  std::size_t run(const codec::Sink& take);

 private:
  /// So many frames are in memory at most.
  static constexpr std::size_t kAhead = 4;
  enum class State { empty, ready, failed };
  struct Slot {
    State state = State::empty;
    std::unique_ptr<io::Pages> memory;
  };
  struct Worker {
    codec::FrameDecompressor decompressor;
    std::vector<std::byte> packed;
  };

  void help();
  [[nodiscard]] bool may_begin() const {
    return begun_ < frames_.size() && begun_ < given_ + kAhead && !stopped_;
  }
  void unpack_next(Worker& worker, std::unique_lock<std::mutex>& lock);
  [[nodiscard]] std::span<std::byte> content_of(std::size_t frame) const {
    return slots_[frame % kAhead].memory->bytes().first(
        static_cast<std::size_t>(frames_[frame].content_size));
  }

  io::File& file_;
  std::mutex file_mutex_;
  const std::vector<codec::Frame>& frames_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Slot, kAhead> slots_;  // all below: guarded by mutex_, a slot's memory by its state
  std::size_t begun_ = 0;           ///< so many were taken for unpacking, in order
  std::size_t given_ = 0;
  bool stopped_ = false;
};

std::size_t FrameTeam::run(const codec::Sink& take) {
  const SecondThread second([this] { help(); });
  struct Stop {
    FrameTeam& team;
    ~Stop() {
      const std::lock_guard lock(team.mutex_);
      team.stopped_ = true;
      team.changed_.notify_one();
    }
  };
  const Stop stop{*this};  // before the second thread is waited for
  Worker worker;
  std::unique_lock lock(mutex_);
  while (given_ < frames_.size()) {
    auto& slot = slots_[given_ % kAhead];
    if (slot.state == State::failed) break;
    if (slot.state == State::ready) {
      lock.unlock();
      for (auto rest = content_of(given_); !rest.empty();) {
        const auto piece = rest.first(std::min(rest.size(), codec::kOutput));
        take(piece);
        rest = rest.subspan(piece.size());
      }
      lock.lock();
      slot.state = State::empty;
      ++given_;
      changed_.notify_one();
    } else if (may_begin()) {
      unpack_next(worker, lock);
    } else {
      changed_.wait(lock);
    }
  }
  return given_;
}

/// The second thread.
void FrameTeam::help() {
  try {
    Worker worker;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopped_ || begun_ == frames_.size() || may_begin(); });
      if (!may_begin()) return;
      unpack_next(worker, lock);
    }
  } catch (...) {
    // Short of memory: the other one does it all.
  }
}

void FrameTeam::unpack_next(Worker& worker, std::unique_lock<std::mutex>& lock) {
  const auto number = begun_++;
  const auto& frame = frames_[number];
  auto& slot = slots_[number % kAhead];
  lock.unlock();
  auto state = State::failed;
  try {
    if (!slot.memory || slot.memory->bytes().size() < frame.content_size) {
      constexpr std::uint64_t kLargePage = 2 * 1024 * 1024;
      const auto pages = (frame.content_size + kLargePage - 1) / kLargePage;
      slot.memory = std::make_unique<io::Pages>(static_cast<std::size_t>(pages * kLargePage));
    }
    worker.packed.resize(static_cast<std::size_t>(frame.size));
    std::unique_lock reading(file_mutex_);
    const bool whole = file_.read_at(frame.offset, worker.packed) == worker.packed.size();
    reading.unlock();
    if (whole) {
      worker.decompressor.unpack(worker.packed, content_of(number));
      state = State::ready;
    }
  } catch (...) {
    // Whatever it was: the frame is unpacked once more, piece by piece, and that tells.
  }
  lock.lock();
  slot.state = state;
  changed_.notify_one();
}

/// The frames of a file that is worth a second thread for unpacking; none if there is one only.
std::vector<codec::Frame> frames_for_a_team(io::File& file, codec::Method method,
                                            std::uint64_t content_size) {
  auto frames = codec::find_frames(
      method, [&](std::uint64_t at, std::span<std::byte> bytes) { return file.read_at(at, bytes); },
      file.size(), content_size);
  const bool small = std::all_of(frames.begin(), frames.end(), [](const codec::Frame& frame) {
    return frame.content_size > 0 && frame.content_size <= FrameTeam::kMostContent &&
           frame.size <= FrameTeam::kMostContent + FrameTeam::kMostContent / 8;
  });
  if (!small || frames.size() < 2) frames.clear();
  return frames;
}

std::uint64_t read(io::Directory& directory, const SegmentFileName& name,
                   wal::SegmentSize segment_size, const codec::Sink& sink, Threads threads,
                   codec::Checksums checksums = codec::Checksums::compared) {
  const auto file_name = name.to_string();
  const auto path = path_of(directory, file_name);
  const auto file = open_existing(directory, file_name);
  Output output(sink, segment_size.bytes());
  if (name.method == codec::Method::none)
    return read_raw(*file, path, segment_size.bytes(), name.partial, output);

  const codec::Sink take = [&](std::span<const std::byte> raw) { output.take(raw); };
  std::uint64_t at = 0;
  const auto decompressor = codec::make_decompressor(name.method, checksums);
  const Unpack unpack = [&](const codec::Sink& give) {
    std::vector<std::byte> buffer(kReadPacked);
    while (const auto count = file->read_at(at, buffer)) {
      decompressor->feed(std::span(buffer).first(count), give);
      at += count;
    }
    // Whoever wrote a .partial may have been stopped in the middle of a frame.
    if (!name.partial) decompressor->finish();
  };
  try {
    std::vector<codec::Frame> frames;
    if (threads != Threads::one && !name.partial)
      frames = frames_for_a_team(*file, name.method, segment_size.bytes());
    if (!frames.empty()) {
      const auto given = FrameTeam(*file, frames).run(take);
      // What is wrong with a frame, and how much of it is sound, is found out the slow way.
      if (given < frames.size()) {
        at = frames[given].offset;
        unpack(take);
      }
    } else if (threads == Threads::two) {
      unpack_in_second_thread(unpack, *decompressor, take);
    } else {
      unpack(take);
    }
  } catch (const Error& error) {
    if (output.sink_failed() || error.kind() != ErrorKind::damage) throw;
    throw with_place(error, path, at, output.given());
  }
  if (!name.partial && output.given() != segment_size.bytes())
    throw Error(ErrorKind::damage, "unexpected size of a segment's content")
        .with("file", path)
        .with("expected", segment_size.bytes())
        .with("found", output.given());
  return output.given();
}

}  // namespace

bool is_gone(const Error& error) { return error.system_code() == ENOENT; }

std::uint64_t read_segment(io::Directory& directory, const SegmentFileName& name,
                           wal::SegmentSize segment_size, const codec::Sink& sink) {
  return read(directory, name, segment_size, sink, Threads::one);
}

std::uint64_t read_segment_in_two_threads(io::Directory& directory, const SegmentFileName& name,
                                          wal::SegmentSize segment_size, const codec::Sink& sink,
                                          Processor other) {
  const bool worth_it = name.method != codec::Method::none &&
                        segment_size.bytes() >= kWorthAThread && usable_processors() > 1;
  const auto threads = !worth_it                  ? Threads::one
                       : other == Processor::free ? Threads::two
                                                  : Threads::two_for_frames;
  return read(directory, name, segment_size, sink, threads);
}

void read_segment_from(io::Directory& directory, const SegmentFileName& name,
                       wal::SegmentSize segment_size, std::uint64_t offset, const codec::Sink& sink,
                       codec::Checksums checksums) {
  std::uint64_t at = 0;
  const codec::Sink behind = [&](std::span<const std::byte> wal) {
    const auto skip = std::min<std::uint64_t>(offset > at ? offset - at : 0, wal.size());
    at += wal.size();
    if (skip < wal.size()) sink(wal.subspan(skip));
  };
  const auto file_name = name.to_string();
  const auto file = open_existing(directory, file_name);
  const auto frames = codec::find_frames(
      name.method,
      [&](std::uint64_t from, std::span<std::byte> bytes) { return file->read_at(from, bytes); },
      file->size(), segment_size.bytes());
  const auto entry = std::find_if(frames.rbegin(), frames.rend(), [&](const codec::Frame& frame) {
    return frame.content_offset <= offset;
  });
  if (entry == frames.rend() || entry->offset == 0) {
    read(directory, name, segment_size, behind, Threads::one, checksums);
    return;
  }
  at = entry->content_offset;
  Output output(behind, segment_size.bytes() - at);
  auto read_up_to = entry->offset;
  try {
    const auto decompressor = codec::make_decompressor(name.method, checksums);
    std::vector<std::byte> buffer(kReadPacked);
    while (const auto count = file->read_at(read_up_to, buffer)) {
      decompressor->feed(std::span(buffer).first(count),
                         [&](std::span<const std::byte> raw) { output.take(raw); });
      read_up_to += count;
    }
    decompressor->finish();
  } catch (const Error& error) {
    if (output.sink_failed() || error.kind() != ErrorKind::damage) throw;
    throw with_place(error, path_of(directory, file_name), read_up_to,
                     entry->content_offset + output.given());
  }
}

std::optional<wal::PageHeader> read_first_page_header(io::Directory& directory,
                                                      const SegmentFileName& name) {
  const auto file_name = name.to_string();
  const auto file = open_existing(directory, file_name);
  std::array<std::byte, wal::kLongHeaderSize> header{};
  std::size_t have = 0;
  if (name.method == codec::Method::none) {
    have = file->read_at(0, header);
  } else {
    const auto decompressor = codec::make_decompressor(name.method);
    const codec::Sink take = [&](std::span<const std::byte> raw) {
      const auto count = std::min(header.size() - have, raw.size());
      std::copy_n(raw.begin(), count, header.begin() + static_cast<std::ptrdiff_t>(have));
      have += count;
    };
    constexpr std::size_t kLook = 16 * 1024;
    std::vector<std::byte> buffer(kLook);
    std::uint64_t at = 0;
    try {
      while (have < header.size()) {
        const auto count = file->read_at(at, buffer);
        if (count == 0) break;
        decompressor->feed(std::span(buffer).first(count), take);
        at += count;
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      throw with_place(error, path_of(directory, file_name), at, have);
    }
  }
  const auto page = wal::decode_page_header(std::span(header).first(have));
  if (!page || !page->long_header) return std::nullopt;
  return page;
}

}  // namespace weir::archive
