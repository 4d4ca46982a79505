#include "restore/history.h"

#include <algorithm>
#include <span>
#include <vector>

#include "archive/content.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "codec/codec.h"
#include "restore/archives.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/records.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

namespace {

using codec::Method;

/// A line for each promotion a cluster ever saw; a larger file is not a history file.
constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;

void require_agreement(const wal::TimelineHistory& history, const archive::Timelines& timelines);
void require_agreement_with_wal(io::Shelf& archive, const wal::TimelineHistory& history,
                                const archive::Listing& listing);

std::optional<std::string> read_form(io::Shelf& archive, const std::string& name, Method method) {
  const auto file = archive.open_bytes(name);
  if (!file) return std::nullopt;
  const auto too_large = [&] {
    return Error(ErrorKind::damage, "too large for a timeline history").with("file", name);
  };
  if (file->size() > kMostBytes) throw too_large();
  std::string content;
  const auto take = [&](std::span<const std::byte> raw) {
    content.append(reinterpret_cast<const char*>(raw.data()), raw.size());
    return content.size() <= kMostBytes;
  };
  try {
    if (!archive::ContentReader(*file, method).read(take)) throw too_large();
  } catch (const Error& error) {
    if (method == Method::none) throw;
    throw Error(error.kind(), error.what()).with("file", archive.path() + "/" + name);
  }
  return content;
}

}  // namespace

std::optional<std::string> read_history_file(io::Shelf& archive, wal::TimelineId timeline) {
  std::optional<Error> first_error;
  std::optional<std::string> first_content;
  for (const auto& [name, method] : archive::history_names(timeline)) {
    try {
      auto content = read_form(archive, name, method);
      if (content && wal::TimelineHistory::parse(timeline, *content)) return content;
      if (content && !first_content) first_content = std::move(content);
    } catch (const Error& error) {
      if (!first_error) first_error = error;
    }
  }
  if (first_error && !first_content) throw *first_error;
  return first_content;
}

std::optional<std::string> read_checked_history(io::Shelf& archive, wal::TimelineId timeline,
                                                const archive::Listing& listing,
                                                const archive::Timelines& timelines, bool verify) {
  auto content = read_history_file(archive, timeline);
  if (!content) return std::nullopt;
  const auto history = wal::TimelineHistory::parse(timeline, *content);
  if (!history)
    throw Error(ErrorKind::damage, "the file is not a valid timeline history")
        .with("file", archive.path() + "/" + wal::history_name(timeline))
        .with("size", content->size())
        .hint(
            "Expected lines with timeline, switchpoint and reason, in ascending order, each "
            "timeline smaller than that of the file. A server that was on this timeline has the "
            "file in its pg_wal, and pgweir receive fetches it again if it is removed here.");
  for (const auto& ancestor : history->ancestors())
    if (ancestor.switchpoint.byte() % 8 != 0)
      throw Error(ErrorKind::damage, "invalid switchpoint in a timeline history")
          .with("file", archive.path() + "/" + wal::history_name(timeline))
          .with("switchpoint", ancestor.switchpoint)
          .with("expected", "a multiple of 8");
  if (verify) {
    require_agreement(*history, timelines);
    require_agreement_with_wal(archive, *history, listing);
  }
  return content;
}

std::optional<std::string> read_agreed_history(Archives& archives, wal::TimelineId timeline,
                                               bool verify, bool first_sound, Log& log) {
  std::optional<std::string> agreed;
  std::string path;
  std::optional<Error> unsound;
  archives.ask_each([&](std::size_t i) {
    if (agreed && first_sound) return;
    std::optional<std::string> content;
    try {
      content = read_checked_history(archives.shelf(i), timeline, archives.at(i).listing(),
                                     archives.timelines(i), verify);
    } catch (const Error& error) {
      const bool of_content =
          error.kind() == ErrorKind::damage || error.kind() == ErrorKind::conflict;
      if (!archives.several() || !of_content) throw;
      if (unsound) log.error(*unsound);
      unsound = error;
    }
    if (!content) return;
    auto found = archives.at(i).path_of(wal::history_name(timeline));
    if (agreed && wal::TimelineHistory::parse(timeline, *agreed) !=
                      wal::TimelineHistory::parse(timeline, *content))
      throw Contradiction(ErrorKind::conflict,
                          "two archives have valid, but different copies of the history")
          .with("file", path)
          .with("and", found)
          .hint(
              "Two servers were promoted to one timeline. Specify only the archive of the right "
              "one.");
    if (agreed) return;
    agreed = std::move(content);
    path = std::move(found);
  });
  if (!unsound) return agreed;
  if (!agreed) {
    log.error(*unsound);
    archives.require_answers(wal::history_name(timeline) + ", sound");
    throw Error(*unsound);
  }
  log.error(*unsound);
  log.warning("{} was used instead", path);
  return agreed;
}

