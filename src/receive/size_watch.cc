#include "receive/size_watch.h"

#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/left_behind.h"
#include "base/priority.h"
#include "io/posix_directory.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// For the current system call, at the end.
constexpr auto kPatience = 100ms;

}  // namespace

/// Shared by both threads; the worker keeps it alive.
struct SizeWatch::Shared final : SizeSearch::Host {
  Shared(const Archive& archive, Hooks used)
      : path(archive.path),
        expected(archive.identity),
        file_mode(archive.file_mode),
        hooks(std::move(used)) {}

  const std::string path;
  const io::FileIdentity expected;
  const unsigned file_mode;
  Hooks hooks;

  std::mutex mutex{};
  std::condition_variable changed{};
  /// The session continues or ends without the thread: `hooks` must not be used any more.
  bool over = false;

  std::unique_ptr<io::Directory> open() override {
    auto directory = io::open_existing_directory(path);
    io::set_file_mode(*directory, file_mode);
    // Another directory may have this name meanwhile; writers of the old one detect that.
    const auto identity = io::identity_of_directory(*directory);
    if (!identity || identity->device != expected.device || identity->inode != expected.inode)
      return nullptr;
    return directory;
  }
  void with_hooks(const std::function<void(Hooks&)>& use) override {
    const std::lock_guard lock(mutex);
    if (!over) use(hooks);
  }
  [[nodiscard]] bool rest(std::chrono::nanoseconds time) override {
    std::unique_lock lock(mutex);
    return !changed.wait_for(lock, time, [this] { return over; });
  }
  std::chrono::steady_clock::time_point now() override { return std::chrono::steady_clock::now(); }
  std::chrono::system_clock::time_point wall_clock() override {
    return std::chrono::system_clock::now();
  }
};

SizeWatch::SizeWatch(Archive archive, Hooks hooks, std::chrono::milliseconds check_again_after)
    : shared_(std::make_shared<Shared>(archive, std::move(hooks))) {
  SizeSearch::Archive sizes{.segment_size = archive.segment_size,
                            .system_identifier = archive.system_identifier,
                            .listing = std::move(archive.listing),
                            .recorded = std::move(archive.recorded)};
  running_ =
      begin_left_behind([shared = shared_, check_again_after, sizes = std::move(sizes)]() mutable {
        lowest_priority();
        SizeSearch(std::move(sizes), check_again_after, *shared).run();
      });
}

SizeWatch::~SizeWatch() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->over = true;
    shared_->changed.notify_all();
  }
  running_.wait_for(kPatience);
}

}  // namespace weir::receive
