#include "io/names_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "io/place.h"

namespace weir::io {

std::unique_ptr<NamesWatch> NamesWatch::begin(const std::string& directory) {
  try {
    if (changes_elsewhere(directory)) return nullptr;
  } catch (const Error&) {
    return nullptr;  // the error is reported when the names are read
  }
  Descriptor events(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  constexpr auto kNames = IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF;
  if (!events || ::inotify_add_watch(events.get(), directory.c_str(), kNames | IN_ONLYDIR) < 0)
    return nullptr;
  return std::unique_ptr<NamesWatch>(new NamesWatch(std::move(events)));
}

bool NamesWatch::changed() {
  bool changed = blind_;
  alignas(inotify_event) std::array<char, 4096> bytes;
  for (;;) {
    const auto count = ::read(events_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (count < 0 && errno != EAGAIN) blind_ = changed = true;
      return changed;
    }
    changed = true;
    for (std::size_t at = 0; at < static_cast<std::size_t>(count);) {
      const auto& event = *reinterpret_cast<const inotify_event*>(&bytes.at(at));
      // IN_IGNORED: there will be no more of them. The name may be that of another directory now.
      if ((event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) blind_ = true;
      at += sizeof(inotify_event) + event.len;
    }
  }
}

}  // namespace weir::io
