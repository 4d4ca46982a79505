#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "io/directory.h"
#include "store/ledger/signify.h"

namespace weir::store {

/// In the archive directory, never uploaded: with this key, encrypted objects are compared with the
/// archive's files. It lets its holder check whether an object has a known content, and nothing
/// else.
inline constexpr std::string_view kCompareKeyName = ".pgweir-store-key";

/// Returns the key, creating it durably if it does not exist. Throws Error{damage} if it is
/// invalid, Error{io, disk_full, durability}.
[[nodiscard]] std::vector<std::byte> compare_key(io::Directory& archive);
/// Returns the existing key; nullopt if there is none. Throws likewise.
[[nodiscard]] std::optional<std::vector<std::byte>> former_compare_key(io::Directory& archive);
/// Derived from the key that signs manifests (HKDF): all archivers with that key share this one.
[[nodiscard]] std::vector<std::byte> compare_key_of(const SignifyKey& key);

}  // namespace weir::store
