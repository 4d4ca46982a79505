#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "wal/lsn.h"

namespace weir::logical {

/// The state of an output file, in "<file>.state": one line of JSON, described in docs/logical.md.
/// It records that the first `offset` bytes of the file are all transactions of the stream up to
/// `position`, each complete and once.
struct State {
  std::uint64_t system_identifier = 0;
  std::string database;
  std::string slot;
  std::string plugin;
  wal::Lsn position;             ///< a border, see Borders
  wal::TimelineId timeline = 0;  ///< of the server at `position`; 0: unknown
  std::uint64_t offset = 0;      ///< bytes
  std::uint32_t tail = 0;   ///< checksum of the bytes in front of `offset`, at most kTail of them
  std::uint64_t inode = 0;  ///< of the file: it is cut under another name only if this is right
  bool operator==(const State&) const = default;
};

inline constexpr std::size_t kTail = 4096;

/// CRC-32C, as in WAL.
[[nodiscard]] std::uint32_t checksum(std::span<const std::byte> bytes);

[[nodiscard]] std::string to_text(const State& state);
/// nullopt for anything except the output of to_text(), for example half of it.
[[nodiscard]] std::optional<State> parse_state(std::string_view text);

}  // namespace weir::logical
