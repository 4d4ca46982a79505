#include "base/journal.h"

#include <fmt/format.h>
#include <sys/stat.h>  // check-includes: which stream a descriptor is, no file is touched

#include <algorithm>
#include <cstdlib>

namespace weir {

namespace {

/// As in syslog(3).
char priority_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return '7';
    case LogLevel::info:
      return '6';
    case LogLevel::warning:
      return '4';
    case LogLevel::error:
      return '3';
  }
  return '3';
}

}  // namespace

bool is_journal(int fd) {
  const char* const stream = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  return stream != nullptr && ::fstat(fd, &status) == 0 &&
         fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

std::string with_priority(LogLevel level, std::string_view lines) {
  std::string marked;
  while (!lines.empty()) {
    const auto size = std::min(lines.find('\n'), lines.size() - 1) + 1;
    marked += '<';
    marked += priority_of(level);
    marked += '>';
    marked += lines.substr(0, size);
    lines.remove_prefix(size);
  }
  return marked;
}

}  // namespace weir
