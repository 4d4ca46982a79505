#include "base/seldom_log.h"

namespace weir {

using namespace std::chrono_literals;

void SeldomLog::warning(const std::string& text) {
  if (may_tell()) log_.warning("{}", text);
}

void SeldomLog::error(const Error& error) {
  if (may_tell()) log_.error(error);
}

bool SeldomLog::may_tell() {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now - minute_ >= 1min) {
    if (left_out_ > 0)
      log_.warning("{} more message(s) about clients were suppressed in the last minute",
                   left_out_);
    minute_ = now;
    told_ = 0;
    left_out_ = 0;
  }
  if (told_ < most_) {
    ++told_;
    return true;
  }
  ++left_out_;
  return false;
}

}  // namespace weir
