#include "restore/fetched.h"

#include <string>
#include <string_view>

#include "archive/forms.h"
#include "base/error.h"
#include "base/log.h"
#include "restore/archive_facts.h"
#include "restore/content_source.h"
#include "restore/history.h"
#include "restore/long_record.h"
#include "restore/segment_check.h"

namespace weir::restore {

using archive::SegmentFileName;

namespace {

/// What would have been told stops a fetch: the one who is asked for the segment tells it.
class RefusingLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    throw Error(ErrorKind::retry, std::string(message));
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }
};

}  // namespace

std::optional<Fetched> fetch_segment(io::Shelf& archive, wal::SegmentName segment, Output& output,
                                     const Options& options) {
  RefusingLog log;
  ArchiveFacts facts(archive, options, log);
  // The target directory is asked for nothing here.
  SegmentCheck check(facts, archive, {}, options, log);
  for (const auto& name : archive::finished_names(segment)) {
    const auto identity = io::identity_of(archive, name.to_string());
    if (!identity) continue;
    auto fetched = check.read(name, output, SegmentCheck::Haste::none);
    if (!fetched) return std::nullopt;
    if (io::identity_of(archive, name.to_string()) != identity)
      throw Error(ErrorKind::retry, "the segment's file changed while it was read")
          .with("file", facts.path_of(name.to_string()));
    fetched->identity = *identity;
    // Two forms are to be compared: that is for the one who can tell what comes of it.
    if (!facts.only_form(name)) return std::nullopt;
    // And so is a record that needs more segments than this one.
    if (ends_in_a_long_record(*fetched)) return std::nullopt;
    return fetched;
  }
  return std::nullopt;
}

bool compare_with_before(io::Shelf& archive, Fetched& fetched, io::Bytes& content,
                         const Fetched& before, io::Bytes& content_before) {
  if (!fetched.previous_record.valid()) return true;
  const auto start = fetched.source.segment.start(fetched.size);
  const auto timeline = fetched.source.segment.timeline();
  std::optional<wal::TimelineHistory> history(timeline);
  if (timeline != 1) {
    const auto text = read_history_file(archive, timeline);
    history = text ? wal::TimelineHistory::parse(timeline, *text) : std::nullopt;
  }
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
    fetched.before_identity = before.identity;
  }
  return result.verdict != SeamVerdict::broken;
}

bool accept_fetched(io::Shelf& archive, const Fetched& fetched, io::File& content,
                    io::Directory& target_directory, const std::string& target_name,
                    const Options& options) {
  RefusingLog log;
  ArchiveFacts facts(archive, options, log);
  SegmentCheck check(facts, target_directory, target_name, options, log);
  const auto whole = [&](const SegmentFileName& name, const io::FileIdentity& identity) {
    return io::identity_of(archive, name.to_string()) == identity;
  };
  auto* const unnamed_files = target_directory.unnamed_files();
  if (unnamed_files == nullptr || !whole(fetched.source, fetched.identity) ||
      content.size() != fetched.size.bytes() ||
      io::identity_of_directory(archive) == io::identity_of_directory(target_directory) ||
      !facts.only_form(fetched.source))
    return false;
  const bool fits_the_archive = fetched.before && whole(*fetched.before, fetched.before_identity);
  if (options.system_identifier || !fits_the_archive) {
    ContentSource source(fetched.source.segment.start(fetched.size), content);
    check.check_seam_of(fetched, source);
  }

  if (unnamed_files->give_name(content, target_name)) return true;
  // Something stands there. PostgreSQL takes it away before it asks, others may not.
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
