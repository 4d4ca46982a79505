#include "archive/listing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <tuple>
#include <utility>

#include "archive/forms.h"
#include "io/entry_reader.h"

namespace weir::archive {

namespace {

using codec::Method;

constexpr std::string_view kPartial = ".partial";
constexpr std::string_view kHistory = ".history";
constexpr std::size_t kSegmentDigits = 24;
constexpr std::size_t kHistoryNameSize = 8 + kHistory.size();

std::optional<Method> method_of_suffix(std::string_view text) {
  for (const Method method : kForms)
    if (text == codec::suffix(method)) return method;
  return std::nullopt;
}

bool by_name(const SegmentEntry& one, const SegmentEntry& other) {
  const auto key = [](const SegmentEntry& entry) {
    return std::tuple(entry.name.segment, entry.name.method, entry.name.partial);
  };
  return key(one) < key(other);
}

bool by_timeline(const HistoryEntry& one, const HistoryEntry& other) {
  return std::tie(one.timeline, one.method) < std::tie(other.timeline, other.method);
}

/// A segment's file as two numbers by which it is sorted: a third of the room and of the time.
struct Row {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::uint64_t bytes = 0;
};

/// The digits of a segment's name as three numbers, in the order by which names are sorted.
using Words = std::array<std::uint32_t, 3>;
static_assert(sizeof(Words) == sizeof(wal::SegmentName));

Row row_of(const SegmentFileName& name, std::uint64_t bytes) {
  const auto [timeline, log, seg] = std::bit_cast<Words>(name.segment);
  return {std::uint64_t{timeline} << 32 | log,
          std::uint64_t{seg} << 32 | static_cast<std::uint64_t>(name.method) << 1 |
              (name.partial ? 1 : 0),
          bytes};
}

SegmentFileName name_of(const Row& row) {
  const auto word = [](std::uint64_t bits) { return static_cast<std::uint32_t>(bits); };
  return {std::bit_cast<wal::SegmentName>(
              Words{word(row.high >> 32), word(row.high), word(row.low >> 32)}),
          static_cast<Method>(word(row.low) >> 1), (row.low & 1) != 0};
}

/// Up to this number of names, sorting by comparison is faster.
constexpr std::size_t kFewRows = 64;

/// Compares the bytes in which they differ, the last one first: names come in the order of a hash
/// table, and a million of them differ in three or four bytes.
void sort(std::vector<Row>& rows) {
  if (rows.size() <= kFewRows) {
    std::sort(rows.begin(), rows.end(), [](const Row& one, const Row& other) {
      return std::tie(one.high, one.low) < std::tie(other.high, other.low);
    });
    return;
  }
  Row differing;
  for (const auto& row : rows) {
    differing.high |= row.high ^ rows.front().high;
    differing.low |= row.low ^ rows.front().low;
  }
  std::vector<Row> sorted(rows.size());
  for (const auto part : {&Row::low, &Row::high})
    for (int shift = 0; shift < 64; shift += 8) {
      if ((differing.*part >> shift & 0xFF) == 0) continue;
      const auto digit = [&](const Row& row) { return row.*part >> shift & 0xFF; };
      std::array<std::size_t, 256> places{};
      for (const auto& row : rows) ++places[digit(row)];
      std::exclusive_scan(places.begin(), places.end(), places.begin(), std::size_t{0});
      for (const auto& row : rows) sorted[places[digit(row)]++] = row;
      rows.swap(sorted);
    }
}

/// Takes names in any order.
class Collector {
 public:
  void add(std::string_view name, io::DirectoryEntry::Type type, std::uint64_t bytes) {
    const bool file = type == io::DirectoryEntry::Type::file;
    if (name.starts_with('.'))
      listing_.hidden.emplace_back(name);
    else if (const auto segment = SegmentFileName::parse(name); file && segment)
      rows_.push_back(row_of(*segment, bytes));
    else if (const auto history = parse_history_name(name); file && history)
      listing_.histories.push_back(*history);
    else if (file && is_backup_history_name(name))
      listing_.backup_histories.emplace_back(name);
    else
      listing_.foreign.emplace_back(name);
  }

