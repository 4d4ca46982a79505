#pragma once

#include <string_view>

namespace weir::archive {

/// Why an incremental backup that has, or builds upon, tar files does not count: no recovery can
/// use it.
inline constexpr std::string_view kTarInChain =
    "it is incremental, and it or a backup that it builds upon has tar files: pg_combinebackup "
    "requires plain backups";

}  // namespace weir::archive
