#include "verify/beside.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>

#include "archive/compare.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/look_again.h"
#include "archive/published_open.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/for_each_index.h"
#include "wal/record_verifier.h"

namespace weir::verify {

namespace {

using archive::SegmentFileName;

/// The result of checking one copy of a segment.
struct Check {
  std::optional<std::string> wrong;
  std::uint64_t records_end = 0;                       ///< offset: later bytes have no meaning
  std::optional<wal::Lsn> padded_from = std::nullopt;  ///< a published partial segment
};

/// The archive's file system hangs, or the comparison was stopped.
bool says_nothing_of_the_file(const Error& error) {
  return error.kind() == ErrorKind::retry || error.system_code() == ETIMEDOUT;
}

class Comparison {
 public:
  Comparison(io::Shelf& one, io::Shelf& other, const Options& options)
      : one_(one), other_(other), options_(options) {}

  BesideReport run();

 private:
  void look();
  void compare_histories();
  void compare_segments();
  void compare(wal::SegmentName segment);
  Check check(io::Shelf& shelf, const SegmentFileName& name) const;
  std::optional<wal::Lsn> padded_from(io::Shelf& shelf, const SegmentFileName& name,
                                      const wal::Damage& damage) const;
  bool is_last(const io::Shelf& shelf, wal::SegmentName segment) const;
  void note_padded(const std::string& path, const Check& check);
  void add(Unlike unlike);

  io::Shelf& one_;
  io::Shelf& other_;
  const Options& options_;
  BesideReport report_;
  archive::Identity cluster_;
  archive::Timelines timelines_;  ///< of both

