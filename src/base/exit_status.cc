#include "base/exit_status.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "base/colour.h"
#include "base/journal.h"
#include "base/visible.h"

namespace weir {

int exit_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return kUsage;
    case ErrorKind::retry:
    case ErrorKind::disk_full:
      return kTryAgain;
    case ErrorKind::io:
    case ErrorKind::durability:
    case ErrorKind::conflict:
    case ErrorKind::gap:
    case ErrorKind::damage:
    case ErrorKind::protocol:
    case ErrorKind::refused:
      return kNeedsPerson;
  }
  return kUnexpected;
}

Error unexpected(const std::exception& failure) {
  const auto* const system = dynamic_cast<const std::system_error*>(&failure);
  if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again)
    return Error(ErrorKind::retry, fmt::format("could not start a thread: {}", failure.what()))
        .hint(
            "The limit of processes and threads of the service or of the user that runs pgweir "
            "is reached. Check \"ulimit -u\" and TasksMax=.");
  if (dynamic_cast<const std::bad_alloc*>(&failure) != nullptr)
    return Error(ErrorKind::retry, "out of memory")
        .hint(
            "Check the memory of the host and the limit of the service (MemoryMax=, \"ulimit "
            "-v\").");
  return Error(ErrorKind::protocol, fmt::format("unexpected failure: {}", failure.what()));
}

namespace {

void print_as(LogLevel level, std::string_view word, const Error& error) {
  std::string text = fmt::format("pgweir: {}: {}\n", word, error.what());
  if (!error.hint().empty()) text += fmt::format("pgweir: hint: {}\n", error.hint());
  text = visible(text);
  if (is_journal(STDERR_FILENO)) text = with_priority(level, text);
  if (shows_colour(STDERR_FILENO)) text = coloured(text);
  std::fputs(text.c_str(), stderr);
}

}  // namespace

void print_error(const Error& error) { print_as(LogLevel::error, "error", error); }

void print_warning(const Error& error) { print_as(LogLevel::warning, "warning", error); }

Error error_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return unexpected(error);
  } catch (...) {
    return unexpected(std::runtime_error("no words for it"));
  }
}

int tell_failure(const std::exception_ptr& failure) {
  const auto error = error_of(failure);
  print_error(error);
  return exit_status(error.kind());
}

}  // namespace weir
