#include "restore/fetched.h"

#include <string>
#include <string_view>

#include "archive/forms.h"
#include "base/error.h"
#include "base/log.h"
#include "restore/agreement.h"
#include "restore/archives.h"
#include "restore/content_source.h"
#include "restore/long_record.h"
#include "restore/segment_check.h"

namespace weir::restore {

using archive::SegmentFileName;

namespace {

/// Anything that would be logged stops a fetch: the process that delivers the segment logs it.
class RefusingLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    throw Error(ErrorKind::refused, std::string(message));
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }
};

}  // namespace

std::optional<Fetched> fetch_segment(Shelves shelves, wal::SegmentName segment, Output& output,
                                     const Options& options) {
  RefusingLog log;
  Archives archives(shelves, options, log);
  // The target directory is not used here.
  SegmentCheck check(archives, *shelves.front(), {}, options, log);
  const auto copy = first_copy(archives, segment);
  if (!copy) return std::nullopt;
  auto& archive = archives.shelf(copy->archive);
  const auto file = copy->name.to_string();
  const auto identity = io::identity_of(archive, file);
  if (!identity) return std::nullopt;
  auto fetched = check.read(*copy, output, SegmentCheck::Haste::none);
  if (!fetched) return std::nullopt;
  if (io::identity_of(archive, file) != identity)
    throw Error(ErrorKind::retry, "the segment's file changed while it was read")
        .with("file", archives.path_of(*copy));
  fetched->identity = *identity;
  // Two files must be compared: left to the process that can report the result.
  if (!archives.at(copy->archive).only_form(copy->name)) return std::nullopt;
  // The same applies to a record that needs more segments than this one.
  if (ends_in_a_long_record(*fetched)) return std::nullopt;
  require_agreement(archives, check, *fetched, output, options, log);
  for (std::size_t i = 0; i < archives.count(); ++i)
    if (archives.silent(i)) fetched->silent |= std::uint64_t{1} << i;
  return fetched;
}

bool compare_with_before(Shelves shelves, Fetched& fetched, io::Bytes& content,
                         const Fetched& before, io::Bytes& content_before) {
  if (!fetched.previous_record.valid()) return true;
  const auto start = fetched.source.segment.start(fetched.size);
  const auto timeline = fetched.source.segment.timeline();
  RefusingLog log;
  const Options options;
  const auto history = Archives(shelves, options, log).history_of(timeline);
  const Seam seam{.segment_start = start,
                  .first_record = fetched.first_record,
                  .previous_record = fetched.previous_record,
                  .segment_size = fetched.size,
                  .timeline = timeline,
                  .history = history ? &*history : nullptr};
  ContentSource earlier(before.source.segment.start(before.size), content_before);
  ContentSource this_one(start, content);
  const auto result = check_seam(seam, earlier, this_one);
  if (result.verdict == SeamVerdict::fits) {
    fetched.before = before.source;
    fetched.before_archive = before.archive;
    fetched.before_identity = before.identity;
  }
  return result.verdict != SeamVerdict::broken;
}

bool accept_fetched(Shelves shelves, const Fetched& fetched, io::File& content,
                    io::Directory& target_directory, const std::string& target_name,
                    const Options& options) {
  if (fetched.archive >= shelves.size() || fetched.before_archive >= shelves.size()) return false;
  RefusingLog log;
  Archives archives(shelves, options, log);
  SegmentCheck check(archives, target_directory, target_name, options, log);
  // Only the archive that it came from is checked: the others were compared when it was fetched,
  // and a hanging one must not delay each segment again. Objects in a store are written once, so a
  // store is not queried again.
  const auto whole = [&](std::size_t i, const SegmentFileName& name,
                         const io::FileIdentity& identity) {
    return i == options.store || io::identity_of(*shelves[i], name.to_string()) == identity;
  };
  auto* const unnamed_files = target_directory.unnamed_files();
  if (unnamed_files == nullptr || !whole(fetched.archive, fetched.source, fetched.identity) ||
      content.size() != fetched.size.bytes() ||
      (fetched.archive != options.store &&
       (io::identity_of_directory(*shelves[fetched.archive]) ==
            io::identity_of_directory(target_directory) ||
        !archives.at(fetched.archive).only_form(fetched.source))))
    return false;
  const bool fits_the_archive =
      fetched.before && whole(fetched.before_archive, *fetched.before, fetched.before_identity);
  if (options.system_identifier || !fits_the_archive) {
    ContentSource source(fetched.source.segment.start(fetched.size), content);
    check.check_seam_of(fetched, source);
  }

  if (unnamed_files->give_name(content, target_name)) return true;
  // The name exists. PostgreSQL removes the file before the request, other programs may not.
  const auto hidden = Target::temporary_name_of(target_name);
  target_directory.remove(hidden);
  if (!unnamed_files->give_name(content, hidden)) return false;
  try {
    target_directory.rename_replace(hidden, target_name);
  } catch (const Error&) {
    target_directory.remove(hidden);
    return false;
  }
  return true;
}

}  // namespace weir::restore
