#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace weir::web {

/// Who may look at the page. Immutable; any thread.
class Gate {
 public:
  /// `token`: nullopt where only this machine can ask. `names`: the page's host names in
  /// addition to numbers and "localhost". `cookie`: the name of the cookie of those who logged in.
  Gate(std::optional<std::string> token, std::vector<std::string> names, std::string cookie);

  /// A foreign page may let its own name resolve to this machine, and send requests through a local
  /// user's browser (DNS rebinding): the Host header then has a name that is not one of ours.
  [[nodiscard]] bool knows_host(const http::Request& request) const;
  /// By "Authorization: Bearer TOKEN", or by the cookie.
  [[nodiscard]] bool lets_in(const http::Request& request) const;
  /// "Authorization: Bearer …" is there, with any token.
  [[nodiscard]] static bool has_bearer_token(const http::Request& request);
  /// The Set-Cookie for a client that has sent this token; nullopt: it is wrong. `by_https`: the
  /// browser must not send it over plain HTTP.
  [[nodiscard]] std::optional<std::string> log_in(std::string_view token,
                                                  bool by_https = false) const;
  /// The Set-Cookie that removes it.
  [[nodiscard]] std::string log_out() const;
  [[nodiscard]] bool asks_for_token() const { return token_.has_value(); }

 private:
  [[nodiscard]] bool is_token(std::string_view text) const;

  const std::optional<std::string> token_;
  const std::vector<std::string> names_;
  const std::string cookie_name_;
  std::string cookie_value_;
};

/// A token shorter than this can be guessed.
inline constexpr std::size_t kLeastToken = 16;

}  // namespace weir::web
