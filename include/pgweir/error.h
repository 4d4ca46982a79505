#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace weir {

/// The required reaction to an error. The kind determines the exit status of pgweir's commands, and
/// whether a long-running command retries.
enum class ErrorKind {
  usage,       ///< wrong options, configuration or arguments: exit 2
  retry,       ///< may succeed if retried (connection, slot in use, upstream starting up): exit 3
  disk_full,   ///< no space left on the archive's file system: exit 3, or waited for
  io,          ///< other errors of the file system: exit 4
  durability,  ///< an fsync or close failed: the process exits, and confirms nothing more: exit 4
  conflict,    ///< another cluster, another segment size, another writer, another history: exit 4
  gap,         ///< the upstream no longer has the next WAL: exit 4
  damage,      ///< WAL or an archive file is not what it must be: exit 4
  protocol,    ///< the server violated the protocol: exit 4
  refused,     ///< the server rejects it permanently (role, slot of the other kind, version): exit
               ///< 4
};

[[nodiscard]] std::string_view to_string(ErrorKind kind);

/// The only error type. The message describes what happened in PostgreSQL's style (lower case, no
/// full stop), the context has names and positions, the hint says what the operator can do, in full
/// sentences. No part of it contains a password. Copyable and cheap to move; one thread at a time.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message);

  [[nodiscard]] ErrorKind kind() const { return kind_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const std::string& context() const { return context_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }
  /// Five characters if the server itself reported it (appendix "PostgreSQL Error Codes"), else
  /// empty. Use this or the kind for decisions, never the text, which may be in any language.
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }
  /// The same error as PostgreSQL's own client programs print it, possibly on several lines; empty
  /// if they have no such error.
  [[nodiscard]] const std::string& stock_text() const { return stock_text_; }
  /// The errno value of the cause, 0 if there is none or it is unknown.
  [[nodiscard]] int system_code() const { return system_code_; }

  /// Message and context on one line, without the hint.
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

  // For those who throw it.

  /// Appends `name value` to the context, in the order of the calls. The value is formatted by
  /// libfmt: defined in src/base/error.h, for the library's own use.
  template <typename Value>
  Error& with(std::string_view name, const Value& value) &;
  template <typename Value>
  Error&& with(std::string_view name, const Value& value) &&;
  Error& hint(std::string_view text) &;
  Error&& hint(std::string_view text) &&;
  /// The server itself reported it, with this SQLSTATE.
  Error& with_sqlstate(std::string sqlstate) &;
  Error&& with_sqlstate(std::string sqlstate) &&;
  Error& with_stock_text(std::string text) &;
  Error&& with_stock_text(std::string text) &&;
  /// Both, of the error that this one explains.
  Error&& reported_as(const Error& original) &&;

 private:
  void add_context(std::string_view name, std::string_view value);
  void compose();

  friend Error system_error(int code, std::string message);

  ErrorKind kind_;
  int system_code_ = 0;
  std::string message_;
  std::string context_;
  std::string hint_;
  std::string sqlstate_;
  std::string stock_text_;
  std::string what_;
};

}  // namespace weir
