#include "archive/unfinished_files.h"

#include <algorithm>

#include "archive/forms.h"
#include "archive/segment_bytes.h"
#include "archive/segment_reader.h"
#include "archive/written_bytes.h"
#include "base/buffer.h"
#include "base/error.h"
#include "wal/continued_record.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::archive {

namespace {

constexpr std::size_t kReadOfUnfinished = std::size_t{128} << 10;  ///< bytes at once

/// The last page that was written to may not be full.
bool is_past(io::Shelf& shelf, const SegmentFileName& name, wal::SegmentSize size,
             wal::Lsn position) {
  const auto file = shelf.open_bytes(name.to_string());
  if (!file) return false;
  const auto start = name.segment.start(size);
  return start + written_bytes(*file, start, size) >= position + wal::kPageSize;
}

}  // namespace

std::vector<UnfinishedFile> unfinished_files(io::Shelf& shelf, wal::SegmentName segment,
                                             wal::SegmentSize size,
                                             const wal::TimelineHistory* history) {
  std::vector<UnfinishedFile> files;
  const auto add = [&](const FormNames& names, wal::Lsn limit) {
    for (const auto& name : names)
      if (shelf.find(name.to_string())) files.push_back({name, limit});
  };
  const auto start = segment.start(size);
  add(partial_names(segment), start + size.bytes());
  if (history == nullptr || !history->contains(segment.timeline())) return files;
  const auto& ancestors = history->ancestors();
  for (auto each = ancestors.rbegin(); each != ancestors.rend(); ++each) {
    if (each->timeline >= segment.timeline()) continue;
    const auto left = each->switchpoint;
    if (left <= start || size.segno(left) != segment.segno(size)) break;
    // (The nearest one was left last.)
    if (!files.empty() && files.front().name.segment == segment &&
        files.front().name.method == codec::Method::none &&
        is_past(shelf, files.front().name, size, left))
      break;
    const wal::SegmentName name(each->timeline, segment.segno(size), size);
    add(finished_names(name), left);
    add(partial_names(name), left);
  }
  return files;
}

std::optional<UnfinishedEnd> find_unfinished_end(io::Shelf& shelf, const UnfinishedFile& file,
                                                 wal::SegmentName segment, wal::SegmentSize size,
                                                 const wal::TimelineHistory* history,
                                                 const AskDurableEnd& durable_end) {
  const auto start = segment.start(size);
  auto limit = file.limit;
  if (file.name.partial && file.name.method == codec::Method::none && durable_end)
    limit = std::min(limit, start + settled_bytes(file.name.segment, size, durable_end()));
  wal::RecordVerifier verifier(
      {.segment_size = size,
       .timeline = history != nullptr ? history->timeline() : segment.timeline(),
       .history = history},
      start);
  std::optional<wal::PageHeader> first_page;
  try {
    const auto bytes = SegmentBytes::open(shelf, file.name, size);
    if (!bytes) return std::nullopt;
    Buffer buffer(kReadOfUnfinished);
    while (verifier.position() < limit) {
      const auto at = verifier.position();
      const auto count = bytes->read_at(
          at - start, std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), limit - at)));
      if (at == start) first_page = wal::decode_page_header(std::span(buffer).first(count));
      if (count == 0 || verifier.feed(std::span(buffer).first(count))) break;
    }
  } catch (const Error& error) {
    if (is_gone(error)) return std::nullopt;
    if (error.kind() != ErrorKind::damage) throw;
  }
  return UnfinishedEnd{wal::last_record_end_in_segment(verifier, start, first_page),
                       verifier.position()};
}

const UnfinishedFile& farthest(io::Shelf& shelf, std::span<const UnfinishedFile> files,
                               wal::SegmentName segment, wal::SegmentSize size,
                               const wal::TimelineHistory* history,
                               const AskDurableEnd& durable_end) {
  PGWEIR_CHECK(!files.empty());
  const auto* best = &files.front();
  if (files.size() == 1) return *best;
  std::optional<UnfinishedEnd> reached;
  for (const auto& file : files) {
    const auto end = find_unfinished_end(shelf, file, segment, size, history, durable_end);
    if (!end || (reached && *end <= *reached)) continue;
    reached = end;
    best = &file;
  }
  return *best;
}

}  // namespace weir::archive
