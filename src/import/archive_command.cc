#include "import/archive_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/home.h"
#include "archive/identity.h"
#include "archive/resume.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "import/import.h"
#include "import/judge.h"
#include "io/posix_directory.h"
#include "wal/ancestor_history.h"

namespace weir::importing {

namespace {

using archive::SegmentFileName;

/// Maximum number of segments added by one call: the server calls again.
constexpr std::size_t kAtOnce = 64;
constexpr std::chrono::milliseconds kLookAgain(100);
constexpr std::size_t kLargestOfferedHistory = 1024 * 1024;

class Asked {
 public:
  Asked(io::Directory& archive, const ArchiveCommand& command)
      : archive_(archive), command_(command), until_(Clock::now() + command.patience) {
    const auto slash = command.path.rfind('/');
    name_ = command.path.substr(slash == std::string::npos ? 0 : slash + 1);
    shelf_ = io::open_existing_directory(
        slash == std::string::npos ? "." : command.path.substr(0, std::max<std::size_t>(slash, 1)));
  }

  std::optional<LeftOut> run() {
    if (archive::is_backup_history_name(name_)) return std::nullopt;
    if (const auto history = archive::parse_history_name(name_)) return take_history(*history);
    const auto name = SegmentFileName::parse(name_);
    if (!name || name->method != codec::Method::none)
      return left_out(Reason::not_sound, "not a file of a server's pg_wal",
                      "--archive-command is for a server's archive_command, which names its "
                      "files by %p.");
    const auto page = archive::read_first_page_header(*shelf_, *name);
    const auto size = page ? wal::SegmentSize::of(page->segment_size) : std::nullopt;
    if (!size || !name->segment.fits(*size) || page->address != name->segment.start(*size))
      return left_out(Reason::not_sound, "it does not begin with the WAL that its name indicates");
    size_ = *size;
    return name->partial ? take_unfinished(*name) : take_segment(*name);
  }

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] LeftOut left_out(Reason reason, std::string what, std::string hint = {}) const {
    return {command_.path, reason, std::move(what), std::move(hint)};
  }

  /// The name may be a moment old.
  std::optional<LeftOut> durable() {
    archive_.sync();
    return std::nullopt;
  }

  std::optional<LeftOut> take_segment(const SegmentFileName& name) {
    const Offer offer{shelf_, name};
    for (;;) {
      if (const auto ours = archive::find_finished(archive_, name.segment))
        return compare(*ours, offer);
      if (command_.try_lock() || is_hole(name.segment)) break;
      if (!rest()) return left_out(Reason::not_asked_for, kNotDurable, kAsksAgain);
    }
    std::vector<Source> sources;
    // The server may have archived its history elsewhere, and does not offer it again.
    const auto timeline = name.segment.timeline();
    auto history = known_history(timeline);
    if (!history) {
      history = read_history(*shelf_, {timeline});
      if (history) sources.push_back({shelf_, wal::history_name(timeline)});
    }
    for (const auto& each : row_to(name.segment, history.value_or(wal::TimelineHistory(timeline))))
      sources.push_back({shelf_, each.to_string()});
    const auto skipped = skipped_histories(timeline);
    for (const auto& each : skipped) sources.push_back({shelf_, each});
    const auto result = bring_in(sources);
    const auto path = offer.path();
    for (const auto& each : result.left_out)
      if (each.path == path) return left_out(each.reason, each.what, each.hint);
    if (const auto ours = archive::find_finished(archive_, name.segment))
      return compare(*ours, offer);
    for (const auto& each : result.left_out) return each;
    return left_out(Reason::not_asked_for, "earlier segments must be imported first", kAsksAgain);
  }

  std::optional<LeftOut> compare(const SegmentFileName& ours, const Offer& offer) {
    const auto offset = meaningful_difference(archive_, ours, offer, size_, std::nullopt);
    if (!offset) {
      archive::sync_finished(archive_, ours.segment);  // "cp" syncs nothing
      return durable();
    }
    return left_out(Reason::conflict,
                    fmt::format("it differs from the archive's {} from {} on", ours.to_string(),
                                offer.name.segment.start(size_) + *offset),
                    "One of the two is damaged, or belongs to another branch or cluster: \"pgweir "
                    "verify\" checks the archive's. Nothing was changed.");
  }

  /// True if the receiver is past the segment and does not have it.
  bool is_hole(wal::SegmentName name) {
    const auto durable = command_.durable_end ? command_.durable_end() : std::nullopt;
    if (!durable || durable->timeline < name.timeline()) return false;
    if (durable->timeline == name.timeline() && durable->flush < name.start(size_) + size_.bytes())
      return false;
    const auto partial = archive::partial_names(name);
    return std::none_of(
               partial.begin(), partial.end(),
               [&](const auto& each) { return archive_.find(each.to_string()).has_value(); }) &&
           !archive::find_finished(archive_, name);
  }

