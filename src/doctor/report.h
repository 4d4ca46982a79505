#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "doctor/checks.h"

namespace weir::doctor {

[[nodiscard]] std::string_view to_string(Level level);
/// `conclusion`: a last line of its own.
[[nodiscard]] std::string to_text(const std::vector<Check>& checks,
                                  std::string_view conclusion = {});
/// docs/doctor.md describes the schema. `known`: false if nothing could be checked.
[[nodiscard]] std::string to_json(const std::vector<Check>& checks, bool known = true,
                                  std::string_view conclusion = {});
/// No failure among them.
[[nodiscard]] bool healthy(const std::vector<Check>& checks);

}  // namespace weir::doctor
