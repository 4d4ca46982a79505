#pragma once

#include <fmt/format.h>

#include <utility>

#include "base/visible.h"

namespace weir::cli {

/// To the standard error, as a terminal may show it.
template <typename... Values>
void print_stderr(fmt::format_string<Values...> text, Values&&... values) {
  write_stderr(fmt::format(text, std::forward<Values>(values)...));
}

}  // namespace weir::cli
