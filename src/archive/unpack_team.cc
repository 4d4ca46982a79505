#include "archive/unpack_team.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "io/pages.h"

namespace weir::archive {

namespace {

/// Passes full buffers from one thread to another, and empty ones back. Only a few, so that
/// decompressed data is still in the CPU caches when it is checked. A thread that waits does so for
/// several buffers, because a wakeup for each buffer costs more than the work on it.
class BufferQueue {
 public:
  BufferQueue() {
    for (std::size_t i = 0; i < kBuffers; ++i) empty_.emplace_back(codec::kOutput);
  }

  /// For the decompressing thread. Returns false if the reader has stopped.
  bool pass(ContentReader& from, std::span<const std::byte> raw) {
    std::unique_lock lock(mutex_);
    if (full_.size() == kBuffers)
      changed_.wait(lock, [&] { return stopped_ || full_.size() <= kBuffers / 2; });
    if (stopped_) return false;
    // One may still be in use by the other thread.
    Buffer fresh = empty_.empty() ? Buffer(codec::kOutput) : std::move(empty_.back());
    if (!empty_.empty()) empty_.pop_back();
    full_.push_back({from.take_buffer(std::move(fresh)), raw.size()});
    if (full_.size() == kBuffers / 2) changed_.notify_one();
    return true;
  }
  /// Marks the end of the input.
  void end(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    error_ = std::move(error);
    changed_.notify_one();
  }

  /// For the other thread: passes everything on, then throws the error that ended decompression, if
  /// any. Stops when the sink has enough.
  void drain(const codec::Sink& sink) {
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
      if (!sink(std::span(piece.buffer).first(piece.bytes))) return;
      lock.lock();
      empty_.push_back(std::move(piece.buffer));
    }
    if (error_) std::rethrow_exception(error_);
  }
  /// The reader stops.
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

/// A thread that is joined on destruction. Empty if no thread could be started: the caller works
/// without it.
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

/// Decompresses whole frames in two threads. The thread that requests the content gets it in order,
/// and decompresses a frame itself if the next one in order is not available yet.
class FrameTeam {
 public:
  /// Larger frames are decompressed one after another: there is a buffer for each of kAhead.
  static constexpr std::uint64_t kMostContent = std::uint64_t{8} << 20;

  FrameTeam(io::Bytes& file, const std::vector<codec::Frame>& frames)
      : file_(file), frames_(frames) {}

  std::size_t run(const codec::Sink& sink);

 private:
  /// Maximum number of frames in memory.
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

  io::Bytes& file_;
  std::mutex file_mutex_;
  const std::vector<codec::Frame>& frames_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Slot, kAhead> slots_;  // all below: guarded by mutex_, a slot's memory by its state
  std::size_t begun_ = 0;           ///< number taken for decompression, in order
  std::size_t given_ = 0;
  bool stopped_ = false;
};

std::size_t FrameTeam::run(const codec::Sink& sink) {
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
        if (!sink(piece)) return given_;
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
    // The error is determined by decompressing the frame again, piece by piece.
  }
  lock.lock();
  slot.state = state;
  changed_.notify_one();
}

}  // namespace

void read_in_second_thread(ContentReader& content, const codec::Sink& sink) {
  BufferQueue queue;
  const SecondThread second([&] {
    std::exception_ptr error;
    try {
      content.read([&](std::span<const std::byte> raw) { return queue.pass(content, raw); });
    } catch (...) {
      error = std::current_exception();
    }
    queue.end(error);
  });
  if (!second) {
    content.read(sink);
    return;
  }
  struct Stop {
    BufferQueue& queue;
    ~Stop() { queue.stop(); }
  };
  const Stop stop{queue};  // before the second thread is waited for
  queue.drain(sink);
}

std::vector<codec::Frame> frames_for_two_threads(io::Bytes& file, codec::Method method,
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

std::size_t read_frames_in_two_threads(io::Bytes& file, const std::vector<codec::Frame>& frames,
                                       const codec::Sink& sink) {
  return FrameTeam(file, frames).run(sink);
}

}  // namespace weir::archive
