#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "doctor/checks.h"

namespace weir::doctor {

[[nodiscard]] std::string_view to_string(Level level);
[[nodiscard]] std::string to_text(const std::vector<Check>& checks);
/// docs/doctor.md tells the schema.
[[nodiscard]] std::string to_json(const std::vector<Check>& checks);
/// No failure among them.
[[nodiscard]] bool healthy(const std::vector<Check>& checks);

}  // namespace weir::doctor
