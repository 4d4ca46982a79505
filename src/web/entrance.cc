#include "web/entrance.h"

#include <fmt/format.h>

#include <utility>

#include "web/page.h"

namespace weir::web {

namespace {

http::Answer log_in(const Gate& gate, const http::Request& request) {
  if (request.method != "POST") return {.type = kHtml, .body = login_html(false)};
  // Set by the proxy that has TLS.
  const bool by_https = request.header("x-forwarded-proto") == "https";
  const auto cookie = gate.log_in(http::form_value(request.body, "token"), by_https);
  if (!cookie) return {.status = 403, .type = kHtml, .body = login_html(true)};
  auto answer = plain_answer(303, "welcome");
  answer.headers.emplace_back("Location", "./");
  answer.headers.emplace_back("Set-Cookie", *cookie);
  return answer;
}

http::Answer log_out(const Gate& gate) {
  auto answer = plain_answer(303, "logged out");
  answer.headers.emplace_back("Location", "login");
  answer.headers.emplace_back("Set-Cookie", gate.log_out());
  return answer;
}

}  // namespace

http::Answer plain_answer(int status, std::string text) {
  return {.status = status, .body = std::move(text) + "\n"};
}

http::Answer probe_answer(http::Answer answer) {
  answer.headers.emplace_back("Cache-Control", "no-store");
  return answer;
}

bool only_reads(const http::Request& request) {
  return request.method == "GET" || request.method == "HEAD";
}

void add_safety(http::Answer& answer) {
  if (answer.status == 304) {  // the rest is what the client has (RFC 9110, section 15.4.5)
    answer.headers.emplace_back("Cache-Control", "no-store");
    return;
  }
  answer.headers.emplace_back("Content-Security-Policy",
                              "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
                              "'self' data:; connect-src 'self'; "
                              "form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
  answer.headers.emplace_back("X-Frame-Options", "DENY");
  answer.headers.emplace_back("Referrer-Policy", "no-referrer");
  answer.headers.emplace_back("Cross-Origin-Resource-Policy", "same-origin");
  answer.headers.emplace_back("Cache-Control", "no-store");
}

void Entrance::set(Gate gate) {
  auto fresh = std::make_shared<const Gate>(std::move(gate));
  const std::lock_guard lock(mutex_);
  gate_ = std::move(fresh);
}

std::shared_ptr<const Gate> Entrance::gate() const {
  const std::lock_guard lock(mutex_);
  return gate_;
}

/// With the address that a proxy has added, if it looks like one: the client can set it as well.
void Entrance::report_wrong_token(const http::Request& request) {
  constexpr std::size_t kLongest = 64;
  const auto from = request.header("x-forwarded-for");
  const bool is_shown = !from.empty() && from.size() <= kLongest &&
                        from.find_first_not_of("0123456789abcdefABCDEF.:, ") == from.npos;
  log_.warning(is_shown
                   ? fmt::format("the web page received a wrong token (X-Forwarded-For: {})", from)
                   : "the web page received a wrong token");
}

std::optional<http::Answer> Entrance::answer(const http::Request& request) {
  const auto held = gate();
  const auto& gate = *held;
  const auto& path = request.path;
  if (!only_reads(request) && !(request.method == "POST" &&
                                (path == "/login" || path == "/logout") && gate.asks_for_token())) {
    auto refused = plain_answer(405, "only GET and HEAD: this page changes nothing");
    refused.headers.emplace_back("Allow", "GET, HEAD");
    return refused;
  }
  if (!gate.knows_host(request))
    return plain_answer(421, "this host name is not allowed: see --web-host in --help");
  if (path == "/login" && gate.asks_for_token()) {
    auto answer = log_in(gate, request);
    if (answer.status == 403) report_wrong_token(request);
    return answer;
  }
  if (path == "/logout" && request.method == "POST") return log_out(gate);
  // The form looks like the rest.
  if (path == "/style.css" || path == "/icon.svg" || gate.lets_in(request)) return std::nullopt;
  // A proxy can forward its own password (Basic).
  if (path == "/" && !Gate::has_bearer_token(request)) {
    auto form = plain_answer(303, "log in first");
    form.headers.emplace_back("Location", "login");
    return form;
  }
  if (Gate::has_bearer_token(request)) report_wrong_token(request);
  auto refused = plain_answer(401, "a token is required: that of --web-token-file");
  refused.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"pgweir\"");
  return refused;
}

}  // namespace weir::web
