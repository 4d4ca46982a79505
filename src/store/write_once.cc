#include "store/write_once.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <span>
#include <string_view>

#include "store/digests.h"
#include "store/memory_bytes.h"

namespace weir::store {

namespace {

ObjectStore::Put put_text(ObjectStore& store, const std::string& key, std::string_view text) {
  MemoryBytes bytes(std::as_bytes(std::span(text)));
  return store.put_if_absent(key, content_of(bytes));
}

}  // namespace

Conditions probe_conditions(ObjectStore& store, const std::string& key) {
  const auto probe = [&] {
    try {
      static_cast<void>(put_text(store, key, "pgweir asks whether a condition is heeded\n"));
      return put_text(store, key, "pgweir: it is not\n") == ObjectStore::Put::taken
                 ? Conditions::heeded
                 : Conditions::ignored;
    } catch (const StoreError& error) {
      if (error.trouble() == Trouble::unable) return Conditions::refused;
      throw;
    }
  };
  const auto conditions = probe();
  if (conditions != Conditions::refused)
    static_cast<void>(store.remove(std::array{key}));  // kept by a lock, it is in nobody's way
  return conditions;
}

ObjectStore::Put put_once(ObjectStore& store, Conditions conditions, const std::string& key,
                          const Content& content) {
  if (conditions == Conditions::heeded) return store.put_if_absent(key, content);
  if (store.head(key)) return ObjectStore::Put::taken;
  store.put(key, content);
  const auto versions = store.versions(key);
  if (versions.size() > 1)
    throw Error(ErrorKind::conflict, "two writers have stored an object under one key")
        .with("object", store.name_of(key))
        .with("versions", fmt::format("{}", fmt::join(versions, ", ")))
        .hint(
            "The store does not heed \"If-None-Match\" in this bucket, and keeps both. Compare the "
            "versions, and remove what is wrong; two archivers need names of their own "
            "(--store-name).");
  return ObjectStore::Put::stored;
}

}  // namespace weir::store
