#include "status/json_words.h"

#include <nlohmann/json.hpp>

namespace weir::status {

std::string text_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string word_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? "-" : text_of(json, key);
}

nlohmann::json receiver_json(const StatusReport& report) {
  if (!report.receiver) return nullptr;
  auto json = nlohmann::json::parse(*report.receiver, nullptr, false);
  return json.is_object() ? json : nlohmann::json();
}

}  // namespace weir::status
