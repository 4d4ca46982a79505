#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/home.h"
#include "base/error.h"
#include "store/layout.h"
#include "store/object_store.h"
#include "store/sealed/age_keys.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::store {

/// A segment file or history file in a store, under its name in an archive.
struct StoredFile {
  std::string name;
  ObjectEntry object{};
};
/// Passes all files from the name `from` on to `take`, in key order, page by page. Stops if `take`
/// returns false. Throws StoreError.
void for_each_file(ObjectStore& store, const Layout& layout,
                   const std::function<bool(const StoredFile&)>& take);

struct Fetched {
  /// Start of the zeros of a partial segment that was published (padded.h), if it is one.
  std::optional<wal::Lsn> padded_from = std::nullopt;
  /// The preferred form has it, or is padded: another one was fetched.
  std::optional<Error> damage = std::nullopt;
};
/// Called before a segment that is padded from there on appears: throws if that cannot be used.
using JudgePadded =
    std::function<void(wal::SegmentName segment, wal::SegmentSize size, wal::Lsn padded_from)>;
/// Fetches a file to `target` in `home`, which must not exist. For a segment's plain name
/// ("000000010000000000000003"), the first sound form in the store is used, decompressed, and every
/// record of it verified; without one, that of a partial segment that was published, as far as its
/// record in the store says, if `judge` permits. Other names are fetched as stored. Encrypted files
/// are decrypted for a plain name, by one of the identities: Error{refused} without the right one.
/// The target appears only when it is complete. Returns nullopt if the store has no such file.
/// Throws StoreError, Error{damage, conflict, io, durability}.
[[nodiscard]] std::optional<Fetched> fetch_file(ObjectStore& store, const Layout& layout,
                                                std::string_view name, archive::Home& home,
                                                const std::string& target,
                                                std::span<const AgeIdentity> identities = {},
                                                const JudgePadded& judge = nullptr);

}  // namespace weir::store
