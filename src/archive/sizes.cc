#include "archive/sizes.h"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "archive/content.h"
#include "archive/find_losses.h"
#include "archive/forms.h"
#include "base/error.h"
#include "codec/size_claim.h"

namespace weir::archive {

namespace {

/// A file that was changed more recently may still grow: another program's archive_command may copy
/// directly to the final name. (Clocks are not trusted beyond this.)
constexpr std::chrono::seconds kSettled(10);
constexpr std::size_t kMostNames = 5;

std::optional<std::uint64_t> wrong_size_of(io::Shelf& directory, const SegmentFileName& name,
                                           wal::SegmentSize segment_size);
std::uint64_t unpacked_size(io::Bytes& file, codec::Method method, const std::string& path,
                            wal::SegmentSize segment_size);
bool ends_early(io::Shelf& directory, const SegmentFileName& name, wal::SegmentSize segment_size);

bool was_just_changed(const io::DirectoryEntry& entry, std::chrono::system_clock::time_point now) {
  return now - entry.modified < kSettled && entry.modified - now < kSettled;
}

}  // namespace

SizeCheck check_size(io::Shelf& directory, const SegmentFileName& name,
                     wal::SegmentSize segment_size, std::chrono::system_clock::time_point now) {
  SizeCheck check;
  const auto try_form = [&](const SegmentFileName& form) {
    const auto entry = directory.find(form.to_string());
    if (!entry || entry->type != io::DirectoryEntry::Type::file) return false;
    const auto bytes = wrong_size_of(directory, form, segment_size);
    if (!bytes) return directory.find(form.to_string()).has_value();
    check.wrong = WrongSize{form, *bytes};
    check.being_written = check.being_written || was_just_changed(*entry, now);
    return false;
  };
  if (try_form(name)) return {};
  // Its format may have changed since it was listed, or it may have two files.
  for (const auto& form : finished_names(name.segment))
    if (form != name && try_form(form)) return {};
  return check;
}

RecentChange find_recent_change(io::Shelf& directory, wal::SegmentName segment,
                                wal::SegmentSize segment_size,
                                std::chrono::system_clock::time_point now) {
  RecentChange change;
  for (const auto& name : finished_names(segment)) {
    const auto entry = directory.find(name.to_string());
    if (!entry || entry->type != io::DirectoryEntry::Type::file || !was_just_changed(*entry, now))
      continue;
    change.changed = true;
    change.ends_early = change.ends_early || ends_early(directory, name, segment_size);
  }
  return change;
}

std::vector<WrongSize> find_wrong_sizes(io::Shelf& directory, const Listing& listing,
                                        wal::SegmentSize segment_size,
                                        std::chrono::system_clock::time_point now) {
  std::vector<WrongSize> wrong;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial || !entry.name.segment.fits(segment_size)) continue;
    const auto bytes = entry.bytes.value();
    if (entry.name.method == codec::Method::none ? bytes == segment_size.bytes() : bytes > 0)
      continue;
    if (!wrong.empty() && wrong.back().name.segment == entry.name.segment) continue;
    const auto check = check_size(directory, entry.name, segment_size, now);
    if (check.wrong && !check.being_written) wrong.push_back(*check.wrong);
  }
  return wrong;
}

bool is_of_wrong_size(io::Shelf& directory, const SegmentEntry& entry,
                      wal::SegmentSize segment_size) {
  if (entry.name.method == codec::Method::none && entry.bytes)
    return *entry.bytes != segment_size.bytes();
  return wrong_size_of(directory, entry.name, segment_size).has_value();
}

void take_out(Listing& listing, std::span<const WrongSize> wrong) {
  if (wrong.empty()) return;
  std::set<wal::SegmentName> names;
  for (const auto& each : wrong) names.insert(each.name.segment);
  std::erase_if(listing.segments, [&](const SegmentEntry& entry) {
    return !entry.name.partial && names.contains(entry.name.segment);
  });
}

