#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "io/directory.h"
#include "store/signify.h"

namespace weir::store {

/// Beside the archive, never sent: by this key encrypted objects are compared with the archive's
/// files. Whoever has it and the objects can tell whether they hold a content that he knows, and no
/// more.
inline constexpr std::string_view kCompareKeyName = ".pgweir-store-key";

/// Makes it, durably, if there is none. Throws Error{damage} for one that cannot be read, Error{io,
/// disk_full, durability}.
[[nodiscard]] std::vector<std::byte> compare_key(io::Directory& archive);
/// The one that is there; nullopt: none is. Throws likewise.
[[nodiscard]] std::optional<std::vector<std::byte>> former_compare_key(io::Directory& archive);
/// Made of the key that signs manifests (HKDF): all archivers that have that one have this one.
[[nodiscard]] std::vector<std::byte> compare_key_of(const SignifyKey& key);

}  // namespace weir::store
