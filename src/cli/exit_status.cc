#include "cli/exit_status.h"

#include <fmt/format.h>

#include <cstdio>

namespace weir::cli {

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

void print_error(const Error& error) {
  std::string text = fmt::format("pgweir: error: {}\n", error.what());
  if (!error.hint().empty()) text += fmt::format("pgweir: hint: {}\n", error.hint());
  std::fputs(text.c_str(), stderr);
}

}  // namespace weir::cli
