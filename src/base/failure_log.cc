#include "base/failure_log.h"

namespace weir {

void FailureLog::write(const Error& error, std::string_view next, Log& log) {
  const bool again = told_ == error.what();
  told_ = error.what();
  again_ = again ? again_ + 1 : 0;
  constexpr int kEach = 30;  // a server that is away is queried every few seconds
  if (again_ > kEach && again_ % kEach != 0)
    log.debug("{}, as before; {}", error.message(), next);
  else if (again)
    log.warning("{}, as before; {}", error.message(), next);
  else
    log.warning("{}; {}", error.what(), next);
  if (!error.hint().empty() && hints_.insert(error.hint()).second)
    log.warning("hint: {}", error.hint());
}

void FailureLog::reset() {
  told_.clear();
  hints_.clear();
}

}  // namespace weir
