#include "store/store_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "store/cluster_record.h"
#include "store/one_file_shelf.h"
#include "wal/record_verifier.h"

namespace weir::store {

namespace {

constexpr std::size_t kPage = 1000;
/// Of one file: the largest segment, and what compressing it in vain adds.
constexpr std::uint64_t kLargestFile = (std::uint64_t{1} << 30) + (std::uint64_t{1} << 27);

std::optional<std::vector<std::byte>> get_all(ObjectStore& store, const std::string& key) {
  std::vector<std::byte> content;
  const bool there = store.get(key, std::nullopt, [&](std::span<const std::byte> piece) {
    if (content.size() + piece.size() > kLargestFile)
      throw Error(ErrorKind::damage, "an object in the store is larger than any of its kind")
          .with("object", store.name_of(key));
    content.insert(content.end(), piece.begin(), piece.end());
    return true;
  });
  return there ? std::optional(std::move(content)) : std::nullopt;
}

/// The form to be read, of those that the store has.
std::optional<archive::SegmentFileName> find_form(ObjectStore& store, const Layout& layout,
                                                  wal::SegmentName segment) {
  std::optional<archive::SegmentFileName> best;
  for (const auto& object : store.list(layout.key(segment), "", kPage).objects) {
    const auto name = layout.file_of(object.key);
    const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
    if (file && !file->partial && file->segment == segment &&
        (!best || archive::counts_before(*file, *best)))
      best = file;
  }
  return best;
}

/// The segment's content goes to `draft` while it is checked.
void write_checked(OneFileShelf& shelf, const archive::SegmentFileName& file,
                   const std::optional<ClusterRecord>& cluster, archive::Draft& draft) {
  const auto header = archive::read_first_page_header(shelf, file);
  const auto size = header ? wal::SegmentSize::of(header->segment_size) : std::nullopt;
  if (!size || !file.segment.fits(*size))
    throw Error(ErrorKind::damage, "a segment in the store does not begin as one")
        .with("object", shelf.path_of(file.to_string()));
  const auto wanted = cluster ? cluster->system_identifier : header->system_identifier;
  wal::RecordVerifier verifier(
      {.segment_size = *size, .timeline = file.segment.timeline(), .system_identifier = wanted},
      file.segment.start(*size));
  archive::read_segment(shelf, file, *size, [&](std::span<const std::byte> wal) {
    if (const auto damage = verifier.feed(wal))
      throw Error(ErrorKind::damage, "a segment in the store is damaged: " + damage->what)
          .with("object", shelf.path_of(file.to_string()))
          .with("at", damage->at);
    draft.write(wal);
    return true;
  });
}

}  // namespace

void for_each_file(ObjectStore& store, const Layout& layout,
                   const std::function<bool(const StoredFile&)>& take) {
  std::string after;
  for (bool more = true; more;) {
    const auto page = store.list(layout.wal_prefix(), after, kPage);
    more = page.more && !page.objects.empty();
    for (const auto& object : page.objects) {
      after = object.key;
      auto name = layout.file_of(object.key);
      if (!name) continue;
      if (!archive::SegmentFileName::parse(*name) && !wal::parse_history_name(*name)) continue;
      if (!take({std::move(*name), object})) return;
    }
  }
}

bool fetch_file(ObjectStore& store, const Layout& layout, std::string_view name,
                archive::Home& home, const std::string& target) {
  auto file = archive::SegmentFileName::parse(name);
  const auto timeline = wal::parse_history_name(name);
  if (!file && !timeline)
    throw Error(ErrorKind::usage, "neither a segment's name nor a history's").with("name", name);
  const bool plain = file && !file->partial && file->method == codec::Method::none;
  if (plain) file = find_form(store, layout, file->segment);
  if (plain && !file) return false;
  const auto key = file ? layout.key(*file) : layout.history_key(*timeline);
  auto content = get_all(store, key);
  if (!content) return false;
  const auto cluster = plain ? read_cluster(store, layout) : std::nullopt;
  const auto stored = file ? file->to_string() : std::string(name);
  const auto path = store.name_of(key);
  OneFileShelf shelf(path.substr(0, path.size() - stored.size() - 1), stored,
                     plain ? std::move(*content) : std::vector<std::byte>());
  home.publish({.name = target}, [&](archive::Draft& draft) {
    if (plain)
      write_checked(shelf, *file, cluster, draft);
    else
      draft.write(*content);
    return true;
  });
  return true;
}

}  // namespace weir::store