std::vector<Loss> find_wrong_size_holes(std::span<const WrongSize> wrong, const Listing& listing,
                                        const Timelines& timelines, wal::SegmentSize segment_size,
                                        std::span<const Loss> recorded) {
  if (wrong.empty()) return {};
  auto sound = listing;
  take_out(sound, wrong);
  const auto ways = coverage(sound, timelines, segment_size);
  std::vector<wal::TimelineHistory> histories;
  for (const auto& way : ways)
    histories.push_back(
        timelines.history(way.timeline).value_or(wal::TimelineHistory(way.timeline)));
  const auto has_both_sides = [&](wal::SegmentName segment) {
    const auto segno = segment.segno(segment_size);
    const auto begin = segment_size.start(segno);
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const auto& ranges = ways[i].ranges;
      if (!ranges.empty() && ranges.front().begin < begin && ranges.back().end > begin &&
          timeline_of_segment(histories[i], segno, segment_size) == segment.timeline())
        return true;
    }
    return false;
  };

  std::vector<WrongSize> found;
  for (const auto& each : wrong)
    if (each.name.segment.fits(segment_size) &&
        !lies_in_a_hole(each, timelines, segment_size, recorded) &&
        has_both_sides(each.name.segment))
      found.push_back(each);
  std::sort(found.begin(), found.end(),
            [](const WrongSize& a, const WrongSize& b) { return a.name.segment < b.name.segment; });

  std::vector<Loss> holes;
  for (auto first = found.begin(); first != found.end();) {
    const auto timeline = first->name.segment.timeline();
    auto behind = first->name.segment.segno(segment_size) + 1;
    auto last = first + 1;
    for (; last != found.end() &&
           last->name.segment == wal::SegmentName(timeline, behind, segment_size);
         ++last)
      ++behind;
    Loss loss;
    loss.timeline = loss.next_timeline = timeline;
    loss.begin = loss.sound_end = loss.counted_to = first->name.segment.start(segment_size);
    loss.end = segment_size.start(behind);
    loss.segment_size = segment_size;
    loss.recorded = false;
    loss.missing = {{loss.begin, loss.end}};
    loss.cause = "found: wrong size of a complete segment: " +
                 text_of(std::span(&*first, static_cast<std::size_t>(last - first)), segment_size);
    holes.push_back(std::move(loss));
    first = last;
  }
  std::sort(holes.begin(), holes.end(), [](const Loss& a, const Loss& b) {
    return std::tie(a.begin, a.timeline) < std::tie(b.begin, b.timeline);
  });
  return holes;
}

bool lies_in_a_hole(const WrongSize& wrong, const Timelines& timelines,
                    wal::SegmentSize segment_size, std::span<const Loss> holes) {
  const auto& segment = wrong.name.segment;
  const auto begin = segment.start(segment_size);
  std::optional<wal::TimelineHistory> history;
  return std::any_of(holes.begin(), holes.end(), [&](const Loss& loss) {
    if (loss.kind != Loss::Kind::hole || begin < loss.begin || loss.end <= begin ||
        segment.timeline() < loss.timeline || loss.next_timeline < segment.timeline())
      return false;
    if (!history)
      history =
          timelines.history(segment.timeline()).value_or(wal::TimelineHistory(segment.timeline()));
    if (timeline_of_segment(*history, segment.segno(segment_size), segment_size) !=
        segment.timeline())
      return false;
    const auto needed = needed_along(loss, *history, timelines, segment_size);
    return std::any_of(needed.begin(), needed.end(), [&](const Loss::Range& part) {
      return part.begin <= begin && begin < part.end;
    });
  });
}

