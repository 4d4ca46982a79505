#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "status/report.h"

namespace weir::status {

/// The member as text: a string as it is, anything else as JSON; "" for what is not
/// there, or null.
[[nodiscard]] std::string text_of(const nlohmann::json& json, const char* key);
/// The same, but "-" for what is not there, or null.
[[nodiscard]] std::string word_of(const nlohmann::json& json, const char* key);

/// What the receiver says of itself; null if it says nothing, or that is no JSON object.
[[nodiscard]] nlohmann::json receiver_json(const StatusReport& report);

}  // namespace weir::status
