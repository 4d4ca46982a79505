#include "receive/compression.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "archive/compress.h"
#include "archive/listing.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

/// Behind everything that someone waits for; a thread's own value, as Linux has it.
void lower_priority() {
  constexpr int kNice = 10;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
}

constexpr std::chrono::seconds kDiskFullWait(10);

}  // namespace

Compression::Compression(io::Directory& directory, codec::Compression compression,
                         wal::SegmentSize segment_size, Log& log, StatusBoard& board,
                         std::function<void(const Error&)> durability_lost,
                         std::function<void(wal::SegmentName, const std::string&)> compressed)
    : directory_(directory),
      compression_(compression),
      segment_size_(segment_size),
      log_(log),
      board_(board),
      durability_lost_(std::move(durability_lost)),
      compressed_(std::move(compressed)),
      thread_([this] { work(); }) {}

Compression::~Compression() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Compression::add(const std::vector<wal::SegmentName>& segments) {
  {
    const std::lock_guard lock(mutex_);
    queue_.insert(queue_.end(), segments.begin(), segments.end());
  }
  changed_.notify_all();
}

void Compression::drain(const net::Wake& stop, std::chrono::milliseconds patience) {
  // How often it is looked whether to stop: a signal cannot notify.
  constexpr std::chrono::milliseconds kLook(50);
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> deadline;
  std::unique_lock lock(mutex_);
  while (!stop_ && (!queue_.empty() || busy_)) {
    if (stop.raised() && !deadline) deadline = Clock::now() + patience;
    if (deadline && (no_space_ || Clock::now() >= *deadline)) return;
    changed_.wait_for(lock, kLook);
  }
}

void Compression::work() {
  lower_priority();
  std::unique_lock lock(mutex_);
  for (;;) {
    board_.update([&](auto& content) { content.to_compress = queue_.size(); });
    busy_ = false;
    changed_.notify_all();
    changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    busy_ = true;
    const auto segment = queue_.front();
    lock.unlock();
    compress(segment);
    lock.lock();
    if (!stop_) queue_.pop_front();
  }
}

void Compression::compress(wal::SegmentName segment) {
  bool told = false;
  while (!stop_) {
    try {
      const bool done = archive::compress_segment(directory_, segment, segment_size_, compression_,
                                                  [this] { return stop_.load(); });
      if (done && compressed_)
        compressed_(segment,
                    archive::SegmentFileName{segment, compression_.method, false}.to_string());
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost_(error);
      if (error.kind() != ErrorKind::disk_full) {
        log_.error(error);
        log_.error("segment {} stays uncompressed", segment);
        board_.set_error(error.what());
        return;
      }
      if (!told)
        log_.warning("no space to compress {}; waiting for some: {}", segment, error.what());
      told = true;
    }
    std::unique_lock lock(mutex_);
    no_space_ = true;
    changed_.wait_for(lock, kDiskFullWait, [&] { return stop_.load(); });
    no_space_ = false;
  }
}

}  // namespace weir::receive
