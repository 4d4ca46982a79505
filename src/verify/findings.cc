#include "verify/findings.h"

#include <fmt/format.h>

#include <algorithm>

#include "wal/records.h"

namespace weir::verify {

using wal::Lsn;

std::optional<LostRange> loss_of(const Node& node, Lsn at, wal::SegmentSize size) {
  const auto end = size.start(node.segno + 1);
  return LostRange{node.timeline, at < end ? at : size.start(node.segno), end};
}

Finding damage_finding(const Context& context, const Node& node, const std::string& file,
                       const wal::Damage& damage,
                       const std::optional<wal::PageHeader>& first_page) {
  const auto& size = context.cluster.segment_size;
  const auto start = size.start(node.segno);
  Finding finding;
  finding.kind = FindingKind::damage;
  finding.file = file;
  finding.timeline = node.timeline;
  finding.lsn = damage.at;
  finding.found_at = damage.found_at;
  if (damage.found_at >= start) finding.offset = damage.found_at - start;
  if (damage.record)
    finding.resource_manager = wal::resource_manager_name(damage.record->resource_manager);
  finding.what = damage.what;
  if (damage.at < start)
    finding.what += fmt::format("; the record begins in segment {}, and either may be damaged",
                                context.segment_of(node.timeline, damage.at));
  finding.hint =
      "Recovery ends here. Look for a valid copy of this segment in the pg_wal of the servers and "
      "in other archives: \"pgweir import --replace-damaged\" replaces this one. Without one, take "
      "a new base backup.";
  finding.loss = loss_of(node, std::max(damage.at, start), size);

  // In the first page header, the WAL itself may be valid and only in the wrong place.
  const bool in_first_header =
      damage.found_at >= start && damage.found_at < start + wal::kLongHeaderSize;
  if (!in_first_header || !first_page || !first_page->long_header ||
      !wal::major_version_of_magic(first_page->magic) || first_page->page_size != wal::kPageSize)
    return finding;
  if (context.cluster.system_identifier != 0 &&
      first_page->system_identifier != context.cluster.system_identifier) {
    finding.kind = FindingKind::other_cluster;
    finding.what = fmt::format("WAL of another cluster: expected system identifier {}, found {}",
                               context.cluster.system_identifier, first_page->system_identifier);
    finding.hint =
        "Two clusters must not share an archive. Move the file away, and import this cluster's own "
        "segment.";
    return finding;
  }
  const bool elsewhere = first_page->address != start && first_page->address.valid() &&
                         size.offset(first_page->address) == 0;
  if (first_page->segment_size == size.bytes() &&
      (elsewhere || first_page->timeline > node.timeline ||
       (first_page->address == start && damage.found_at == start + 4))) {
    finding.kind = FindingKind::wrong_name;
    finding.what = fmt::format(
        "the file's name does not match its WAL, whose first page is of timeline {} at {} (segment "
        "{})",
        first_page->timeline, first_page->address,
        wal::SegmentName(first_page->timeline, size.segno(first_page->address), size));
    finding.hint = "Move the file away, and import the right segment.";
  }
  return finding;
}

Finding error_finding(const Context& context, const Node& node, const std::string& file,
                      const Error& error, std::uint64_t given) {
  Finding finding;
  finding.kind =
      error.kind() == ErrorKind::damage ? FindingKind::broken_file : FindingKind::unreadable;
  finding.file = file;
  finding.timeline = node.timeline;
  const auto start = context.cluster.segment_size.start(node.segno);
  // Rejected (no key can decrypt it): nothing about it is known, and nothing is lost.
  const bool refused = error.kind() == ErrorKind::refused;
  finding.lsn = start;
  if (!refused) {
    finding.lsn = start + std::min(given, context.cluster.segment_size.bytes());
    finding.offset = given;
  }
  finding.what = error.what();
  finding.hint = !error.hint().empty() ? error.hint()
                 : finding.kind == FindingKind::unreadable
                     ? "Check owner and mode of the file, and the disk (dmesg)."
                     : "Look for a valid copy of this segment in the pg_wal of the servers and in "
                       "other archives: \"pgweir import --replace-damaged\" replaces this one. "
                       "Without one, take a new base backup.";
  if (!refused) finding.loss = loss_of(node, start, context.cluster.segment_size);
  return finding;
}

Finding border_finding(const Context& context, const Node& node, const std::string& file,
                       const Error& error) {
  auto finding = error_finding(context, node, file, error, 0);
  finding.kind = FindingKind::unreadable;
  finding.offset = std::nullopt;
  finding.what = fmt::format(
      "the boundary to the segment before was not checked, since the file could not be read at "
      "first: {}",
      error.what());
  finding.hint = "Run verify again.";
  finding.loss = std::nullopt;
  return finding;
}

}  // namespace weir::verify
