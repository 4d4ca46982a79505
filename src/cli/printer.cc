#include "cli/printer.h"

#include <utility>

#include "cli/help.h"

namespace weir::cli {

Printer::Printer(std::size_t most_bytes, std::function<void()> on_failure)
    : most_bytes_(most_bytes), on_failure_(std::move(on_failure)), thread_([this] { work(); }) {}

Printer::~Printer() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Printer::add(std::string text) {
  {
    const std::lock_guard lock(mutex_);
    bytes_ += text.size();
    texts_.push_back(std::move(text));
  }
  changed_.notify_all();
}

void Printer::check() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

bool Printer::wait_for_room(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return failure_ || bytes_ < most_bytes_; });
}

void Printer::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || texts_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
}

void Printer::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return end_ || !texts_.empty(); });
    if (texts_.empty() || failure_) return;
    const auto& text = texts_.front();  // a reference that remains valid while others are added
    lock.unlock();
    try {
      print_data(text);
    } catch (...) {
      lock.lock();
      failure_ = std::current_exception();
      changed_.notify_all();
      lock.unlock();
      on_failure_();
      return;
    }
    lock.lock();
    bytes_ -= text.size();
    texts_.pop_front();
    changed_.notify_all();
  }
}

}  // namespace weir::cli
