#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace weir::backup {

/// What pg_basebackup says, line by line (progress_report() and the messages of
/// bin/pg_basebackup/pg_basebackup.c, run with LC_ALL=C). Pure.
class Talk {
 public:
  enum class Kind {
    progress,  ///< see done() and total()
    waits,     ///< the server waits for its own archive_command
    swallowed,
    other,  ///< for a person
  };
  Kind take(std::string_view line);

  [[nodiscard]] std::uint64_t done() const { return done_; }
  [[nodiscard]] std::uint64_t total() const { return total_; }
  /// Why it failed, by its words: Error{disk_full}, Error{damage} for pages whose checksum is
  /// wrong, else Error{retry}.
  [[nodiscard]] Error failure() const;
  /// The server had no free walsender, or no connection for the role.
  [[nodiscard]] bool found_none_free() const { return none_free_; }
  /// Its last lines, on one.
  [[nodiscard]] std::string last_words() const;

 private:
  std::uint64_t done_ = 0;   ///< bytes
  std::uint64_t total_ = 0;  ///< bytes; 0: not known
  std::deque<std::string> lines_;
  std::string page_;  ///< the first one whose checksum was wrong
  bool full_ = false;
  bool none_free_ = false;
  bool damaged_ = false;
  bool occupied_ = false;  ///< the location of a tablespace that is not mapped
};

}  // namespace weir::backup
