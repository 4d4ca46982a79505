#include "http/message.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace weir::http {

namespace {

/// Decodes application/x-www-form-urlencoded. Malformed parts are unchanged.
std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
      continue;
    }
    const auto byte = text[i] == '%' && i + 2 < text.size()
                          ? parse_number<unsigned>(text.substr(i + 1, 2), 16)
                          : std::nullopt;
    if (byte) {
      out += static_cast<char>(*byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
  const auto found = std::find_if(headers.begin(), headers.end(),
                                  [&](const auto& header) { return header.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Payload Too Large";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Error" : "Internal Server Error";
  }
}

std::string to_bytes(const Answer& answer, bool with_body) {
  auto bytes = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nX-Content-Type-Options: nosniff\r\nConnection: "
      "close\r\n",
      answer.status, reason_of(answer.status), answer.type);
  if (answer.status != 304) bytes += fmt::format("Content-Length: {}\r\n", answer.body.size());
  for (const auto& [name, value] : answer.headers)
    if (value.find_first_of("\r\n") == std::string::npos)
      bytes += fmt::format("{}: {}\r\n", name, value);
  bytes += "\r\n";
  if (with_body && answer.status != 304) bytes += answer.body;
  return bytes;
}

std::string form_value(std::string_view form, std::string_view name) {
  while (!form.empty()) {
    const auto end = std::min(form.find('&'), form.size());
    const auto pair = form.substr(0, end);
    form.remove_prefix(std::min(end + 1, form.size()));
    const auto equals = pair.find('=');
    if (equals != std::string_view::npos && decoded(pair.substr(0, equals)) == name)
      return decoded(pair.substr(equals + 1));
  }
  return {};
}

}  // namespace weir::http
