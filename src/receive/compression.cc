#include "receive/compression.h"

#include <optional>
#include <utility>

#include "archive/compress.h"
#include "archive/listing.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

constexpr std::chrono::seconds kDiskFullWait(10);

}  // namespace

CompressionThread::CompressionThread(io::Directory& directory, codec::Compression compression,
                                     wal::SegmentSize segment_size, Threads& threads, Log& log,
                                     Feed& feed, StatusBoard& board,
                                     std::function<void(const Error&)> durability_lost)
    : directory_(directory),
      compression_(compression),
      segment_size_(segment_size),
      log_(log),
      feed_(feed),
      board_(board),
      durability_lost_(std::move(durability_lost)),
      threads_(threads),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()),
      thread_(threads.start(
          "compressor", [this] { work(); }, Threads::Priority::low)) {}

CompressionThread::~CompressionThread() {
  {
    const Threads::Lock lock(*mutex_);
    stop_ = true;
  }
  changed_->notify_all();
  thread_->join();
}

void CompressionThread::add(const std::vector<wal::SegmentName>& segments) {
  {
    const Threads::Lock lock(*mutex_);
    queue_.insert(queue_.end(), segments.begin(), segments.end());
  }
  changed_->notify_all();
}

void CompressionThread::drain(const net::Wake& stop, std::chrono::milliseconds patience) {
  // How often it is looked whether to stop: a signal cannot notify.
  constexpr std::chrono::milliseconds kLook(50);
  std::optional<Time> deadline;
  Threads::Lock lock(*mutex_);
  while (!stop_ && (!queue_.empty() || busy_)) {
    if (stop.raised() && !deadline) deadline = threads_.now() + patience;
    if (deadline && (no_space_ || threads_.now() >= *deadline)) return;
    changed_->wait_until(lock, threads_.now() + kLook);
  }
}

void CompressionThread::work() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    board_.update([&](auto& content) { content.to_compress = queue_.size(); });
    busy_ = false;
    changed_->notify_all();
    changed_->wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    busy_ = true;
    const auto segment = queue_.front();
    lock.unlock();
    compress(segment);
    lock.lock();
    if (!stop_) queue_.pop_front();
  }
}

void CompressionThread::compress(wal::SegmentName segment) {
  bool told = false;
  while (!stop_) {
    try {
      const bool done = archive::compress_segment(directory_, segment, segment_size_, compression_,
                                                  [this] { return stop_.load(); });
      const archive::SegmentFileName compressed{segment, compression_.method, false};
      if (done) feed_.publish(event::SegmentCompressed{segment, compressed.to_string()});
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) durability_lost_(error);
      if (error.kind() != ErrorKind::disk_full) {
        log_.error(error);
        log_.error("segment {} stays uncompressed", segment);
        feed_.publish(event::NotCompressed{segment, error});
        return;
      }
      if (!told)
        log_.warning("no space to compress {}; waiting for some: {}", segment, error.what());
      told = true;
    }
    Threads::Lock lock(*mutex_);
    no_space_ = true;
    const auto again = threads_.now() + kDiskFullWait;
    while (!stop_ && threads_.now() < again) changed_->wait_until(lock, again);
    no_space_ = false;
  }
}

}  // namespace weir::receive
