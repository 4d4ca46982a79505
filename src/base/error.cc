#include "base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace weir {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return "usage";
    case ErrorKind::retry:
      return "retry";
    case ErrorKind::disk_full:
      return "disk full";
    case ErrorKind::io:
      return "io";
    case ErrorKind::durability:
      return "durability";
    case ErrorKind::conflict:
      return "conflict";
    case ErrorKind::gap:
      return "gap";
    case ErrorKind::damage:
      return "damage";
    case ErrorKind::protocol:
      return "protocol";
    case ErrorKind::refused:
      return "refused";
  }
  return "unknown";
}

Error::Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {
  compose();
}

Error& Error::hint(std::string_view text) & {
  if (!hint_.empty()) hint_ += ' ';
  hint_ += text;
  return *this;
}

Error&& Error::hint(std::string_view text) && {
  hint(text);
  return std::move(*this);
}

Error& Error::with_sqlstate(std::string sqlstate) & {
  sqlstate_ = std::move(sqlstate);
  return *this;
}

Error&& Error::with_sqlstate(std::string sqlstate) && {
  sqlstate_ = std::move(sqlstate);
  return std::move(*this);
}

Error& Error::with_stock_text(std::string text) & {
  stock_text_ = std::move(text);
  return *this;
}

Error&& Error::with_stock_text(std::string text) && {
  stock_text_ = std::move(text);
  return std::move(*this);
}

Error&& Error::reported_as(const Error& original) && {
  sqlstate_ = original.sqlstate_;
  stock_text_ = original.stock_text_;
  return std::move(*this);
}

void Error::add_context(std::string_view name, std::string_view value) {
  if (!context_.empty()) context_ += ", ";
  context_ += name;
  context_ += ' ';
  context_ += value;
  compose();
}

void Error::compose() { what_ = context_.empty() ? message_ : message_ + " (" + context_ + ")"; }

Error system_error(int code, std::string message) {
  const bool full = code == ENOSPC || code == EDQUOT;
  Error error(full ? ErrorKind::disk_full : ErrorKind::io,
              std::move(message) + ": " + std::generic_category().message(code));
  error.system_code_ = code;
  return error;
}

void check_failed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "pgweir: broken invariant at %s:%d: %s\n", file, line, expression);
  std::abort();
}

}  // namespace weir
