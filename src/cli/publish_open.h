#pragma once

#include "cli/arguments.h"
#include "cli/options/common_options.h"
#include "store/open_store.h"

namespace weir::cli {

inline constexpr auto kPrimaryIsGone = for_the_command_line(
    flag("primary-is-gone", "skip the check for running servers: they are permanently down"));

/// pgweir store publish-partial
int publish_open(const Arguments& arguments, const store::StoreOptions& options);

}  // namespace weir::cli
