#include "store/shelf/store_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

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

/// In the order of their precedence, as in a directory.
std::vector<StoredForm> ordered_forms_of(ObjectStore& store, const Layout& layout,
                                         wal::SegmentName segment) {
  auto forms = forms_of(store, layout, segment);
  std::stable_sort(forms.begin(), forms.end(), [](const auto& a, const auto& b) {
    return archive::counts_before(a.file, b.file);
  });
  return forms;
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

/// Writes the segment's content to `draft` while verifying it. Nothing but zeros from `published`
/// on, if it is set, is valid if `judge` permits.
void write_checked(OneFileShelf& shelf, const archive::SegmentFileName& file,
                   const std::optional<ClusterRecord>& cluster, std::optional<wal::Lsn> published,
                   const std::function<void(wal::SegmentSize)>& judge, archive::Draft& draft) {
  const auto header = archive::read_first_page_header(shelf, file);
  const auto size = header ? wal::SegmentSize::of(header->segment_size) : std::nullopt;
  if (!size || !file.segment.fits(*size))
    throw Error(ErrorKind::damage, "a segment in the store does not start with a valid page header")
        .with("object", shelf.path_of(file.to_string()));
  const auto wanted = cluster ? cluster->system_identifier : header->system_identifier;
  wal::RecordVerifier verifier(
      {.segment_size = *size, .timeline = file.segment.timeline(), .system_identifier = wanted},
      file.segment.start(*size));
  bool padding = false;
  archive::read_segment(shelf, file, *size, [&](std::span<const std::byte> wal) {
    if (const auto damage = padding ? std::nullopt : verifier.feed(wal)) {
      // Any other segment that ends in zeros is damaged.
      if (!published || damage->at < *published ||
          !archive::has_zeros_behind(shelf, file, *size, *published))
        throw Error(ErrorKind::damage, "a segment in the store is damaged: " + damage->what)
            .with("object", shelf.path_of(file.to_string()))
            .with("at", damage->at);
      judge(*size);
      padding = true;
    }
    draft.write(wal);
    return true;
  });
}

/// Fetches a segment in one of its forms.
class SegmentFetch {
 public:
  SegmentFetch(ObjectStore& store, const Layout& layout, wal::SegmentName segment,
               archive::Home& home, const std::string& target,
               std::span<const AgeIdentity> identities, const JudgePadded& judge)
      : store_(store),
        layout_(layout),
        segment_(segment),
        home_(home),
        target_(target),
        identities_(identities),
        judge_(judge) {}

  std::optional<Fetched> run() {
    const auto forms = ordered_forms_of(store_, layout_, segment_);
    if (forms.empty()) return std::nullopt;
    cluster_ = read_cluster(store_, layout_);
    for (const auto& form : forms)
      if (take(form, std::nullopt)) return Fetched{.damage = damage_};
    if (!damage_) return std::nullopt;  // they were removed meanwhile
    if (const auto end = published_end(store_, layout_, segment_))
      for (const auto& form : forms)
        if (take(form, end)) return Fetched{.padded_from = judged_ ? end : std::nullopt};
    throw *damage_;
  }

 private:
  /// Returns false if it is damaged, or gone.
  bool take(const StoredForm& form, std::optional<wal::Lsn> published) {
    auto content = read_whole(store_, form.key, kLargestFile, kOnce);
    if (!content) return false;
    const auto path = store_.name_of(form.key);
    judged_ = false;
    try {
      if (form.key.ends_with(kAgeSuffix)) {
        AgeOpened opened(std::make_unique<MemoryBytes>(std::span<const std::byte>(*content)),
                         identities_, path);
        std::vector<std::byte> read(static_cast<std::size_t>(opened.size()));
        read.resize(opened.read_at(0, read));
        content = std::move(read);
      }
      OneFileShelf shelf(path.substr(0, path.rfind('/')), form.file.to_string(),
                         std::move(*content));
      const auto judge = [&](wal::SegmentSize size) {
        judged_ = true;
        if (judge_) judge_(segment_, size, *published);
      };
      home_.publish({.name = target_}, [&](archive::Draft& draft) {
        write_checked(shelf, form.file, cluster_, published, judge, draft);
        return true;
      });
      return true;
    } catch (const Error& error) {
      if (judged_ || error.kind() != ErrorKind::damage) throw;
      if (!damage_) damage_ = error;
      return false;
    }
  }

  ObjectStore& store_;
  const Layout& layout_;
  const wal::SegmentName segment_;
  archive::Home& home_;
  const std::string& target_;
  const std::span<const AgeIdentity> identities_;
  const JudgePadded& judge_;
  std::optional<ClusterRecord> cluster_;
  std::optional<Error> damage_;  ///< of the first damaged form
  bool judged_ = false;          ///< the form is padded
};

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
                                  std::span<const AgeIdentity> identities,
                                  const JudgePadded& judge) {
  const auto sealed = name.ends_with(kAgeSuffix);
  const auto file = archive::SegmentFileName::parse(
      sealed ? name.substr(0, name.size() - kAgeSuffix.size()) : name);
  const auto timeline = wal::parse_history_name(name);
  if (!file && !timeline)
    throw Error(ErrorKind::usage, "not the name of a segment or timeline history")
        .with("name", name);
  if (file && !sealed && !file->partial && file->method == codec::Method::none)
    return SegmentFetch(store, layout, file->segment, home, target, identities, judge).run();
  auto key = timeline ? layout.history_key(*timeline) : layout.key(*file);
  if (sealed) key += kAgeSuffix;
  const auto content = read_whole(store, key, kLargestFile, kOnce);
  if (!content) return std::nullopt;
  home.publish({.name = target}, [&](archive::Draft& draft) {
    draft.write(*content);
    return true;
  });
  return Fetched{};
}

}  // namespace weir::store
