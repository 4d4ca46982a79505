#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/sealed/age_keys.h"

namespace weir::store {

struct RewrapOptions {
  std::vector<AgeIdentity> identities{};    ///< that decrypt the objects
  std::vector<AgeRecipient> recipients{};   ///< all who can decrypt them afterwards
  std::shared_ptr<const SignifyKey> key{};  ///< signs the manifest
  std::vector<SignifyPublic> former{};      ///< keys whose lines count as well
  Patience patience{};
  std::function<bool()> stop = nullptr;  ///< checked between objects
};

struct RewrapResult {
  std::size_t rewrapped = 0;
  std::size_t were_so = 0;  ///< already for these recipients
  /// An object that was left unchanged, and why.
  struct Left {
    std::string name;
    std::string why;
  };
  std::vector<Left> left{};
  bool stopped = false;
};

/// Rewraps the encrypted objects of a place for other recipients: a new header for each, and the
/// unchanged payload. Each object is first decrypted completely and compared with the manifest:
/// objects that differ are left unchanged. The line with the new digests is written before the
/// object, so the manifest is valid at every moment. An object is replaced only if it did not
/// change meanwhile (If-Match); locked ones are skipped. In a versioned bucket, the old version is
/// removed. Throws Error{usage} for a signed manifest without a key, Error{refused} if none of the
/// identities decrypts an object, StoreError.
[[nodiscard]] RewrapResult rewrap(ObjectStore& store, const Layout& layout,
                                  const RewrapOptions& options, Log& log);

}  // namespace weir::store
