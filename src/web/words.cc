#include "web/words.h"

#include <fmt/format.h>

#include "base/units.h"

namespace weir::web {

LevelWords words_of(status::Level level) {
  switch (level) {
    case status::Level::ok:
      return {"ok", "OK", "✓", "All is well"};
    case status::Level::warning:
      return {"warning", "WARNING", "▲", "Look at this soon"};
    case status::Level::critical:
      return {"critical", "CRITICAL", "✕", "Act now"};
    case status::Level::unknown:
      break;
  }
  return {"unknown", "UNKNOWN", "?", "This could not be found out"};
}

std::string badge_html(status::Level level) {
  const auto words = words_of(level);
  return fmt::format("<span class=\"badge {}\"><span aria-hidden=\"true\">{}</span> {}</span>",
                     words.name, words.sign, words.word);
}

std::string time_html(std::chrono::system_clock::time_point time) {
  auto shown = format_time(time);
  if (const auto point = shown.find('.'); point != std::string::npos) shown.erase(point, 4);
  return fmt::format("<time datetime=\"{}\">{}</time>", format_iso_time(time), shown);
}

std::string since_html(std::chrono::system_clock::time_point time,
                       std::optional<std::chrono::system_clock::time_point> now) {
  const auto passed =
      now && *now > time
          ? " (" + format_duration(std::chrono::duration_cast<std::chrono::seconds>(*now - time)) +
                ")"
          : std::string();
  return fmt::format(
      "<span class=\"since\">{}<span class=\"passed\" aria-hidden=\"true\">{}"
      "</span></span>",
      time_html(time), passed);
}

}  // namespace weir::web
