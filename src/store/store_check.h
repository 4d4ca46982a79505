#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/manifest_report.h"
#include "store/object_store.h"

namespace weir::store {

/// The result of one check.
struct StoreFinding {
  enum class Level { good, warning, bad };
  Level level = Level::good;
  std::string text;
  std::string hint{};
};
struct StoreCheck {
  std::vector<StoreFinding> findings{};
  [[nodiscard]] bool all_good() const;
};

/// Checks everything that pgweir needs of a store, with a temporary object: PUT, conditional PUT,
/// GET, LIST, DELETE; and which cluster's WAL is there. A failed step is a finding, and ends the
/// checks. `random`: a part of the object's key. `ours`: the system identifier of the cluster whose
/// WAL is to be there; nullopt: unknown.
void check_store(ObjectStore& store, const Layout& layout, std::uint64_t random, StoreCheck& result,
                 std::optional<std::uint64_t> ours = {});
/// Checks the bucket's configuration: rules that remove or lock its objects, versions, Object Lock.
/// Settings that may not be read are reported, but are not failures.
void check_settings(ObjectStore& store, const Layout& layout, StoreCheck& result);
/// In a bucket that keeps versions, according to the requests before: whether the object after the
/// newest segment, or the history of the next timeline, was removed and still has a version. It is
/// in no listing, so that without a manifest the WAL seems to end there. Lists the whole place.
void check_end(ObjectStore& store, const Layout& layout, StoreCheck& result);
/// Compares an archive with the store: uploaded files must be there, with the size and MD5 of their
/// lines in the manifests, which were read before. Only names and sizes are compared if there is no
/// line. `keys_given`: chains that no key proves are not trusted. Throws Error if the archive
/// cannot be read.
void compare_archive(io::Shelf& archive, ObjectStore& store, const Layout& layout,
                     const std::string& store_name, std::span<const ManifestChain> chains,
                     bool keys_given, StoreCheck& result);

}  // namespace weir::store
