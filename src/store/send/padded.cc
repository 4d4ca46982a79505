// A published current segment is marked as such (`store publish-partial`, `store/send/padded.h`):
// its object's metadata records where its zeros start. Any later uploader therefore recognizes it,
// compares up to there, and lets the real segment replace it: by one PUT over it, which is atomic,
// if the forms are the same, and only as long as it is the object that was compared. In a bucket
// with versioning, the padded versions are removed first, since readers use the oldest. It is never
// locked. The records, alongside the archive and in the store, are for people, and durable before
// the object exists. The conditions against it (the receiver's state, each host of the connection
// string by name, PQping for hosts that reject the connection) are checked again each time. The
// published WAL is read by `restore`'s own code for `.partial`, and verified once more from the
// previous segment on.

#include "store/send/padded.h"

#include <span>
#include <vector>

#include "archive/published_open.h"
#include "base/error.h"
#include "store/write_once.h"

namespace weir::store {

namespace {

bool is_versioned(ObjectStore& store) {
  const auto* const versions = store.versions();
  return versions != nullptr && versions->are_kept();
}

void remove_all(ObjectStore& store, const std::string& key) {
  const auto versions = is_versioned(store) ? versions_of(store, key) : std::vector<std::string>();
  const auto kept =
      versions.empty() ? store.remove(std::span(&key, 1)) : store.versions()->remove(key, versions);
  if (kept.empty()) return;
  throw Error(ErrorKind::refused, "the store does not allow replacing a padded segment")
      .with("object", store.name_of(key))
      .with("why", kept.front().why)
      .hint(
          "Readers would use the padded segment. Remove the object (all of its versions) with "
          "credentials that permit it; then the complete segment is sent.");
}

}  // namespace

std::optional<wal::Lsn> padded_from(const ObjectHead& head) {
  const auto found = head.metadata.find(kPaddedMetadata);
  return found == head.metadata.end() ? std::nullopt : wal::Lsn::parse(found->second);
}

ObjectStore::Put replace_padded(ObjectStore& store, const std::string& key, const Content& content,
                                const std::string& etag) {
  if (!is_versioned(store) && put_over(store, key, content, etag) == ObjectStore::Put::stored)
    return ObjectStore::Put::stored;
  // (Ceph rejects each "If-Match" in a versioned bucket, of which this object may show nothing.)
  const auto there = store.head(key);
  if (!there || there->etag != etag) return ObjectStore::Put::taken;
  if (is_versioned(store)) remove_all(store, key);
  store.put(key, content);
  return ObjectStore::Put::stored;
}

void remove_padded(ObjectStore& store, const std::string& key) { remove_all(store, key); }

void remove_padded_record(ObjectStore& store, const Layout& layout, wal::SegmentName segment) {
  const auto key = layout.key_of(archive::published_open_name(segment));
  // A leftover record does no harm: only the object itself counts.
  if (key) static_cast<void>(store.remove(std::span(&*key, 1)));
}

}  // namespace weir::store