  Listing finish(bool sizes) {
    sort(rows_);
    listing_.segments.reserve(rows_.size());
    for (const auto& row : rows_)
      listing_.segments.push_back({name_of(row), sizes ? std::optional(row.bytes) : std::nullopt});
    std::sort(listing_.histories.begin(), listing_.histories.end(), by_timeline);
    std::sort(listing_.backup_histories.begin(), listing_.backup_histories.end());
    std::sort(listing_.hidden.begin(), listing_.hidden.end());
    std::sort(listing_.foreign.begin(), listing_.foreign.end());
    return std::move(listing_);
  }

 private:
  Listing listing_;
  std::vector<Row> rows_;
};

}  // namespace

std::optional<HistoryEntry> parse_history_name(std::string_view name) {
  if (name.size() < kHistoryNameSize) return std::nullopt;
  const auto timeline = wal::parse_history_name(name.substr(0, kHistoryNameSize));
  const auto method = method_of_suffix(name.substr(kHistoryNameSize));
  if (!timeline || !method) return std::nullopt;
  return HistoryEntry{*timeline, *method};
}

/// "000000010000000000000002.00000028.backup" (BackupHistoryFileName in access/xlog_internal.h)
bool is_backup_history_name(std::string_view name) {
  constexpr std::string_view kBackup = ".backup";
  if (name.size() != kSegmentDigits + 1 + 8 + kBackup.size() || !name.ends_with(kBackup) ||
      name[kSegmentDigits] != '.' || !wal::SegmentName::parse(name.substr(0, kSegmentDigits)))
    return false;
  const std::string_view offset = name.substr(kSegmentDigits + 1, 8);
  return offset.find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}

Listing list_archive(io::Shelf& directory) {
  Collector collector;
  io::each_entry(directory, [&](const io::DirectoryEntry& entry) {
    collector.add(entry.name, entry.type, entry.size);
  });
  return collector.finish(true);
}

Listing list_archive_names(io::Shelf& directory) {
  Collector collector;
  io::each_name(directory, [&](std::string_view name, io::DirectoryEntry::Type type) {
    collector.add(name, type, 0);
  });
  auto listing = collector.finish(false);
  measure_partials(directory, listing);
  return listing;
}

void measure_partials(io::Shelf& directory, Listing& listing) {
  for (SegmentEntry& entry : listing.segments) {
    if (!entry.name.partial) continue;
    const auto found = directory.find(entry.name.to_string());
    entry.bytes = found ? found->size : 0;  // removed meanwhile
  }
}

Listing joined(const Listing& one, const Listing& other) {
  Listing all;
  all.segments = one.segments;
  all.segments.insert(all.segments.end(), other.segments.begin(), other.segments.end());
  all.histories = one.histories;
  all.histories.insert(all.histories.end(), other.histories.begin(), other.histories.end());
  std::sort(all.segments.begin(), all.segments.end(), by_name);
  std::sort(all.histories.begin(), all.histories.end(), by_timeline);
  std::size_t kept = 0;
  for (const SegmentEntry& entry : all.segments) {
    if (kept > 0 && all.segments[kept - 1].name == entry.name)
      all.segments[kept - 1].bytes = std::max(all.segments[kept - 1].bytes, entry.bytes);
    else
      all.segments[kept++] = entry;
  }
  all.segments.erase(all.segments.begin() + static_cast<std::ptrdiff_t>(kept), all.segments.end());
  const auto same = [](const HistoryEntry& left, const HistoryEntry& right) {
    return left.timeline == right.timeline && left.method == right.method;
  };
  all.histories.erase(std::unique(all.histories.begin(), all.histories.end(), same),
                      all.histories.end());
  return all;
}

std::optional<SegmentFileName> SegmentFileName::parse(std::string_view text) {
  const auto segment = wal::SegmentName::parse(text.substr(0, kSegmentDigits));
  if (!segment) return std::nullopt;
  text.remove_prefix(kSegmentDigits);
  const bool partial = text.ends_with(kPartial);
  if (partial) text.remove_suffix(kPartial.size());
  const auto method = method_of_suffix(text);
  if (!method) return std::nullopt;
  return SegmentFileName{*segment, *method, partial};
}

std::string SegmentFileName::to_string() const {
  std::string text = segment.to_string();
  text += codec::suffix(method);
  if (partial) text += kPartial;
  return text;
}

}  // namespace weir::archive
