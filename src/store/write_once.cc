#include "store/write_once.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "store/digests.h"
#include "store/memory_bytes.h"
#include "store/sealed/sealing.h"

namespace weir::store {

namespace {

ObjectStore::Put put_text(ObjectStore& store, const std::string& key, std::string_view text) {
  MemoryBytes bytes(std::as_bytes(std::span(text)));
  return store.put_if_absent(key, content_of(bytes));
}

/// Compares the bytes; encrypted objects differ each time, but their metadata identify the content.
bool is_same_content(const ObjectHead& there, const Content& content) {
  if (there.size == content.bytes->size() && there.md5 == content.md5) return true;
  const auto hmac = told_of(content.metadata, kHmacMetadata);
  return !hmac.empty() && told_of(there.metadata, kHmacMetadata) == hmac;
}

}  // namespace

Conditions probe_conditions(ObjectStore& store, const std::string& random_key,
                            const std::string& kept_key) {
  const auto probe = [&](const std::string& key) {
    try {
      static_cast<void>(put_text(store, key, kProbeText));
      return put_text(store, key, "pgweir: it was overwritten\n") == ObjectStore::Put::taken
                 ? Conditions::heeded
                 : Conditions::ignored;
    } catch (const StoreError& error) {
      if (error.trouble() == Trouble::unable) return Conditions::refused;
      throw;
    }
  };
  // An earlier run could not remove its object: one such object is enough. (Uses a listing: a
  // rejected one says why, unlike HEAD.)
  const auto kept = store.list(kept_key, "", 1).objects;
  if (!kept.empty() && kept.front().key == kept_key) return probe(kept_key);
  const auto conditions = probe(random_key);
  if (conditions != Conditions::refused && !store.remove(std::array{random_key}).empty())
    static_cast<void>(put_text(store, kept_key, kProbeText));
  return conditions;
}

ObjectStore::Put put_over(ObjectStore& store, const std::string& key, const Content& content,
                          const std::string& etag) {
  try {
    return store.put_if_match(key, content, etag);
  } catch (const StoreError& error) {
    if (error.trouble() != Trouble::unable) throw;
  }
  const auto there = store.head(key);
  if (!there || there->etag != etag) return ObjectStore::Put::taken;
  store.put(key, content);
  return ObjectStore::Put::stored;
}

ObjectStore::Put put_once(ObjectStore& store, Conditions conditions, const std::string& key,
                          const Content& content) {
  if (conditions == Conditions::heeded) return store.put_if_absent(key, content);
  if (store.head(key)) return ObjectStore::Put::taken;
  store.put(key, content);
  auto* const kept = store.versions();
  std::vector<Versions::Version> all;
  if (kept != nullptr) all = if_permitted([&] { return kept->of(key); }).value_or(all);
  std::vector<std::string> versions;
  for (const auto& each : all)
    if (!each.removal) versions.push_back(each.id);
  if (versions.size() < 2) return ObjectStore::Put::stored;
  // The version below is a delete marker: there was one writer. But readers use the oldest version.
  if (all[1].removal) {
    const auto oldest =
        if_permitted([&] { return kept->head(key, versions.back()); }).value_or(std::nullopt);
    if (!oldest || is_same_content(*oldest, content)) return ObjectStore::Put::stored;
    throw Error(ErrorKind::conflict, "an object was removed, and its previous version differs")
        .with("object", store.name_of(key))
        .with("versions", fmt::format("{}", fmt::join(versions, ", ")))
        .hint(
            "The bucket keeps versions, and readers use the oldest. Compare them, and "
            "permanently remove the wrong one by its version ID.");
  }
  throw Error(ErrorKind::conflict, "two writers have stored an object under the same key")
      .with("object", store.name_of(key))
      .with("versions", fmt::format("{}", fmt::join(versions, ", ")))
      .hint(
          "The store does not support \"If-None-Match\" in this bucket, and keeps both. Compare "
          "the versions, and remove the wrong one. Each archiver needs its own --store-name.");
}

}  // namespace weir::store
