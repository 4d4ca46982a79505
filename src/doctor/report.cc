#include "doctor/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weir::doctor {

std::string_view to_string(Level level) {
  switch (level) {
    case Level::ok:
      return "ok";
    case Level::warning:
      return "warning";
    case Level::failure:
      return "failure";
    case Level::unknown:
      return "unknown";
  }
  return "";
}

std::string to_text(const std::vector<Check>& checks, std::string_view conclusion) {
  std::string text;
  std::size_t failures = 0;
  std::size_t warnings = 0;
  std::size_t unknown = 0;
  for (const auto& check : checks) {
    std::string_view mark = "  ok  ";
    if (check.level == Level::warning) mark = " warn ", ++warnings;
    if (check.level == Level::failure) mark = " FAIL ", ++failures;
    if (check.level == Level::unknown) mark = "   ?  ", ++unknown;
    text += fmt::format("[{}] {}: {}\n", mark, check.name, check.found);
    if (check.level == Level::ok) continue;
    for (const auto& line : check.todo) text += fmt::format("           -> {}\n", line);
  }
  text += failures > 0   ? fmt::format("\n{} failure(s), {} warning(s)\n", failures, warnings)
          : warnings > 0 ? fmt::format("\nno failure, {} warning(s)\n", warnings)
          : unknown > 0
              ? fmt::format("\nno failure, but {} check(s) could not be performed\n", unknown)
              : std::string("\nall is well\n");
  if (!conclusion.empty()) text += fmt::format("{}\n", conclusion);
  return text;
}

std::string to_json(const std::vector<Check>& checks, bool known, std::string_view conclusion) {
  nlohmann::ordered_json json;
  json["healthy"] = known && healthy(checks);
  if (!conclusion.empty()) json["conclusion"] = conclusion;
  json["checks"] = nlohmann::ordered_json::array();
  for (const auto& check : checks)
    json["checks"].push_back({{"name", check.name},
                              {"level", to_string(check.level)},
                              {"found", check.found},
                              {"todo", check.todo}});
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool healthy(const std::vector<Check>& checks) {
  return std::none_of(checks.begin(), checks.end(),
                      [](const Check& check) { return check.level == Level::failure; });
}

}  // namespace weir::doctor
