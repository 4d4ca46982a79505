#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace weir {

// Members of a JSON object that may come from another program. A value that is not an object has no
// members.

/// Empty if it is missing, or not a string.
template <typename Json>
[[nodiscard]] std::string text_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->template get<std::string>()
                                                   : std::string();
}

/// nullopt if it is missing, or not a non-negative integer.
template <typename Json>
[[nodiscard]] std::optional<std::uint64_t> number_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->template get<std::uint64_t>();
}

}  // namespace weir
