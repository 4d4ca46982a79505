#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"

namespace weir::receive {

/// A difference between two servers' WAL of the same timeline.
struct FeedDifference {
  /// Which record has a correct checksum.
  enum class Checksums {
    both_pass,      ///< two valid histories: checksums cannot detect that
    archive_fails,  ///< the archive's record
    other_fails,    ///< the reference server's record
    both_fail,
    not_checked,  ///< the record started before the compared WAL, or does not end
  };
  struct Record {
    wal::Lsn start;  ///< 0/0: unknown
    wal::Lsn end;    ///< 0/0: unknown
    bool operator==(const Record&) const = default;
  };
  wal::TimelineId timeline = 0;
  wal::Lsn at;  ///< the first meaningful byte that differs
  std::byte archive_byte{};
  std::byte other_byte{};
  Record archive;
  Record other;
  std::optional<std::uint8_t> resource_manager;  ///< of the archive's record
  Checksums checksums = Checksums::not_checked;

  /// One sentence with all details.
  [[nodiscard]] std::string to_string() const;
};
[[nodiscard]] std::string_view to_string(FeedDifference::Checksums checksums);

}  // namespace weir::receive
