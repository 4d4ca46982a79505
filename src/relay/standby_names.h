#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"

namespace weir::relay {

/// Some of the clients by their application_name, and how many of them count: what
/// synchronous_standby_names has (syncrep_gram.y and syncrep_scanner.l), so `ANY 2 (a, b, c)`,
/// `FIRST 1 (a, "b c")`, `2 (a, b)`, `a, b`, `*`. A value. Pure.
class StandbyNames {
 public:
  /// Throws Error{usage}.
  [[nodiscard]] static StandbyNames parse(const std::string& text);

  /// The place of the first name that it has, from 1 on; nullopt if it has none. Capitals are the
  /// same, and `*` is every name (SyncRepGetStandbyPriority() in syncrep.c).
  [[nodiscard]] std::optional<std::size_t> priority_of(std::string_view application_name) const;

  /// A standby with one of the names.
  struct Standby {
    std::size_t priority = 0;
    wal::Lsn position;
  };
  /// Position that the required number of standbys has reached: ANY, any of them; FIRST, the first
  /// ones. 0/0 while there are fewer.
  [[nodiscard]] wal::Lsn reached(std::vector<Standby> standbys) const;

  [[nodiscard]] bool any() const { return any_; }
  [[nodiscard]] std::size_t count() const { return count_; }

 private:
  bool any_ = false;
  std::size_t count_ = 1;
  std::vector<std::string> names_;
};

}  // namespace weir::relay
