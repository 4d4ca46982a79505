#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace weir {

/// Reports failures that are retried: a new one in full, the same one again briefly, and after 30
/// repetitions only every 30th time. Each hint is reported once. One thread.
class FailureLog {
 public:
  /// `next`: what happens next, such as "trying again in 5 s".
  void write(const Error& error, std::string_view next, Log& log);
  /// There was progress: a later failure is a new one.
  void reset();

 private:
  std::string told_;
  int again_ = 0;  ///< number of repetitions
  std::set<std::string> hints_;
};

}  // namespace weir
