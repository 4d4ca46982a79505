#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/option.h"
#include "cli/options/common_options.h"
#include "cli/values.h"
#include "store/ledger/signify.h"

namespace weir::cli {

// The signers of a store's manifests, and how signatures are verified.

inline constexpr auto kManifestKey = option_of<any_text>(
    "manifest-key", "FILE", "sign the manifest with this key (see store keygen)");
inline constexpr auto kManifestPublicKey = repeated(option_of<any_text>(
    "manifest-public-key", "FILE",
    "public key of the manifest: use only manifest lines that it proves; can be repeated"));
[[nodiscard]] std::string manifest_head_value(const std::string& text);
inline constexpr auto kExpectHead = repeated(option_of<manifest_head_value>(
    "expect-head", "HASH",
    "hash that a manifest must contain, as reported by status or a log; can be repeated"));

/// Returns nullptr if no key is named. Throws Error{usage} for a file that others can read, or that
/// is not a key.
[[nodiscard]] std::shared_ptr<const store::SignifyKey> manifest_key_of(const Arguments& arguments);
[[nodiscard]] std::vector<store::SignifyPublic> manifest_public_keys_of(const Arguments& arguments);
/// What a recovery with such keys lacks.
inline constexpr const char* kOnlyProved =
    "with --manifest-public-key, partial segments in the store are not used: manifests do not list "
    "them";

/// store keygen: a new key in FILE (0600), and its public half in FILE.pub. Overwrites nothing.
void make_manifest_key(const std::string& file);

}  // namespace weir::cli