  /// False: the time is over.
  bool rest() {
    if (command_.stop && command_.stop(0)) return false;
    if (Clock::now() >= until_) return false;
    std::this_thread::sleep_for(kLookAgain);
    return true;
  }

  /// The segments, including those in its directory, from the archive's WAL up to it or, if it
  /// precedes that, from it on: those nearest to the archive's WAL. The ones before a switch are of
  /// the earlier timeline: a promoted standby has them, even if the old primary did not archive
  /// them.
  std::vector<wal::SegmentName> row_to(wal::SegmentName name, const wal::TimelineHistory& history) {
    const auto listing = archive::list_archive_names(archive_);
    const auto segno = name.segno(size_);
    bool before = false;
    bool behind = false;
    for (const auto& entry : listing.segments) {
      if (!entry.name.segment.fits(size_)) continue;
      const auto ours = entry.name.segment.segno(size_);
      before = before || ours < segno;
      behind = behind || ours > segno;
    }
    const auto name_of = [&](std::uint64_t each) {
      return wal::SegmentName(archive::timeline_of_segment(history, each, size_), each, size_);
    };
    const auto lacks = [&](std::uint64_t each) {
      const auto wanted = name_of(each);
      return !archive::find_finished(archive_, wanted) &&
             shelf_->find(wanted.to_string()).has_value();
    };
    std::vector<wal::SegmentName> row{name};
    if (before) {
      for (auto each = segno; each > 0 && lacks(each - 1); --each) row.push_back(name_of(each - 1));
      std::reverse(row.begin(), row.end());
      if (row.size() > kAtOnce)
        row.erase(row.begin() + static_cast<std::ptrdiff_t>(kAtOnce), row.end());
    } else if (behind) {
      for (auto each = segno + 1; lacks(each) && is_before_ours(listing, each); ++each)
        row.push_back(name_of(each));
      if (row.size() > kAtOnce)
        row.erase(row.begin(), row.end() - static_cast<std::ptrdiff_t>(kAtOnce));
    }
    return row;
  }

  [[nodiscard]] bool is_before_ours(const archive::Listing& listing, std::uint64_t segno) const {
    return std::any_of(listing.segments.begin(), listing.segments.end(), [&](const auto& entry) {
      return entry.name.segment.fits(size_) && segno < entry.name.segment.segno(size_);
    });
  }

  Result bring_in(const std::vector<Source>& sources) {
    if (command_.prepare) command_.prepare();
    Options options;
    options.extend = true;
    options.receiver = !command_.try_lock();
    options.release_lock = command_.release_lock;
    options.durable_end = options.receiver ? command_.durable_end : nullptr;
    options.stop = command_.stop;
    options.now = command_.now;
    return import_wal(archive_, sources, options);
  }

  /// A promotion leaves it: the new timeline's segment starts with the same bytes, and the server
  /// archives that next.
  std::optional<LeftOut> take_unfinished(const SegmentFileName& name) {
    if (const auto ours = archive::find_finished(archive_, name.segment))
      return compare(*ours, {shelf_, name});
    for (const auto& entry : shelf_->names()) {
      const auto history = archive::parse_history_name(entry.name);
      if (!history || history->timeline <= name.segment.timeline()) continue;
      const auto told = read_history(*shelf_, *history);
      const auto fork =
          told ? told->end_of(name.segment.timeline()).value_or(wal::Lsn()) : wal::Lsn();
      const SegmentFileName next{
          {history->timeline, name.segment.segno(size_), size_}, codec::Method::none, false};
      const auto start = name.segment.start(size_);
      if (!fork.valid() || fork < start || fork > start + size_.bytes() ||
          !shelf_->find(next.to_string()))
        continue;
      if (const auto offset =
              archive::first_difference(*shelf_, next, *shelf_, name, size_, fork - start))
        return left_out(Reason::not_sound,
                        fmt::format("it differs from {} before the switch, at {}", next.to_string(),
                                    start + *offset));
      return std::nullopt;
    }
    return left_out(Reason::not_asked_for,
                    "it is incomplete, and no timeline in the archive continues from it",
                    "A receiver that follows this server archives this WAL. Move the file away "
                    "once \"pgweir status\" shows that the archive has it.");
  }