  std::mutex mutex_;
};

}  // namespace

std::string_view to_string(Unlike::Kind kind) {
  switch (kind) {
    case Unlike::Kind::differ:
      return "differ";
    case Unlike::Kind::damaged_one:
      return "damaged_here";
    case Unlike::Kind::damaged_other:
      return "damaged_beside";
    case Unlike::Kind::damaged_both:
      return "damaged_both";
  }
  return "unknown";
}

bool BesideReport::agrees() const {
  const auto hole = [](const archive::SegmentRange& range) { return range.hole; };
  return unlike.empty() && std::none_of(names.only_one.begin(), names.only_one.end(), hole) &&
         std::none_of(names.only_other.begin(), names.only_other.end(), hole);
}

BesideReport compare_archives(io::Shelf& one, io::Shelf& other, const Options& options) {
  return Comparison(one, other, options).run();
}

namespace {

/// import reads directories only: a store is filled, and read, by commands of its own.
std::string advice_on_hole(const std::string& has, const std::string& lacks) {
  const auto is_store = [](const std::string& path) {
    return path.find("://") != std::string::npos;
  };
  if (is_store(lacks))
    return fmt::format(
        "\"pgweir store push -D {}\" with the same --store uploads the missing segments; this is a "
        "hole of {}",
        has, lacks);
  if (is_store(has))
    return fmt::format(
        "\"pgweir store get SEGMENT DIR/SEGMENT\" downloads each segment from {0} into a directory "
        "DIR, then \"pgweir import -D {1} DIR\"; this is a hole of {1}",
        has, lacks);
  return fmt::format("pgweir import -D {0} {1}; this is a hole of {0}", lacks, has);
}

}  // namespace

std::string to_text(const BesideReport& report, std::size_t most) {
  std::string text = fmt::format("compared with {}\n\n", report.other);
  const auto ranges = [&](const std::vector<archive::SegmentRange>& found, const std::string& has,
                          const std::string& lacks) {
    for (const auto& range : found) {
      text += fmt::format("{}: only in {}\n", archive::to_text(range), has);
      if (range.hole) text += fmt::format("    what to do: {}\n", advice_on_hole(has, lacks));
    }
  };
  ranges(report.names.only_one, report.path, report.other);
  ranges(report.names.only_other, report.other, report.path);
  const auto histories = [&](const std::vector<wal::TimelineId>& found, const std::string& has) {
    for (const auto timeline : found)
      text += fmt::format("{}: only in {}\n", wal::history_name(timeline), has);
  };
  histories(report.names.histories_only_one, report.path);
  histories(report.names.histories_only_other, report.other);
  for (std::size_t i = 0; i < std::min(most, report.unlike.size()); ++i) {
    const auto& unlike = report.unlike[i];
    text += fmt::format("{} and {}: {}\n", unlike.file, unlike.other_file, unlike.what);
  }
  if (report.unlike.size() > most)
    text += fmt::format("… and {} more; --json lists all of them\n", report.unlike.size() - most);
  for (const auto& note : report.notes) text += note + "\n";
  text += fmt::format("compared {} {} that are in both\n", report.compared,
                      report.compared == 1 ? "segment" : "segments");
  text += report.agrees() ? "both are identical in the range that both cover\n"
                          : "DIFFERENT: see above\n";
  return text;
}

namespace {

BesideReport Comparison::run() {
  report_.path = one_.path();
  report_.other = other_.path();
  look();
  compare_histories();
  compare_segments();
  std::sort(report_.unlike.begin(), report_.unlike.end(),
            [](const Unlike& left, const Unlike& right) { return left.file < right.file; });
  std::sort(report_.notes.begin(), report_.notes.end());
  return std::move(report_);
}

void Comparison::look() {
  bool first = true;
  const auto list = [&] {
    const auto here = archive::list_archive_names(one_);
    const auto there = archive::list_archive_names(other_);
    if (std::exchange(first, false)) {
      std::optional<archive::Identity> identities[2];
      for (const bool beside : {false, true}) {
        auto& shelf = beside ? other_ : one_;
        identities[beside] = archive::read_identity(shelf, beside ? there : here);
        if (!identities[beside])
          throw Error(ErrorKind::gap, "there is no WAL at all in the archive directory")
              .with("directory", shelf.path())
              .hint("Check that the file system is mounted, and that it is the right directory.");
      }
      cluster_ = *identities[0];
      archive::require_same_cluster(*identities[1], cluster_.system_identifier,
                                    cluster_.segment_size, other_.path());
    }
    timelines_ = archive::Timelines::read(one_, here);
    timelines_.add(archive::Timelines::read(other_, there));
    return archive::difference(here, there, timelines_, cluster_.segment_size);
  };
  report_.names = archive::list_until_same(list, [](const auto& one, const auto& other) {
    return one.only_one == other.only_one && one.only_other == other.only_other;
  });
}

void Comparison::compare_histories() {
  for (const auto timeline : timelines_.known()) {
    std::optional<wal::TimelineHistory> found[2];
    bool there[2] = {};
    for (const bool beside : {false, true}) {
      std::optional<std::string> content;
      try {
        content = archive::read_history(beside ? other_ : one_, timeline);
        there[beside] = content.has_value();
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::damage) throw;
        there[beside] = true;
      }
      if (content) found[beside] = wal::TimelineHistory::parse(timeline, *content);
    }
    if (!there[0] || !there[1] || (found[0] && found[1] && *found[0] == *found[1])) continue;
    const auto name = wal::history_name(timeline);
    Unlike unlike{.file = one_.path_of(name), .other_file = other_.path_of(name)};
    if (found[0] && found[1]) {
      unlike.what = "both histories are valid, but differ";
    } else {
      unlike.kind = found[0]   ? Unlike::Kind::damaged_other
                    : found[1] ? Unlike::Kind::damaged_one
                               : Unlike::Kind::damaged_both;
      unlike.what = fmt::format("{} is not a valid timeline history",
                                found[0] ? unlike.other_file : unlike.file);
    }
    add(std::move(unlike));
  }
}

void Comparison::compare_segments() {
  const auto& all = report_.names.both;
  for_each_index(all.size(), options_.jobs, [&](std::size_t i) {
    if (options_.stop && options_.stop())
      throw Error(ErrorKind::retry, "the comparison was stopped");
    compare(all[i]);
    const std::lock_guard lock(mutex_);
    ++report_.compared;
    if (options_.progress)
      options_.progress(report_.compared * cluster_.segment_size.bytes(),
                        all.size() * cluster_.segment_size.bytes());
    return true;
  });
}

void Comparison::compare(wal::SegmentName segment) {
  for (int look = 1;; ++look) {
    const auto here = archive::find_finished(one_, segment);
    const auto there = archive::find_finished(other_, segment);
    if (!here || !there) return;  // removed since it was listed
    const auto& size = cluster_.segment_size;
    std::uint64_t offset = size.bytes();
    std::optional<Error> failed;
    try {
      const auto difference =
          archive::first_difference(one_, *here, other_, *there, size, size.bytes());
      if (!difference) return;
      offset = *difference;
    } catch (const Error& error) {
      // Gone, renamed, or broken: each is checked by itself.
      if (archive::is_gone(error) && look < archive::kMostLooksAtSegment) continue;
      if (says_nothing_of_the_file(error)) throw;
      failed = error;
    }
    const auto mine = check(one_, *here);
    const auto theirs = check(other_, *there);
    Unlike unlike{.file = one_.path_of(here->to_string()),
                  .other_file = other_.path_of(there->to_string())};
    if (mine.wrong || theirs.wrong) {
      unlike.kind = !theirs.wrong ? Unlike::Kind::damaged_one
                    : !mine.wrong ? Unlike::Kind::damaged_other
                                  : Unlike::Kind::damaged_both;
      unlike.what = mine.wrong ? *mine.wrong : *theirs.wrong;
      if (mine.wrong && theirs.wrong) unlike.what += "; " + *theirs.wrong;
    } else if (failed) {
      // The error has passed: they have not been compared yet.
      if (look < archive::kMostLooksAtSegment) continue;
      unlike.what = fmt::format("they could not be compared: {}", failed->what());
    } else if (offset >= std::min(mine.records_end, theirs.records_end)) {
      note_padded(unlike.file, mine);
      note_padded(unlike.other_file, theirs);
      return;
    } else {
      unlike.what = fmt::format("both are valid, but differ at offset {}", offset);
    }
    if (look < archive::kMostLooksAtSegment &&
        (!one_.find(here->to_string()) || !other_.find(there->to_string())))
      continue;
    add(std::move(unlike));
    return;
  }
}

Check Comparison::check(io::Shelf& shelf, const SegmentFileName& name) const {
  const auto& size = cluster_.segment_size;
  const auto start = name.segment.start(size);
  const auto history = timelines_.history(name.segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = name.segment.timeline(),
                                .system_identifier = cluster_.system_identifier,
                                .history = history ? &*history : nullptr},
                               start);
  Check found;
  try {
    std::optional<wal::Damage> damage;
    archive::read_segment(shelf, name, size, [&](std::span<const std::byte> wal) {
      damage = verifier.feed(wal);
      return !damage;
    });
    if (damage) {
      const auto path = shelf.path_of(name.to_string());
      found.padded_from = padded_from(shelf, name, *damage);
      if (!found.padded_from)
        found.wrong = fmt::format("{} is damaged at {}: {}", path, damage->at, damage->what);
      else if (!is_last(shelf, name.segment))
        found.wrong = fmt::format(
            "{} was published unfinished (\"pgweir store publish-partial\") up to {}, but is not "
            "the last segment of its timeline",
            path, *found.padded_from);
    }
  } catch (const Error& error) {
    if (says_nothing_of_the_file(error)) throw;
    found.wrong = error.what();
  }
  found.records_end = found.padded_from ? *found.padded_from - start
                                        : archive::meaningful_bytes(verifier, start, size);
  return found;
}

