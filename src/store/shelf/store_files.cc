#include "store/shelf/store_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "archive/forms.h"
#include "archive/published_open.h"
#include "archive/record_file.h"
#include "archive/segment_reader.h"
#include "store/cluster_record.h"
#include "store/listing.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/shelf/object_bytes.h"
#include "store/shelf/one_file_shelf.h"
#include "wal/record_verifier.h"

namespace weir::store {

namespace {

/// Chooses which of the stored forms to read.
std::optional<StoredForm> find_form(ObjectStore& store, const Layout& layout,
                                    wal::SegmentName segment) {
  const auto forms = forms_of(store, layout, segment);
  const auto best = std::min_element(forms.begin(), forms.end(), [](const auto& a, const auto& b) {
    return archive::counts_before(a.file, b.file);
  });
  return best == forms.end() ? std::nullopt : std::optional(*best);
}

/// Where the valid part of the segment ends, if it was uploaded before it was complete ("pgweir
/// store publish-partial"), according to its record.
std::optional<wal::Lsn> published_end(ObjectStore& store, const Layout& layout,
                                      wal::SegmentName segment) {
  const auto key = layout.key_of(archive::published_open_name(segment));
  const auto text = key ? get_text(store, *key, archive::kLargestRecordFile) : std::nullopt;
  const auto record = text ? archive::parse_published_open(segment, *text) : std::nullopt;
  return record ? std::optional(record->end) : std::nullopt;
}

/// Writes the segment's content to `draft` while verifying it. Returns the start of the zeros of a
/// published partial segment, whose end `ask_published` returns.
std::optional<wal::Lsn> write_checked(OneFileShelf& shelf, const archive::SegmentFileName& file,
                                      const std::optional<ClusterRecord>& cluster,
                                      const std::function<std::optional<wal::Lsn>()>& ask_published,
                                      archive::Draft& draft) {
  const auto header = archive::read_first_page_header(shelf, file);
  const auto size = header ? wal::SegmentSize::of(header->segment_size) : std::nullopt;
  if (!size || !file.segment.fits(*size))
    throw Error(ErrorKind::damage, "a segment in the store does not start with a valid page header")
        .with("object", shelf.path_of(file.to_string()));
  const auto wanted = cluster ? cluster->system_identifier : header->system_identifier;
  wal::RecordVerifier verifier(
      {.segment_size = *size, .timeline = file.segment.timeline(), .system_identifier = wanted},
      file.segment.start(*size));
  std::optional<wal::Lsn> padded_from;
  archive::read_segment(shelf, file, *size, [&](std::span<const std::byte> wal) {
    if (const auto damage = padded_from ? std::nullopt : verifier.feed(wal)) {
      padded_from = ask_published();
      // Any other segment that ends in zeros is damaged.
      if (!padded_from || damage->at < *padded_from ||
          !archive::has_zeros_behind(shelf, file, *size, *padded_from))
        throw Error(ErrorKind::damage, "a segment in the store is damaged: " + damage->what)
            .with("object", shelf.path_of(file.to_string()))
            .with("at", damage->at);
    }
    draft.write(wal);
    return true;
  });
  return padded_from;
}

}  // namespace

void for_each_file(ObjectStore& store, const Layout& layout,
                   const std::function<bool(const StoredFile&)>& take) {
  for_each_listed(
      {},
      [&](const std::string& after) {
        return store.list(layout.wal_prefix(), after, kListingPage);
      },
      [&](const ObjectEntry& object) {
        auto name = layout.file_of(object.key);
        if (!name ||
            (!archive::SegmentFileName::parse(*name) && !archive::parse_history_name(*name)))
          return true;
        return take({std::move(*name), object});
      });
}

std::optional<Fetched> fetch_file(ObjectStore& store, const Layout& layout, std::string_view name,
                                  archive::Home& home, const std::string& target,
                                  std::span<const AgeIdentity> identities) {
  const auto sealed = name.ends_with(kAgeSuffix);
  auto file = archive::SegmentFileName::parse(
      sealed ? name.substr(0, name.size() - kAgeSuffix.size()) : name);
  const auto timeline = wal::parse_history_name(name);
  if (!file && !timeline)
    throw Error(ErrorKind::usage, "not the name of a segment or timeline history")
        .with("name", name);
  const bool plain = file && !sealed && !file->partial && file->method == codec::Method::none;
  auto key = timeline ? layout.history_key(*timeline) : layout.key(*file);
  if (sealed) key += kAgeSuffix;
  if (plain) {
    auto form = find_form(store, layout, file->segment);
    if (!form) return std::nullopt;
    file = form->file;
    key = std::move(form->key);
  }
  auto content = read_whole(store, key, kLargestFile, kOnce);
  if (!content) return std::nullopt;
  const auto path = store.name_of(key);
  if (plain && key.ends_with(kAgeSuffix)) {
    AgeOpened opened(std::make_unique<MemoryBytes>(std::span<const std::byte>(*content)),
                     identities, path);
    std::vector<std::byte> read(static_cast<std::size_t>(opened.size()));
    read.resize(opened.read_at(0, read));
    content = std::move(read);
  }
  const auto cluster = plain ? read_cluster(store, layout) : std::nullopt;
  const auto stored = file ? file->to_string() : std::string(name);
  OneFileShelf shelf(path.substr(0, path.rfind('/')), stored,
                     plain ? std::move(*content) : std::vector<std::byte>());
  Fetched fetched;
  const auto ask_published = [&] { return published_end(store, layout, file->segment); };
  home.publish({.name = target}, [&](archive::Draft& draft) {
    if (plain)
      fetched.padded_from = write_checked(shelf, *file, cluster, ask_published, draft);
    else
      draft.write(*content);
    return true;
  });
  return fetched;
}

}  // namespace weir::store
