#pragma once

#include <functional>
#include <optional>
#include <string>

#include "recovery/programs.h"

namespace weir::backup {

/// pg_basebackup and pg_verifybackup of that major version or a newer one: in `bindir`, else where
/// Debian and Red Hat have them, the oldest that fits first. Throws Error{retry} if they are not
/// there, or are older.
[[nodiscard]] recovery::Programs find_tools(int major, const std::optional<std::string>& bindir,
                                            const std::function<bool()>& stop);

}  // namespace weir::backup
