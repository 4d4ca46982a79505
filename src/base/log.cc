#include "base/log.h"

namespace weir {

void Log::write_error(const Error& error) {
  write(LogLevel::error, error.what());
  if (!error.hint().empty()) write(LogLevel::error, "hint: " + error.hint());
}

}  // namespace weir
