#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "io/shelf.h"

// The records of an archive: small files of pgweir's own, each with a JSON object that says what it
// is ("what") and in which format ("version"). They are found by docs/archive-directory.md.

namespace weir::archive {

/// More than any record has; a larger file comes from another program.
inline constexpr std::uint64_t kLargestRecordFile = 64 * 1024;

/// Its text, of a larger file the beginning; nullopt if there is no such file. Throws Error{io}.
[[nodiscard]] inline std::optional<std::string> read_record_file(
    io::Shelf& shelf, const std::string& name, std::uint64_t most = kLargestRecordFile) {
  const auto file = shelf.open_bytes(name);
  if (!file) return std::nullopt;
  std::string text(static_cast<std::size_t>(std::min(file->size(), most)), '\0');
  text.resize(file->read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

/// As it is written: indented, and with replacement characters for what is not UTF-8.
[[nodiscard]] inline std::string text_of_record_file(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Members of a record that may be damaged, or come from another version. A value that is not an
// object has no members.

/// Empty if it is missing, or not a string.
[[nodiscard]] inline std::string text_in(const nlohmann::ordered_json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}
/// nullopt if it is missing, or not a non-negative integer.
[[nodiscard]] inline std::optional<std::uint64_t> number_in(const nlohmann::ordered_json& json,
                                                            const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}
/// False if it is missing, or not a boolean.
[[nodiscard]] inline bool flag_in(const nlohmann::ordered_json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace weir::archive
