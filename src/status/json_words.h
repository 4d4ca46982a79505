#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace weir::status {

/// The member as text: a string as it is, anything else as JSON; "" if it is not there.
[[nodiscard]] std::string text_of(const nlohmann::json& json, const char* key);
/// The same; "-" for what is not there, or null.
[[nodiscard]] std::string word_of(const nlohmann::json& json, const char* key);

}  // namespace weir::status
