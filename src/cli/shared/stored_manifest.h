#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "cli/shared/stored_archive.h"
#include "io/shelf.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_report.h"

namespace weir::cli {

/// Options for checking a store's manifests.
struct ManifestRequest {
  std::vector<store::SignifyPublic> keys{};
  std::vector<std::string> expected_heads{};
  io::Shelf* beside = nullptr;            ///< the archive's directory: it remembers a head
  bool deep = false;                      ///< look_deeply() follows
  std::vector<archive::Loss> accepted{};  ///< holes that are known (ManifestQuestion)
};

/// The manifests of a store, compared with its objects.
struct ManifestLook {
  store::ManifestReport report{};
  std::vector<store::ManifestChain> chains{};
  store::StoredObjects objects{};
};
/// nullopt: there is none, and none is expected. Throws StoreError.
[[nodiscard]] std::optional<ManifestLook> look_at_manifests(StoredArchive& stored,
                                                            const ManifestRequest& request);

/// Every object by its SHA-256, too: what was read is not read again. Throws StoreError;
/// Error{retry} if it was stopped.
void look_deeply(StoredArchive& stored, const ManifestRequest& request, ManifestLook& look,
                 const store::ReadDigests& read, std::size_t jobs,
                 const std::function<bool()>& stop);

}  // namespace weir::cli
