#include "web/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/text.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "net/ip.h"

namespace weir::web {

namespace {

crypto::Sha256 digest_of(std::string_view text) {
  return crypto::sha256(std::as_bytes(std::span(text.data(), text.size())));
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

constexpr std::string_view kBearer = "bearer ";

/// "db1:9190" and "[::1]:9190" without the port; "" if the rest is not a port.
std::string_view without_port(std::string_view host) {
  const bool in_brackets = host.starts_with('[');
  const auto end = host.find(in_brackets ? ']' : ':');
  if (in_brackets && end == std::string_view::npos) return {};
  auto rest = end == std::string_view::npos ? std::string_view() : host.substr(end);
  if (in_brackets) rest.remove_prefix(1);
  if (!rest.empty() && (rest.front() != ':' ||
                        rest.substr(1).find_first_not_of("0123456789") != std::string_view::npos))
    return {};
  return in_brackets ? host.substr(1, end - 1) : host.substr(0, end);
}

}  // namespace

Gate::Gate(std::optional<std::string> token, std::vector<std::string> names, std::string cookie)
    : token_(std::move(token)), names_(std::move(names)), cookie_name_(std::move(cookie)) {
  if (!token_) return;
  // Not the token itself: who reads the cookie cannot ask as a program does. It ends with the
  // token.
  const auto key = std::as_bytes(std::span(token_->data(), token_->size()));
  cookie_value_ = crypto::to_hex(crypto::hmac_sha256(key, "pgweir page"));
}

bool Gate::knows_host(const http::Request& request) const {
  const auto host = lower(without_port(request.header("host")));
  if (host == "localhost" || net::Ip::parse(host)) return true;
  return std::any_of(names_.begin(), names_.end(),
                     [&](const auto& name) { return lower(name) == host; });
}

bool Gate::is_token(std::string_view text) const {
  return token_ && crypto::equal(digest_of(text), digest_of(*token_));
}

bool Gate::has_bearer_token(const http::Request& request) {
  return lower(request.header("authorization").substr(0, kBearer.size())) == kBearer;
}

bool Gate::lets_in(const http::Request& request) const {
  if (!token_) return true;
  if (has_bearer_token(request))
    return is_token(trimmed(request.header("authorization").substr(kBearer.size())));
  auto cookies = request.header("cookie");
  while (!cookies.empty()) {
    const auto end = std::min(cookies.find(';'), cookies.size());
    const auto pair = trimmed(cookies.substr(0, end));
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
    const auto equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == cookie_name_ &&
        crypto::equal(digest_of(pair.substr(equals + 1)), digest_of(cookie_value_)))
      return true;
  }
  return false;
}

std::optional<std::string> Gate::log_in(std::string_view token, bool by_https) const {
  if (!is_token(trimmed(token))) return std::nullopt;
  return fmt::format("{}={}; Path=/; HttpOnly; SameSite=Strict{}", cookie_name_, cookie_value_,
                     by_https ? "; Secure" : "");
}

std::string Gate::log_out() const {
  return fmt::format("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", cookie_name_);
}

}  // namespace weir::web
