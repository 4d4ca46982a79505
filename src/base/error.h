#pragma once

#include <fmt/format.h>

#include <exception>
#include <string>
#include <string_view>

namespace weir {

/// What an error means for the one who has to act on it. Decides the exit status and whether the
/// receive loop tries again.
enum class ErrorKind {
  usage,       ///< wrong options or configuration: exit 2
  retry,       ///< may pass if tried again (connection, slot in use, upstream starting up): exit 3
  disk_full,   ///< no space left on the archive's file system: exit 3, or waited for
  io,          ///< the file system refused something else: exit 4
  durability,  ///< a sync or close failed: the process ends, nothing more is acknowledged: exit 4
  conflict,    ///< another cluster, another segment size, another writer, another history: exit 4
  gap,         ///< the upstream no longer has the WAL that comes next: exit 4
  damage,      ///< WAL or an archive file is not what it must be: exit 4
  protocol,    ///< the server said something the protocol does not allow: exit 4
  refused,     ///< the server refuses for good (role, slot of the other kind, version): exit 4
};

[[nodiscard]] std::string_view to_string(ErrorKind kind);

/// The one error type. The message says what happened in PostgreSQL's style (lower case, no full
/// stop); with() adds names and positions; hint() says what the operator can do, in whole
/// sentences. Copyable and cheap to move; one thread at a time.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message);

  /// Appends `name value` to the context, in the order of the calls. Values are formatted by fmt.
  template <typename Value>
  Error& with(std::string_view name, const Value& value) & {
    add_context(name, fmt::format("{}", value));
    return *this;
  }
  template <typename Value>
  Error&& with(std::string_view name, const Value& value) && {
    add_context(name, fmt::format("{}", value));
    return std::move(*this);
  }
  Error& hint(std::string_view text) &;
  Error&& hint(std::string_view text) &&;

  /// The errno value behind it, 0 if there is none or it is not known.
  int system_code() const { return system_code_; }

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& context() const { return context_; }
  const std::string& hint() const { return hint_; }

  /// Message and context on one line, without the hint.
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  void add_context(std::string_view name, std::string_view value);
  void compose();

  friend Error system_error(int code, std::string message);

  ErrorKind kind_;
  int system_code_ = 0;
  std::string message_;
  std::string context_;
  std::string hint_;
  std::string what_;
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
