#include "receive/background_compression.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include "archive/compress.h"
#include "archive/listing.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

constexpr std::chrono::seconds kDiskFullWait(10);

}  // namespace

BackgroundCompression::BackgroundCompression(io::Directory& directory, const Options& options,
                                             Threads& threads, Log& log, Feed& feed,
                                             StatusBoard& board,
                                             std::function<void(const Error&)> durability_lost)
    : directory_(directory),
      options_(options),
      log_(log),
      feed_(feed),
      board_(board),
      durability_lost_(std::move(durability_lost)),
      threads_(threads),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()) {
  start_thread();
}

BackgroundCompression::~BackgroundCompression() {
  {
    const Threads::Lock lock(*mutex_);
    stop_ = true;
  }
  changed_->notify_all();
  for (const auto& worker : workers_) worker->join();
}

void BackgroundCompression::add(const std::vector<wal::SegmentName>& segments) {
  {
    const Threads::Lock lock(*mutex_);
    queue_.insert(queue_.end(), segments.begin(), segments.end());
    tell_waiting();
    start_more_threads();
  }
  changed_->notify_all();
}

void BackgroundCompression::start_thread() {
  workers_.push_back(threads_.start(
      "compressor", [this] { work(); }, Threads::Priority::low));
}

void BackgroundCompression::start_more_threads() {
  try {
    while (workers_.size() < std::min<std::size_t>(options_.most_threads, queue_.size() + busy_))
      start_thread();
  } catch (const std::system_error& error) {
    log_.debug("could not start a thread: {}", error.what());
  }
}

void BackgroundCompression::drain(const net::Wake& stop, std::chrono::milliseconds patience) {
  // Interval between checks whether to stop: a signal cannot notify.
  constexpr std::chrono::milliseconds kLook(50);
  std::optional<Time> deadline;
  Threads::Lock lock(*mutex_);
  while (!stop_ && (!queue_.empty() || busy_ > 0)) {
    if (stop.raised() && !deadline) deadline = threads_.now() + patience;
    const bool no_space = busy_ > 0 && without_space_ == busy_;
    if (deadline && (no_space || threads_.now() >= *deadline)) return;
    changed_->wait_until(lock, threads_.now() + kLook);
  }
}

void BackgroundCompression::work() {
  Threads::Lock lock(*mutex_);
  for (;;) {
    changed_->wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    const auto segment = queue_.front();
    queue_.pop_front();
    ++busy_;
    lock.unlock();
    compress(segment);
    lock.lock();
    if (stop_) return;
    --busy_;
    tell_waiting();
    changed_->notify_all();
  }
}

void BackgroundCompression::tell_waiting() {
  board_.update([&](auto& content) { content.to_compress = queue_.size() + busy_; });
}

void BackgroundCompression::compress(wal::SegmentName segment) {
  const auto& compression = options_.compression;
  bool told = false;
  while (!stop_) {
    try {
      const bool done = archive::compress_segment(directory_, segment, options_.segment_size,
                                                  compression, [this] { return stop_.load(); });
      const archive::SegmentFileName compressed{segment, compression.method, false};
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
    wait_for_space();
  }
}

void BackgroundCompression::wait_for_space() {
  Threads::Lock lock(*mutex_);
  ++without_space_;
  const auto again = threads_.now() + kDiskFullWait;
  while (!stop_ && threads_.now() < again) changed_->wait_until(lock, again);
  --without_space_;
}

}  // namespace weir::receive
