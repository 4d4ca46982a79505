#include "cli/notification_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace weir::cli {

namespace {

using Json = nlohmann::ordered_json;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\')
      result += "\\\\";
    else if (c == '\n')
      result += "\\n";
    else if (c == '\t')
      result += "\\t";
    else if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7f)
      result += fmt::format("\\x{:02x}", byte);
    else
      result += c;
  }
  return result;
}

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::type_error&) {  // thrown by the library for invalid text
    return false;
  }
}

std::string line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string notification_text(const Notification& notification) {
  return fmt::format("{}\t{}\t{}\n", escaped(notification.channel), notification.server_pid,
                     escaped(notification.payload));
}

std::string notification_json(const Notification& notification, WallTime received) {
  Json object;
  object["event"] = "notification";
  object["time"] = format_iso_time(received);
  object["channel"] = notification.channel;
  object["pid"] = notification.server_pid;
  object["payload"] = notification.payload;
  if (!is_utf8(notification.payload)) {
    std::string hex;
    for (const char c : notification.payload)
      hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
    object["payload_hex"] = hex;
  }
  return line(object);
}

std::string listening_json(const Listener::Listening& listening, WallTime since) {
  Json object;
  object["event"] = "listening";
  object["time"] = format_iso_time(since);
  object["server"] = listening.server;
  object["missed_since"] =
      listening.missed_since ? Json(format_iso_time(*listening.missed_since)) : Json(nullptr);
  return line(object);
}

}  // namespace weir::cli