std::string text_of(std::span<const WrongSize> wrong, wal::SegmentSize segment_size) {
  std::string text;
  for (std::size_t i = 0; i < std::min(wrong.size(), kMostNames); ++i) {
    const bool compressed = wrong[i].name.method != codec::Method::none;
    const bool more = compressed && wrong[i].bytes > segment_size.bytes();
    text += fmt::format("{}{} has {}{} bytes{}", i == 0 ? "" : ", ", wrong[i].name.to_string(),
                        more ? "more than " : "", more ? segment_size.bytes() : wrong[i].bytes,
                        compressed ? " unpacked" : "");
  }
  if (wrong.size() > kMostNames) text += fmt::format(", and {} more", wrong.size() - kMostNames);
  return text + fmt::format("; a segment has {}", segment_size.bytes());
}

std::vector<WrongSize> skip_wrong_sizes(io::Shelf& directory, Listing& listing,
                                        wal::SegmentSize segment_size) {
  std::vector<WrongSize> wrong;
  bool sound_seen = false;
  for (auto each = listing.segments.rbegin(); each != listing.segments.rend(); ++each) {
    if (each->name.partial) continue;
    std::uint64_t bytes = each->bytes.value();
    if (each->name.method != codec::Method::none) {
      if (sound_seen) continue;
      const auto name = each->name.to_string();
      const auto file = directory.open_bytes(name);
      bytes = file ? unpacked_size(*file, each->name.method, directory.path() + "/" + name,
                                   segment_size)
                   : 0;
    }
    if (bytes == segment_size.bytes())
      sound_seen = true;
    else
      wrong.push_back({each->name, bytes});
  }
  std::erase_if(listing.segments, [&](const SegmentEntry& entry) {
    return std::any_of(wrong.begin(), wrong.end(),
                       [&](const WrongSize& each) { return each.name == entry.name; });
  });
  return wrong;
}

namespace {

/// nullopt if it has the size of a segment, declares no size, or no longer exists.
std::optional<std::uint64_t> wrong_size_of(io::Shelf& directory, const SegmentFileName& name,
                                           wal::SegmentSize segment_size) {
  const auto text = name.to_string();
  if (name.method == codec::Method::none) {
    const auto entry = directory.find(text);
    if (!entry || entry->size == segment_size.bytes()) return std::nullopt;
    return entry->size;
  }
  const auto file = directory.open_bytes(text);
  if (!file) return std::nullopt;
  const auto file_size = file->size();
  const auto claim = codec::size_claim(
      name.method,
      [&](std::uint64_t at, std::span<std::byte> bytes) { return file->read_at(at, bytes); },
      file_size, segment_size.bytes());
  if (file_size > 0 && claim != codec::SizeClaim::differs) return std::nullopt;
  const auto bytes = unpacked_size(*file, name.method, directory.path() + "/" + text, segment_size);
  if (bytes == segment_size.bytes()) return std::nullopt;
  return bytes;
}

/// Counting ends one byte past the segment size. A damaged file counts with the size of its valid
/// first part.
std::uint64_t unpacked_size(io::Bytes& file, codec::Method method, const std::string& path,
                            wal::SegmentSize segment_size) {
  std::uint64_t bytes = 0;
  try {
    read_content(file, method, path, [&](auto raw) {
      bytes += raw.size();
      return bytes <= segment_size.bytes();
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    if (bytes == segment_size.bytes()) return 0;  // complete, but followed by garbage
  }
  return bytes;
}

/// What there is of it can be read, and is less than a segment.
bool ends_early(io::Shelf& directory, const SegmentFileName& name, wal::SegmentSize segment_size) {
  const auto file = directory.open_bytes(name.to_string());
  if (!file) return false;
  if (name.method == codec::Method::none) return file->size() < segment_size.bytes();
  std::uint64_t bytes = 0;
  try {
    ContentReader(*file, name.method, {.may_break_off = true}).read([&](auto raw) {
      bytes += raw.size();
      return bytes < segment_size.bytes();
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    return false;
  }
  return bytes < segment_size.bytes();
}

}  // namespace

}  // namespace weir::archive
