#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "store/age_keys.h"
#include "store/insist.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/signify.h"

namespace weir::store {

struct RewrapOptions {
  std::vector<AgeIdentity> identities{};    ///< that read what is there
  std::vector<AgeRecipient> recipients{};   ///< who is to read it from now on, and nobody else
  std::shared_ptr<const SignifyKey> key{};  ///< of the manifest
  Patience patience{};
  std::function<bool()> stop = nullptr;  ///< asked between objects
};

struct RewrapResult {
  std::size_t rewrapped = 0;
  std::size_t were_so = 0;  ///< for these recipients already
  /// What was left as it is, and why.
  struct Left {
    std::string name;
    std::string why;
  };
  std::vector<Left> left{};
  bool stopped = false;
};

/// Gives the encrypted objects of a place to other recipients: a new header for each, and the
/// payload as it is. Each is read, opened to its end, and held against the manifest before: what is
/// not what an archiver has stored is left. A line with the new digests is written before the
/// object is, so whenever it ends, the manifest tells of what is there. An object is replaced only
/// as it was looked at (If-Match); one that is locked is left. Where the bucket keeps versions, the
/// old one is removed. Throws Error{usage} for a signed manifest without a key, Error{refused}
/// where none of the identities reads an object, StoreError.
[[nodiscard]] RewrapResult rewrap(ObjectStore& store, const Layout& layout,
                                  const RewrapOptions& options, Log& log);

}  // namespace weir::store
