#include "io/bounded_shelf.h"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/left_behind.h"
#include "io/directory.h"

namespace weir::io {

namespace {

constexpr std::chrono::milliseconds kLook(100);  ///< interval for checking for a request to stop

}  // namespace

/// Makes one call after the other. Shared with the thread, which may be the last to release it.
class BoundedShelf::Worker : public std::enable_shared_from_this<Worker> {
 public:
  Worker(std::string path, Open open, std::chrono::milliseconds patience,
         std::function<bool()> stop)
      : path_(std::move(path)),
        open_(std::move(open)),
        patience_(patience),
        stop_(std::move(stop)) {}

  /// Returns or throws the result of `call`. It may run after this has thrown, so it must own
  /// everything that it uses.
  template <typename Call>
  auto ask(Call call) -> decltype(call(std::declval<Shelf&>())) {
    using Answer = decltype(call(std::declval<Shelf&>()));
    auto task = std::make_shared<std::packaged_task<Answer()>>(
        [this, call = std::move(call)] { return call(shelf()); });
    auto answer = task->get_future();
    {
      const std::lock_guard lock(mutex_);
      if (hangs_) throw no_answer();
      if (!running_.valid())
        running_ = begin_left_behind([self = shared_from_this()] { self->work(); });
      calls_.push_back([task] { (*task)(); });
    }
    changed_.notify_one();
    const auto slice = stop_ ? std::min(patience_, kLook) : patience_;
    bool stopped = false;
    for (auto left = patience_;
         left.count() > 0 && !stopped && answer.wait_for(slice) != std::future_status::ready;
         left -= slice)
      stopped = stop_ && stop_();
    if (answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      const std::lock_guard lock(mutex_);
      if (answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
        hangs_ = true;
        if (stopped)
          throw Error(ErrorKind::retry, "stopped while an archive was waited for")
              .with("directory", path_);
        throw no_answer();
      }
    }
    return answer.get();
  }

  /// For calls that may block and whose result is not needed: to close a file.
  void leave(std::function<void()> call) {
    {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
    }
    changed_.notify_one();
  }

  /// The last call of the one who started it.
  void end() {
    bool hangs;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      hangs = hangs_;
    }
    changed_.notify_one();
    if (running_.valid() && !hangs) running_.wait();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return ended_ || !calls_.empty(); });
      if (calls_.empty()) break;
      auto call = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      call();
      call = nullptr;  // with all that it owned
      lock.lock();
      if (calls_.empty()) hangs_ = false;
    }
    lock.unlock();
    shelf_.reset();
  }

  Shelf& shelf() {
    if (!shelf_) shelf_ = open_();
    return *shelf_;
  }

  [[nodiscard]] Error no_answer() const {
    return system_error(ETIMEDOUT, "the archive does not answer")
        .with("directory", path_)
        .with("waited", std::to_string(patience_.count()) + "ms")
        .hint("Its file system hangs: check the mount, the network and the kernel log.");
  }

  const std::string path_;
  const Open open_;
  const std::chrono::milliseconds patience_;
  const std::function<bool()> stop_;
  std::future<void> running_;     ///< not valid: there was no call yet
  std::unique_ptr<Shelf> shelf_;  ///< the thread's own

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;  ///< guarded by mutex_, and what follows
  bool hangs_ = false;                       ///< a call has exceeded its time limit, and has not
                                             ///< returned yet
  bool ended_ = false;
};

class BoundedShelf::BoundedBytes final : public Bytes {
 public:
  BoundedBytes(std::shared_ptr<Worker> worker, std::shared_ptr<Bytes> bytes)
      : worker_(std::move(worker)), bytes_(std::move(bytes)) {}
  ~BoundedBytes() override {
    worker_->leave([bytes = std::move(bytes_)] {});
  }

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
    // A call that returns late must not write into memory that may be reused by then.
    if (!buffer_) buffer_ = std::make_shared<std::vector<std::byte>>();
    const auto wanted = into.size();
    try {
      const auto count = worker_->ask([bytes = bytes_, buffer = buffer_, offset, wanted](Shelf&) {
        if (buffer->size() < wanted) buffer->resize(wanted);
        return bytes->read_at(offset, std::span(*buffer).first(wanted));
      });
      std::copy_n(buffer_->begin(), count, into.begin());
      return count;
    } catch (...) {
      buffer_.reset();
      throw;
    }
  }

  std::uint64_t size() override {
    return worker_->ask([bytes = bytes_](Shelf&) { return bytes->size(); });
  }

 private:
  const std::shared_ptr<Worker> worker_;
  std::shared_ptr<Bytes> bytes_;  ///< used by the thread alone
  std::shared_ptr<std::vector<std::byte>> buffer_;
};

BoundedShelf::BoundedShelf(std::string path, Open open, std::chrono::milliseconds patience,
                           std::function<bool()> stop)
    : path_(std::move(path)),
      worker_(std::make_shared<Worker>(path_, std::move(open), patience, std::move(stop))) {}

BoundedShelf::~BoundedShelf() { worker_->end(); }

std::vector<DirectoryEntry> BoundedShelf::list() {
  return worker_->ask([](Shelf& shelf) { return shelf.list(); });
}

std::vector<DirectoryName> BoundedShelf::names() {
  return worker_->ask([](Shelf& shelf) { return shelf.names(); });
}

std::optional<DirectoryEntry> BoundedShelf::find(const std::string& name) {
  return worker_->ask([name](Shelf& shelf) { return shelf.find(name); });
}

std::unique_ptr<Bytes> BoundedShelf::open_bytes(const std::string& name) {
  auto bytes =
      worker_->ask([name](Shelf& shelf) { return std::shared_ptr<Bytes>(shelf.open_bytes(name)); });
  if (!bytes) return nullptr;
  return std::make_unique<BoundedBytes>(worker_, std::move(bytes));
}

std::optional<FileIdentity> BoundedShelf::of(const std::string& name) {
  return worker_->ask([name](Shelf& shelf) { return identity_of(shelf, name); });
}

FileIdentity BoundedShelf::of_directory() {
  return worker_->ask(
      [](Shelf& shelf) { return identity_of_directory(shelf).value_or(FileIdentity{}); });
}

bool BoundedShelf::leads_to(const std::string& name, const File& file) {
  const auto found = of(name);
  return found && found->inode == const_cast<File&>(file).identity();
}

}  // namespace weir::io