namespace {

/// The part of `history` before `timeline`, which is one of its own.
std::vector<wal::TimelineHistory::Ancestor> ancestors_of(const wal::TimelineHistory& history,
                                                         wal::TimelineId timeline) {
  std::vector<wal::TimelineHistory::Ancestor> ancestors;
  for (const auto& ancestor : history.ancestors())
    if (ancestor.timeline < timeline) ancestors.push_back(ancestor);
  return ancestors;
}

void require_agreement(const wal::TimelineHistory& history, const archive::Timelines& timelines) {
  for (const auto other_timeline : timelines.known()) {
    const auto other = timelines.history(other_timeline);
    if (!other) continue;  // reported when it is requested
    const auto& older = other_timeline < history.timeline() ? *other : history;
    const auto& newer = other_timeline < history.timeline() ? history : *other;
    if (!newer.contains(older.timeline()) || older == newer) continue;
    // A server that was promoted without its parent's file has written the parent's line only
    // (writeTimeLineHistory() in access/transam/timeline.c). This is rejected, too: by it, the
    // parent's own WAL goes back to the cluster's start.
    if (ancestors_of(newer, older.timeline()) != older.ancestors())
      throw Error(ErrorKind::conflict, "two timeline histories contradict each other")
          .with("file", wal::history_name(older.timeline()))
          .with("and", wal::history_name(newer.timeline()))
          .hint(
              "One of them is damaged, or belongs to another cluster. The servers that were on "
              "these timelines have the right ones in their pg_wal.");
  }
}

/// Looks for the record with which a server starts a timeline: the end-of-recovery record or the
/// shutdown checkpoint after a promotion. Both contain the timeline ID.
class BeginFinder final : public wal::RecordObserver {
 public:
  BeginFinder(wal::TimelineId timeline, wal::Lsn expected)
      : timeline_(timeline), expected_(expected) {}

  bool wants(const wal::RecordHeader& header) override { return wal::names_timeline(header); }

  void on_record(wal::Lsn start, wal::Lsn /*end*/, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    // A record that would start at a page's first byte starts after the page's header.
    const auto in_page = start.byte() % wal::kPageSize;
    const bool first_of_page = in_page == wal::kShortHeaderSize || in_page == wal::kLongHeaderSize;
    if (start == expected_ || (first_of_page && start >= expected_ && start - expected_ == in_page))
      at_expected_ = true;
    if (start < expected_ || begin_) return;
    if (is_begin(header, body)) {
      begin_ = start;
    } else if (!wal::is_xlog(header, wal::XlogRecord::overwrite_contrecord)) {
      others_before_ = true;
    }
  }

  [[nodiscard]] bool at_expected() const { return at_expected_; }
  [[nodiscard]] std::optional<wal::Lsn> begin() const { return begin_; }
  [[nodiscard]] bool others_before() const { return others_before_; }

 private:
  [[nodiscard]] bool is_begin(const wal::RecordHeader& header,
                              std::span<const std::byte> body) const {
    if (!wal::names_timeline(header)) return false;
    const auto told = wal::timeline_begin(body);
    return told && told->timeline == timeline_ && told->previous != timeline_;
  }

  wal::TimelineId timeline_;
  wal::Lsn expected_;
  bool at_expected_ = false;
  bool others_before_ = false;
  std::optional<wal::Lsn> begin_;
};

void require_agreement_with_wal(io::Shelf& archive, const wal::TimelineHistory& history,
                                const archive::Listing& listing) {
  const auto timeline = history.timeline();
  const auto begin = *history.begin_of(timeline);
  const auto contradiction = [&](std::string what, const std::string& file) {
    return Error(ErrorKind::damage,
                 "the timeline history does not agree with the WAL: " + std::move(what))
        .with("file", archive.path() + "/" + wal::history_name(timeline))
        .with("WAL", file)
        .hint(
            "One of the two is damaged, or belongs to another cluster. Compare the history with "
            "the one in the pg_wal of a server that was on this timeline.");
  };

  // The timeline's first segment, by the WAL itself.
  const archive::SegmentEntry* first = nullptr;
  for (const auto& entry : listing.segments) {
    if (entry.name.segment.timeline() != timeline) continue;
    const auto found = archive.find(entry.name.to_string());
    if (found && found->size > 0) {
      first = &entry;
      break;
    }
  }
  if (first == nullptr) return;

  BeginFinder finder(timeline, begin);
  std::optional<wal::RecordVerifier> verifier;
  std::optional<wal::Damage> damage;
  bool too_early = false;
  bool begins_here = false;
  try {
    const auto page = archive::read_first_page_header(archive, first->name);
    const auto size = page ? wal::SegmentSize::of(page->segment_size) : std::nullopt;
    if (!size || !first->name.segment.fits(*size)) return;
    const auto segno = first->name.segment.segno(*size);
    begins_here = segno == size->segno(begin);
    verifier.emplace(
        wal::RecordVerifier::Options{
            .segment_size = *size, .timeline = timeline, .observer = &finder, .history = &history},
        first->name.segment.start(*size));
    too_early = segno < size->segno(begin);
    if (!too_early)
      archive::read_segment(archive, first->name, *size, [&](auto wal) {
        damage = verifier->feed(wal);
        return true;  // a broken file proves nothing, so up to its end
      });
  } catch (const Error& error) {
    // The segment's error is reported when the segment is requested.
    if (error.kind() != ErrorKind::damage) throw;
  }
  if (!verifier || verifier->unchecked()) return;
  if (too_early)
    throw contradiction(
        fmt::format(
            "according to it, timeline {} begins at {}, but there is earlier WAL of that timeline",
            timeline, begin),
        first->name.to_string());
  if (damage && damage->what.starts_with("unexpected timeline"))
    throw contradiction(fmt::format("{} (LSN {})", damage->what, damage->at),
                        first->name.to_string());
  // The archive may start later, or does not have enough valid WAL to decide.
  if (!begins_here || verifier->last_record_end() <= begin) return;
  if (!finder.at_expected())
    throw contradiction(
        fmt::format("according to it, timeline {1} begins at {0}, but no record begins there",
                    begin, timeline),
        first->name.to_string());
  if (finder.begin() && finder.others_before())
    throw contradiction(
        fmt::format("timeline {} begins at {}, not at {}", timeline, *finder.begin(), begin),
        first->name.to_string());
}

}  // namespace

}  // namespace weir::restore
