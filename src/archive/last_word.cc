#include "archive/last_word.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "archive/home.h"
#include "archive/own_names.h"
#include "archive/record_file.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kLastWordVersion = 1;

}  // namespace

std::string LastWord::text() const {
  return fmt::format("the last one ended on {} with status {}: {}", time, status, message);
}

void leave_last_word(io::Directory& directory, const LastWord& word) {
  Json json;
  json["what"] = "Why the last receiver of this archive ended (pgweir). The next one removes this.";
  json["version"] = kLastWordVersion;
  json["time"] = word.time;
  json["status"] = word.status;
  json["message"] = word.message;
  json["hint"] = word.hint;
  DirectoryHome home(directory);
  publish_text(home,
               {.name = std::string(kLastWordName),
                .replace = true,
                .temporary = std::string(kLastWordName) + ".tmp"},
               text_of_record_file(json));
}

std::optional<LastWord> read_last_word(io::Shelf& shelf) {
  const auto text = read_record_file(shelf, std::string(kLastWordName));
  if (!text) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    if (json.at("version").get<int>() != kLastWordVersion) return std::nullopt;
    return LastWord{.time = json.at("time").get<std::string>(),
                    .status = json.at("status").get<int>(),
                    .message = json.at("message").get<std::string>(),
                    .hint = json.at("hint").get<std::string>()};
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

void remove_last_word(io::Directory& directory) { directory.remove(std::string(kLastWordName)); }

}  // namespace weir::archive
