#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wal/lsn.h"

namespace weir::receive {

/// Where two servers' WAL of one timeline is not the same, though both call it that.
struct FeedDifference {
  /// Whose record passes its checksum.
  enum class Checksums {
    both_pass,      ///< two sound histories: no checksum can find that
    archive_fails,  ///< what the archive has now
    other_fails,    ///< what the second upstream has
    both_fail,
    not_checked,  ///< the record began before what was compared, or does not end
  };
  struct Record {
    wal::Lsn start;  ///< 0/0: not known
    wal::Lsn end;    ///< 0/0: not known
    bool operator==(const Record&) const = default;
  };
  wal::TimelineId timeline = 0;
  wal::Lsn at;  ///< the first byte that differs and means something
  std::byte archive_byte{};
  std::byte other_byte{};
  Record archive;
  Record other;
  std::optional<std::uint8_t> resource_manager;  ///< of the archive's record
  Checksums checksums = Checksums::not_checked;

  /// One sentence, with all of it.
  [[nodiscard]] std::string to_string() const;
};
[[nodiscard]] std::string_view to_string(FeedDifference::Checksums checksums);

}  // namespace weir::receive
