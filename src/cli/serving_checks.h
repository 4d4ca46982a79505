#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options/serve_options.h"
#include "doctor/checks.h"

namespace weir::cli {

/// What serving needs: rules, users, certificate, and the address. Each file is read as a start
/// would read it. The address is taken for a moment, and nobody can connect meanwhile.
/// `archive`: the directory, if there is one, whose slots are looked at.
[[nodiscard]] std::vector<doctor::Check> check_serving(const ServeRequest& request,
                                                       const std::optional<std::string>& archive);

}  // namespace weir::cli
