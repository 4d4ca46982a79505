#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::http {

/// What a client asks. A value.
struct Request {
  std::string method;  ///< "GET"
  std::string path;    ///< of the target, as it came: "/status.json"
  std::string query;   ///< behind the '?', as it came
  std::string body;
  /// Names in lower case, in the order in which they came.
  std::vector<std::pair<std::string, std::string>> headers{};

  /// The first one of that name, in lower case; "" if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const;
};

/// What it gets. Content-Length and what says that the connection ends are the server's.
struct Answer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
};

/// The head and the body, as they are sent; of a HEAD request the body is left out. A line break in
/// a header would begin another header: such a header is left out.
[[nodiscard]] std::string to_bytes(const Answer& answer, bool with_body);

/// "Not Found"
[[nodiscard]] std::string_view reason_of(int status);

/// "a=1&b=%20" as it is sent by a form: the value of `name`; "" if there is none.
[[nodiscard]] std::string form_value(std::string_view form, std::string_view name);

}  // namespace weir::http
