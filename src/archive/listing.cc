#include "archive/listing.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "archive/forms.h"

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

std::optional<HistoryEntry> parse_history(std::string_view name) {
  if (name.size() < kHistoryNameSize) return std::nullopt;
  const auto timeline = wal::parse_history_name(name.substr(0, kHistoryNameSize));
  const auto method = method_of_suffix(name.substr(kHistoryNameSize));
  if (!timeline || !method) return std::nullopt;
  return HistoryEntry{*timeline, *method};
}

/// "000000010000000000000002.00000028.backup" (BackupHistoryFileName in access/xlog_internal.h)
bool is_backup_history(std::string_view name) {
  constexpr std::string_view kBackup = ".backup";
  if (name.size() != kSegmentDigits + 1 + 8 + kBackup.size() || !name.ends_with(kBackup) ||
      name[kSegmentDigits] != '.' || !wal::SegmentName::parse(name.substr(0, kSegmentDigits)))
    return false;
  const std::string_view offset = name.substr(kSegmentDigits + 1, 8);
  return offset.find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}

void add(Listing& listing, std::string name, io::DirectoryEntry::Type type,
         std::optional<std::uint64_t> bytes) {
  const bool file = type == io::DirectoryEntry::Type::file;
  if (name.starts_with('.'))
    listing.hidden.push_back(std::move(name));
  else if (const auto segment = SegmentFileName::parse(name); file && segment)
    listing.segments.push_back({*segment, bytes});
  else if (const auto history = parse_history(name); file && history)
    listing.histories.push_back(*history);
  else if (file && is_backup_history(name))
    listing.backup_histories.push_back(std::move(name));
  else
    listing.foreign.push_back(std::move(name));
}

void sort(Listing& listing) {
  const auto segment_key = [](const SegmentEntry& entry) {
    return std::tuple(entry.name.segment, entry.name.method, entry.name.partial);
  };
  std::sort(listing.segments.begin(), listing.segments.end(),
            [&](const auto& a, const auto& b) { return segment_key(a) < segment_key(b); });
  std::sort(listing.histories.begin(), listing.histories.end(), [](const auto& a, const auto& b) {
    return std::tie(a.timeline, a.method) < std::tie(b.timeline, b.method);
  });
  std::sort(listing.backup_histories.begin(), listing.backup_histories.end());
  std::sort(listing.hidden.begin(), listing.hidden.end());
  std::sort(listing.foreign.begin(), listing.foreign.end());
}

}  // namespace

Listing list_archive(io::Shelf& directory) {
  Listing listing;
  for (io::DirectoryEntry& entry : directory.list())
    add(listing, std::move(entry.name), entry.type, entry.size);
  sort(listing);
  return listing;
}

Listing list_archive_names(io::Shelf& directory) {
  Listing listing;
  for (io::DirectoryName& entry : directory.names())
    add(listing, std::move(entry.name), entry.type, std::nullopt);
  for (SegmentEntry& entry : listing.segments) {
    if (!entry.name.partial) continue;
    const auto found = directory.find(entry.name.to_string());
    entry.bytes = found ? found->size : 0;  // gone by now
  }
  sort(listing);
  return listing;
}

Listing joined(const Listing& one, const Listing& other) {
  Listing all;
  all.segments = one.segments;
  all.segments.insert(all.segments.end(), other.segments.begin(), other.segments.end());
  all.histories = one.histories;
  all.histories.insert(all.histories.end(), other.histories.begin(), other.histories.end());
  sort(all);
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
