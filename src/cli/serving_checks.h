#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options/serve_options.h"
#include "doctor/checks.h"

namespace weir::cli {

/// Checks what serving needs: rules, users, certificate, and the address. Each file is read as a
/// start would read it. The address is taken briefly, and no client can connect meanwhile.
/// `archive`: the directory, if there is one, whose slots are checked.
[[nodiscard]] std::vector<doctor::Check> check_serving(const ServeRequest& request,
                                                       const std::optional<std::string>& archive);

}  // namespace weir::cli
