// The page's data on the directory come from `web::Watch`, which may hang with the disk and is then
// abandoned; data on the receiver come from the status board. The page therefore answers while the
// disk hangs, and reports that it does.

#include "web/site.h"

#include <fmt/format.h>

#include <cstddef>
#include <functional>
#include <string_view>
#include <utility>

#include "status/json.h"
#include "web/assets.h"
#include "web/guide.h"
#include "web/html.h"
#include "web/page.h"
#include "web/words.h"

namespace weir::web {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kFresh = 900ms;

/// For a header: percent-encoded, so that it is ASCII.
std::string encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '.' || c == '_';
    out += safe ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace

std::optional<http::Answer> asset(std::string_view path) {
  if (path == "/style.css")
    return http::Answer{.type = "text/css; charset=utf-8", .body = std::string(kStyle)};
  if (path == "/app.js")
    return http::Answer{.type = "text/javascript; charset=utf-8", .body = std::string(kScript)};
  if (path == "/icon.svg") return http::Answer{.type = "image/svg+xml", .body = std::string(kIcon)};
  if (path == "/troubleshooting")
    return http::Answer{
        .type = kHtml,
        .body = frame_html("Troubleshooting · pgweir", "<p><a href=\"./\">← the archive</a></p>\n" +
                                                           guide_html(kTroubleshooting))};
  return std::nullopt;
}

http::Server::Reply Site::answer(const http::Request& request) {
  const bool reads = only_reads(request);
  const auto& path = request.path;
  if (reads && path == "/healthz" && sources_.health) return sources_.health();
  if (reads && path == "/readyz" && sources_.readiness) return sources_.readiness();
  if (reads && path == "/metrics" && sources_.metrics && sources_.metrics_are_open)
    return sources_.metrics;

  auto answer = entrance_ ? entrance_->answer(request) : std::nullopt;
  if (!answer) {
    if (path == "/metrics" && sources_.metrics) return sources_.metrics;
    answer = asset(path);
  }
  if (!answer && (path == "/" || path == "/main" || path == "/status.json")) answer = page(request);
  if (!answer) answer = plain_answer(404, "there is nothing here");
  add_safety(*answer);
  return std::move(*answer);
}

http::Answer part_answer(const http::Request& request, const std::string& main,
                         std::string_view title) {
  const auto tag = fmt::format("\"{:x}\"", std::hash<std::string>()(main));
  http::Answer answer{.type = kHtml, .body = main};
  if (request.header("if-none-match") == tag) answer = {.status = 304, .type = kHtml};
  answer.headers.emplace_back("ETag", tag);
  answer.headers.emplace_back("X-Title", encoded(title));
  return answer;
}

http::Answer Site::page(const http::Request& request) {
  const auto made = made_now();
  if (!made.known) {
    auto answer = plain_answer(503, "the archive is being looked at for the first time: ask again");
    answer.headers.emplace_back("Retry-After", "2");
    if (request.path == "/") {
      answer.type = kHtml;
      answer.headers.emplace_back("Refresh", "2");
      answer.body = frame_html(
          "pgweir",
          "<section><h2>The archive is being looked at for the first time.</h2></section>\n");
    }
    return answer;
  }
  if (request.path == "/status.json")
    return {.type = "application/json; charset=utf-8", .body = made.json};
  if (request.path == "/") return {.type = kHtml, .body = made.page};
  return part_answer(request, made.main, made.title);
}

Site::Made Site::made_now() {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (made_.known && now - made_.at < kFresh) return made_;
  const auto facts = sources_.facts();
  if (!facts) return {};
  made_.at = now;
  made_.known = true;
  made_.page = page_html(*facts, Mode::live);
  made_.main = main_html(*facts, Mode::live);
  made_.json = status::status_json(facts->report, facts->verdict) + "\n";
  made_.title =
      fmt::format("{} · {} · pgweir", words_of(facts->verdict.level).word, facts->report.directory);
  return made_;
}

}  // namespace weir::web
