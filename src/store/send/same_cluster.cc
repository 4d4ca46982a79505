#include "store/send/same_cluster.h"

#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "base/error.h"
#include "base/units.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_reader.h"

namespace weir::store {

namespace {

constexpr const char* kHint =
    "Nothing was sent. Each cluster needs its own prefix: use another prefix in --store, or "
    "another --store-name.";
constexpr const char* kReplacedHint =
    "This was the archive's prefix until another program replaced that object. Nothing more is "
    "sent or removed. Find out which receiver or \"store push\" uses the same --store and "
    "--store-name, and specify another prefix there.";

Error another_cluster(ObjectStore& store, const std::string& key, const ClusterRecord& ours,
                      const std::optional<archive::Identity>& there, const char* hint) {
  return Error(ErrorKind::conflict, "the store holds the WAL of another cluster at this prefix")
      .with("object", store.name_of(key))
      .with("system identifier there", there ? there->system_identifier : 0)
      .with("here", ours.system_identifier)
      .with("segment size there", there ? format_size(there->segment_size.bytes()) : "unknown")
      .with("here", format_size(ours.segment_size.bytes()))
      .hint(hint);
}

void require_same(ObjectStore& store, const Layout& layout,
                  const std::optional<ClusterRecord>& found, const ClusterRecord& ours,
                  const char* hint) {
  if (found && found->system_identifier == ours.system_identifier &&
      found->segment_size == ours.segment_size)
    return;
  const auto key = key_of_cluster(layout);
  throw another_cluster(
      store, key, ours,
      found ? std::optional(archive::Identity{found->system_identifier, found->segment_size, key})
            : std::nullopt,
      hint);
}

}  // namespace

SameCluster::SameCluster(ObjectStore& store, const Layout& layout, const ClusterRecord& ours)
    : store_(store), layout_(layout), ours_(ours) {}

/// Barman or WAL-G may have filled the place before pgweir: then the newest readable segment
/// identifies the cluster, as in a directory.
void SameCluster::look_at_wal() {
  const auto listing = archive::list_archive_names(*shelf_);
  if (listing.segments.empty()) return;
  const auto conflicts = [&](const std::string& file, Error error) {
    const auto keys = shelf_->keys_of(file);
    if (const auto head = keys.empty() ? std::nullopt : store_.head(keys.front()))
      conflict_ = Conflict{keys.front(), head->etag, error};
    throw error;
  };
  std::optional<archive::Identity> there;
  try {
    there = archive::read_identity(*shelf_, listing);
  } catch (const StoreError&) {
    throw;
  } catch (const Error& error) {
    // No file has a valid page header: uploads are compared with existing objects, as usual.
    if (error.kind() == ErrorKind::damage) return;
    if (error.kind() != ErrorKind::refused) throw;
    conflicts(listing.segments.back().name.to_string(),
              Error(ErrorKind::conflict,
                    "the cluster of the WAL at this prefix of the store cannot be determined")
                  .with("object", store_.name_of(key_of_cluster(layout_)))
                  .with("reason", error.message())
                  .hint("Nothing was sent. There is WAL at this prefix, but the object that names "
                        "its cluster is missing. Restore that object, or use another "
                        "--store-name."));
  }
  if (there && there->system_identifier == ours_.system_identifier &&
      there->segment_size == ours_.segment_size)
    return;
  const auto file = there ? there->file : listing.segments.back().name.to_string();
  conflicts(file, another_cluster(store_, layout_.wal_prefix() + file, ours_, there, kHint));
}

/// What another cluster's archiver has left when its WAL and its record were removed. Readers would
/// miss the WAL that its manifest lists, at the end of ours, and stop at its holes.
void SameCluster::look_at_records() {
  const auto require_ours = [&](std::uint64_t system_identifier, const std::string& prefix) {
    if (system_identifier == 0 || system_identifier == ours_.system_identifier) return;
    throw Error(ErrorKind::conflict,
                "the store holds records of another cluster's WAL at this prefix")
        .with("objects", store_.name_of(prefix))
        .with("system identifier there", system_identifier)
        .with("here", ours_.system_identifier)
        .hint(
            "Nothing was sent. The WAL of the other cluster was removed, and the rest was not. Use "
            "another --store-name, or remove the objects below manifest/, open/ and weir/ as "
            "well.");
  };
  for (const auto& line : read_last_lines(store_, layout_, {}, kOnce))
    require_ours(line.system_identifier, manifest_prefix(layout_));
  std::vector<archive::Loss> losses;
  static_cast<void>(archive::read_losses(*shelf_, archive::list_archive_names(*shelf_), &losses));
  for (const auto& loss : losses) require_ours(loss.system_identifier, layout_.records_prefix());
}

void SameCluster::require_that_wal_is_ours() {
  // As long as this object is there, a listing, maybe of a thousand pages, would show the same.
  const auto head = conflict_ ? store_.head(conflict_->key) : std::nullopt;
  if (head && head->etag == conflict_->etag) throw Error(conflict_->error);
  conflict_.reset();
  if (!shelf_)
    shelf_.emplace([this]() -> ObjectStore& { return store_; },
                   store_.name_of(layout_.wal_prefix()), layout_, kOnce, 1);
  try {
    look_at_wal();
    if (!records_are_ours_) look_at_records();
    records_are_ours_ = true;
  } catch (const StoreError&) {
    throw;
  } catch (const Error&) {
    shelf_.reset();  // what it has seen: an operator may correct it
    throw;
  }
}

void SameCluster::require(Conditions conditions, const std::function<void()>& absent) {
  auto found = read_cluster(store_, layout_);
  if (!found) {
    require_that_wal_is_ours();
    if (absent) absent();
    if (write_cluster(store_, layout_, conditions, ours_) == ObjectStore::Put::stored) return;
    found = read_cluster(store_, layout_);  // another writer was faster
  }
  require_same(store_, layout_, found, ours_, kHint);
}

bool has_record(ObjectStore& store, const Layout& layout, const ClusterRecord& ours) {
  const auto found = read_cluster(store, layout);
  if (found) require_same(store, layout, found, ours, kReplacedHint);
  return found.has_value();
}

}  // namespace weir::store
