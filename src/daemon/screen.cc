#include "daemon/screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "base/colour.h"
#include "base/journal.h"

namespace weir::daemon {

namespace {

using Clock = std::chrono::steady_clock;

/// Number of bytes that can be written without blocking to a pipe that polls as writable
/// (PIPE_BUF), and to a terminal whose buffer has room again.
constexpr std::size_t kPiece = 256;
constexpr std::string_view kEraseLine = "\r\x1b[K";

}  // namespace

Screen::Screen(int fd) : fd_(fd), deadline_(std::numeric_limits<Clock::rep>::max()) {
  const char* term = std::getenv("TERM");
  const std::string_view kind = term == nullptr ? "" : term;
  live_ = ::isatty(fd_) == 1 && !kind.empty() && kind != "dumb";
  colour_ = shows_colour(fd_);
  journal_ = is_journal(fd_);
}

int Screen::width() const {
  winsize size{};
  if (::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool Screen::write(std::string_view lines) {
  const std::lock_guard lock(mutex_);
  if (shown_) {
    if (!put(kEraseLine)) return false;
    shown_ = false;  // drawn again by the next show()
  }
  return put(lines);
}

void Screen::write_now(std::string_view lines) noexcept {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  // The holder of the lock may be stuck: then two lines may mix.
  if (lock.owns_lock() && shown_ && ready(0) &&
      ::write(fd_, kEraseLine.data(), kEraseLine.size()) > 0)
    shown_ = false;
  while (!lines.empty() && ready(0)) {
    const auto count = ::write(fd_, lines.data(), std::min(lines.size(), kPiece));
    if (count < 0 && errno != EINTR) return;
    lines.remove_prefix(count < 0 ? 0 : static_cast<std::size_t>(count));
  }
}

void Screen::show(const std::string& line) {
  if (!live_) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || !ready(0)) return;
  std::string text(kEraseLine);
  text += line;
  // One write: a terminal with a little room accepts a line.
  shown_ = ::write(fd_, text.data(), text.size()) > 0 || shown_;
}

void Screen::clear() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || !shown_ || !ready(0)) return;
  if (::write(fd_, kEraseLine.data(), kEraseLine.size()) > 0) shown_ = false;
}

void Screen::give_up(std::chrono::milliseconds time) {
  deadline_ = (Clock::now() + time).time_since_epoch().count();
}

bool Screen::put(std::string_view text) {
  while (!text.empty()) {
    // Short waits, so that give_up() is noticed; none once its time is over.
    const bool late = Clock::now().time_since_epoch().count() >= deadline_;
    if (!ready(late ? 0 : 50)) {
      if (late) return false;
      continue;
    }
    const auto count = ::write(fd_, text.data(), std::min(text.size(), kPiece));
    if (count < 0 && errno != EINTR && errno != EAGAIN) return false;
    text.remove_prefix(count < 0 ? 0 : static_cast<std::size_t>(count));
  }
  return true;
}

bool Screen::ready(int timeout_ms) const {
  pollfd poll{fd_, POLLOUT, 0};
  return ::poll(&poll, 1, timeout_ms) > 0;
}

}  // namespace weir::daemon