/// The end of a partial segment that was published under its final name, if `damage` consists only
/// of its zeros. The archives have different records of it: of the archiver, or of the store.
std::optional<wal::Lsn> Comparison::padded_from(io::Shelf& shelf, const SegmentFileName& name,
                                                const wal::Damage& damage) const {
  for (auto* const keeper : {&one_, &other_}) {
    const auto record = archive::published_open_of(*keeper, name.segment);
    if (record && damage.at >= record->end &&
        archive::has_zeros_behind(shelf, name, cluster_.segment_size, record->end))
      return record->end;
  }
  return std::nullopt;
}

/// True for the last complete segment of its timeline: a recovery does not read past the zeros of
/// any other.
bool Comparison::is_last(const io::Shelf& shelf, wal::SegmentName segment) const {
  const auto follows = [&](wal::SegmentName each) {
    return each.timeline() == segment.timeline() && each > segment;
  };
  const auto& only = &shelf == &one_ ? report_.names.only_one : report_.names.only_other;
  return std::none_of(report_.names.both.begin(), report_.names.both.end(), follows) &&
         std::none_of(only.begin(), only.end(),
                      [&](const archive::SegmentRange& range) { return follows(range.last); });
}

void Comparison::note_padded(const std::string& path, const Check& check) {
  if (!check.padded_from) return;
  const std::lock_guard lock(mutex_);
  report_.notes.push_back(
      fmt::format("{}: padded after {}: it was published unfinished (\"pgweir store "
                  "publish-partial\"), and compared up to there",
                  path, *check.padded_from));
}

void Comparison::add(Unlike unlike) {
  const std::lock_guard lock(mutex_);
  report_.unlike.push_back(std::move(unlike));
}

}  // namespace

}  // namespace weir::verify
