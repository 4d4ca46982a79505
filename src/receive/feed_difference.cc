#include "receive/feed_difference.h"

#include <fmt/format.h>

#include "wal/records.h"

namespace weir::receive {

std::string_view to_string(FeedDifference::Checksums checksums) {
  using Checksums = FeedDifference::Checksums;
  switch (checksums) {
    case Checksums::both_pass:
      return "both pass their checksums";
    case Checksums::archive_fails:
      return "the archive's fails its checksum";
    case Checksums::other_fails:
      return "the second upstream's fails its checksum";
    case Checksums::both_fail:
      return "both fail their checksums";
    case Checksums::not_checked:
      break;
  }
  return "the checksums could not be compared";
}

std::string FeedDifference::to_string() const {
  const auto record = [](const Record& one) {
    if (!one.start.valid()) return std::string("not known");
    return fmt::format("{} to {}", one.start,
                       one.end.valid() ? one.end.to_string() : std::string("an unknown end"));
  };
  return fmt::format(
      "the second upstream has other WAL than the archive: the first byte that differs is at {} on "
      "timeline {} (0x{:02X} in the archive, 0x{:02X} there); record in the archive {}{}, there "
      "{}; {}",
      at, timeline, std::to_integer<unsigned>(archive_byte), std::to_integer<unsigned>(other_byte),
      record(archive),
      resource_manager ? fmt::format(" ({})", wal::resource_manager_name(*resource_manager)) : "",
      record(other), receive::to_string(checksums));
}

}  // namespace weir::receive
