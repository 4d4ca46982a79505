#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::http {

/// An HTTP request. Value type.
struct Request {
  std::string method;  ///< "GET"
  std::string path;    ///< of the target, as received: "/status.json"
  std::string query;   ///< after the '?', as received
  std::string body;
  /// Names in lower case, in the order received.
  std::vector<std::pair<std::string, std::string>> headers{};

  /// The first one of that name, in lower case; "" if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const;
};

/// The response. The server adds Content-Length and the header that announces the end of the
/// connection.
struct Answer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// The head and the body, as sent; for a HEAD request the body is omitted. A line break in a header
/// would start another header: such a header is omitted.
[[nodiscard]] std::string to_bytes(const Answer& answer, bool with_body);

/// "Not Found"
[[nodiscard]] std::string_view reason_of(int status);

/// Parses "a=1&b=%20", as sent by a form: the value of `name`; "" if there is none.
[[nodiscard]] std::string form_value(std::string_view form, std::string_view name);

}  // namespace weir::http