  std::optional<LeftOut> take_history(const archive::HistoryEntry& entry) {
    const auto offered = read_history(*shelf_, entry);
    if (!offered) return left_out(Reason::not_sound, "it is not a valid timeline history");
    for (;;) {
      if (const auto ours = known_history(entry.timeline)) {
        if (*ours == *offered) return durable();
        return left_out(Reason::conflict, "it contradicts the archive's history of this timeline",
                        "Two servers were promoted to the same timeline. Find out which one the "
                        "archive follows.");
      }
      if (command_.try_lock()) break;
      if (!rest())
        return left_out(Reason::not_asked_for, "the receiver has not stored it yet", kAsksAgain);
    }
    const auto result = bring_in({{shelf_, name_}});
    for (const auto& each : result.came)
      if (each.name == wal::history_name(entry.timeline)) return durable();
    const auto* why = static_cast<const LeftOut*>(nullptr);
    for (const auto& each : result.left_out)
      if (each.path == shelf_->path_of(name_)) why = &each;
    // The server archives it before the segments, which require it.
    if ((why != nullptr && why->reason != Reason::not_asked_for) || !goes_on(*offered))
      return why != nullptr ? left_out(why->reason, why->what, why->hint)
                            : left_out(Reason::not_sound, "it was not imported");
    publish_with_ancestors(*offered);
    return durable();
  }

  /// The history that was read last. Those of its ancestors come first: "restore" rejects the
  /// request for a file that another history names and the archive lacks.
  void publish_with_ancestors(const wal::TimelineHistory& history) {
    archive::DirectoryHome home(archive_);
    const auto publish = [&](wal::TimelineId timeline, const std::string& content) {
      archive::publish_text(
          home, {.name = wal::history_name(timeline), .writers = archive::Home::Writers::many},
          content);
    };
    const auto known =
        archive::Timelines::read(archive_, archive::list_archive_names(archive_)).known();
    for (const auto& ancestor : history.ancestors()) {
      if (std::find(known.begin(), known.end(), ancestor.timeline) != known.end()) continue;
      if (const auto older = wal::ancestor_history(content_, ancestor.timeline))
        publish(ancestor.timeline, *older);
    }
    publish(history.timeline(), content_);
  }

  /// The names of history files before this timeline that its directory has and the archive lacks.
  std::vector<std::string> skipped_histories(wal::TimelineId timeline) {
    std::vector<std::string> names;
    for (wal::TimelineId each = 2; each < timeline; ++each)
      if (auto name = wal::history_name(each); !archive_.find(name) && shelf_->find(name))
        names.push_back(std::move(name));
    return names;
  }

  /// The archive's history of a timeline. nullopt if it has none, or none that can be read.
  std::optional<wal::TimelineHistory> known_history(wal::TimelineId timeline) {
    const auto timelines =
        archive::Timelines::read(archive_, archive::list_archive_names(archive_));
    const auto known = timelines.known();
    // (Of a timeline without a history file, no ancestors are known: that is not its history.)
    if (std::find(known.begin(), known.end(), timeline) == known.end()) return std::nullopt;
    return timelines.history(timeline);
  }

  /// True if it descends from the archive's newest timeline, and the segments next to it are of the
  /// archive's cluster: a history itself does not name its cluster. An empty archive starts with
  /// it.
  bool goes_on(const wal::TimelineHistory& history) {
    const auto listing = archive::list_archive_names(archive_);
    if (listing.segments.empty()) return true;
    wal::TimelineId newest = 0;
    for (const auto& entry : listing.segments)
      newest = std::max(newest, entry.name.segment.timeline());
    const auto identity = archive::read_identity(archive_, listing);
    if (!identity || newest == 0 || !history.contains(newest)) return false;
    for (const auto& entry : archive::list_archive_names(*shelf_).segments)
      if (entry.name.segment.timeline() == history.timeline())
        if (const auto page = archive::read_first_page_header(*shelf_, entry.name))
          return page->system_identifier == identity->system_identifier;
    return false;
  }

  std::optional<wal::TimelineHistory> read_history(io::Shelf& shelf,
                                                   const archive::HistoryEntry& entry) {
    const auto name = wal::history_name(entry.timeline) + std::string(codec::suffix(entry.method));
    const auto file = shelf.open_bytes(name);
    if (!file) return std::nullopt;
    content_.clear();
    archive::read_content(
        *file, entry.method, shelf.path_of(name), [&](std::span<const std::byte> bytes) {
          content_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return content_.size() <= kLargestOfferedHistory;
        });
    return wal::TimelineHistory::parse(entry.timeline, content_);
  }

  static constexpr const char* kNotDurable = "the receiver has not flushed it yet";
  static constexpr const char* kAsksAgain = "The server keeps it, and retries.";

  io::Directory& archive_;
  const ArchiveCommand& command_;
  const Clock::time_point until_;
  std::string name_;
  std::string content_;  ///< of the history that was read last
  std::shared_ptr<io::Shelf> shelf_;
  wal::SegmentSize size_{};
};

}  // namespace

std::optional<LeftOut> archive_file(io::Directory& archive, const ArchiveCommand& command) {
  return Asked(archive, command).run();
}

}  // namespace weir::importing
