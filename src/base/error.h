#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "pgweir/error.h"

namespace weir {

template <typename Value>
Error& Error::with(std::string_view name, const Value& value) & {
  add_context(name, fmt::format("{}", value));
  return *this;
}

template <typename Value>
Error&& Error::with(std::string_view name, const Value& value) && {
  add_context(name, fmt::format("{}", value));
  return std::move(*this);
}

/// An error that some callers must distinguish from all others has a type of its own, derived from
/// ErrorAs<itself>: with() and hint() return that type, so that `throw error.with(…)` throws the
/// same type.
template <typename Self>
class ErrorAs : public Error {
 public:
  using Error::Error;
  explicit ErrorAs(const Error& error) : Error(error) {}

  template <typename Value>
  Self& with(std::string_view name, const Value& value) & {
    Error::with(name, value);
    return static_cast<Self&>(*this);
  }
  template <typename Value>
  Self&& with(std::string_view name, const Value& value) && {
    Error::with(name, value);
    return static_cast<Self&&>(*this);
  }
  Self& hint(std::string_view text) & {
    Error::hint(text);
    return static_cast<Self&>(*this);
  }
  Self&& hint(std::string_view text) && {
    Error::hint(text);
    return static_cast<Self&&>(*this);
  }
  using Error::hint;
};

/// An Error{io}, or {disk_full} for ENOSPC and EDQUOT, that names the system's reason for `code`
/// (an errno value).
[[nodiscard]] Error system_error(int code, std::string message);

/// An invariant that is broken in our own code. Aborts, also in release builds: a wrong flush
/// position is worse than none.
[[noreturn]] void check_failed(const char* file, int line, const char* expression);

}  // namespace weir

#define PGWEIR_CHECK(expression) \
  ((expression) ? static_cast<void>(0) : ::weir::check_failed(__FILE__, __LINE__, #expression))
