#include "status/beside.h"

#include <fmt/format.h>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "io/posix_directory.h"
#include "status/report.h"

namespace weir::status {

Beside look_beside(const StatusReport& report, const std::string& directory) {
  Beside beside{.directory = directory, .difference = std::nullopt};
  if (!report.identity) {
    beside.error = "no segment identifies the cluster of the archive " + report.directory;
    return beside;
  }
  const auto here = io::open_existing_directory(report.directory);
  const auto size = report.identity->segment_size;
  // A file that is renamed while a directory is listed may be in the listing under neither name.
  constexpr int kLooks = 5;
  for (int i = 0; i < kLooks; ++i) {
    const auto ours = archive::list_archive_names(*here);
    auto timelines = archive::Timelines::read(*here, ours);
    archive::Listing theirs;
    try {
      const auto there = io::open_existing_directory(directory);
      theirs = archive::list_archive_names(*there);
      timelines.add(archive::Timelines::read(*there, theirs));
      const auto identity = archive::read_identity(*there, theirs);
      if (!identity)
        throw Error(ErrorKind::gap, "there is no WAL at all in the archive directory")
            .with("directory", directory);
      archive::require_same_cluster(*identity, report.identity->system_identifier, size, directory);
    } catch (const Error& error) {
      beside.error = error.what();
      beside.difference.reset();
      return beside;
    }
    auto difference = archive::difference(ours, theirs, timelines, size);
    const bool same = beside.difference && beside.difference->only_one == difference.only_one &&
                      beside.difference->only_other == difference.only_other;
    beside.difference = std::move(difference);
    if (same) break;
  }
  return beside;
}

std::string beside_text(const StatusReport& report) {
  if (!report.beside) return {};
  const auto& beside = *report.beside;
  auto text = fmt::format("Compared with {}: ", beside.directory);
  if (!beside.difference) return text + beside.error + "\n";
  const auto& difference = *beside.difference;
  text += fmt::format("{} {} in both, by their names\n", difference.both.size(),
                      difference.both.size() == 1 ? "segment is" : "segments are");
  const auto ranges = [&](const std::vector<archive::SegmentRange>& found, const std::string& has,
                          const std::string& lacks) {
    for (const auto& range : found)
      text += fmt::format(
          "  only in {}: {}{}\n", has, archive::to_text(range),
          range.hole ? fmt::format(", a hole of {0}: pgweir import -D {0} {1}", lacks, has) : "");
  };
  ranges(difference.only_one, report.directory, beside.directory);
  ranges(difference.only_other, beside.directory, report.directory);
  const auto histories = [&](const std::vector<wal::TimelineId>& found, const std::string& has) {
    for (const auto timeline : found)
      text += fmt::format("  only in {}: {}\n", has, wal::history_name(timeline));
  };
  histories(difference.histories_only_one, report.directory);
  histories(difference.histories_only_other, beside.directory);
  return text;
}

}  // namespace weir::status
