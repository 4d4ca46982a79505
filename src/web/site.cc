// The page's data on the directory come from `web::Watch`, which may hang with the disk and is then
// abandoned; data on the receiver come from the status board. The page therefore answers while the
// disk hangs, and reports that it does.

#include "web/site.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/codec.h"
#include "status/text.h"
#include "web/assets.h"
#include "web/guide.h"
#include "web/html.h"
#include "web/page.h"

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

/// The elements of <main>, one after the other: text in them is escaped, and none is in another.
std::vector<std::string_view> elements_of(std::string_view main) {
  std::vector<std::string_view> all;
  while (!main.empty()) {
    const auto next = std::min(main.find("<section ", 1), main.find("<header ", 1));
    all.push_back(main.substr(0, next));
    if (next == std::string_view::npos) break;
    main.remove_prefix(next);
  }
  return all;
}

/// What is between the first `before` and the next `after`; "" without them.
std::string_view between(std::string_view text, std::string_view before, std::string_view after) {
  const auto begin = text.find(before);
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin + before.size());
  return text.substr(0, text.find(after));
}

std::size_t hash_of(std::string_view text) { return std::hash<std::string_view>()(text); }

/// How long a part stays as it was sent although its figures are others. All of a busy archive's
/// parts change with each commit: sent every two seconds they would be 140 MB a day and tab.
std::chrono::seconds hold_of(std::string_view id) {
  if (id == "hours") return 300s;
  if (id == "figures") return 60s;
  if (id == "text" || id == "timelines" || id == "fleet") return 30s;
  return 10s;
}

/// A part that the script shows.
struct ShownPart {
  std::uint64_t hash = 0;
  std::int64_t sent = 0;  ///< seconds since 1970, by our clock
};

/// "ID=HASH.SECONDS;" for each, as part_answer() wrote them. What is not understood is not shown.
std::map<std::string, ShownPart, std::less<>> parts_of(std::string_view text) {
  std::map<std::string, ShownPart, std::less<>> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(';'), text.size());
    const auto part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto equals = part.find('=');
    const auto point = part.rfind('.');
    if (equals == std::string_view::npos || point == std::string_view::npos || point < equals)
      continue;
    ShownPart shown;
    const auto* const hash = part.data() + equals + 1;
    const auto* const sent = part.data() + point + 1;
    const auto* const last = part.data() + part.size();
    if (std::from_chars(hash, part.data() + point, shown.hash, 16).ec == std::errc() &&
        std::from_chars(sent, last, shown.sent).ec == std::errc())
      parts.emplace(part.substr(0, equals), shown);
  }
  return parts;
}

/// "gzip" is named, and not with a quality of 0.
bool takes_gzip(const http::Request& request) {
  auto accepted = request.header("accept-encoding");
  while (!accepted.empty()) {
    const auto end = std::min(accepted.find(','), accepted.size());
    const auto coding = trimmed(accepted.substr(0, end));
    accepted.remove_prefix(std::min(end + 1, accepted.size()));
    const auto name = trimmed(coding.substr(0, coding.find(';')));
    if (name == "gzip")
      return coding.find("q=0") == std::string_view::npos ||
             coding.find_first_of("123456789", coding.find("q=0")) != std::string_view::npos;
  }
  return false;
}

}  // namespace

std::optional<http::Answer> asset(std::string_view path) {
  if (path == "/style.css")
    return http::Answer{.type = "text/css; charset=utf-8", .body = std::string(kStyle)};
  if (path == "/app.js")
    return http::Answer{.type = "text/javascript; charset=utf-8", .body = std::string(kScript)};
  if (path == "/icon.svg") return http::Answer{.type = "image/svg+xml", .body = std::string(kIcon)};
  for (const auto& guide : guides())
    if (path.substr(std::min<std::size_t>(path.size(), 1)) == guide.page)
      return http::Answer{.type = kHtml,
                          .body = frame_html(std::string(guide.title) + " · pgweir",
                                             "<p><a href=\"./\">← the archive</a></p>\n" +
                                                 guide_html(guide.markdown))};
  return std::nullopt;
}

http::Server::Reply Site::answer(const http::Request& request) {
  const bool reads = only_reads(request);
  const auto& path = request.path;
  if (reads && path == "/healthz" && sources_.health) return probe_answer(sources_.health());
  if (reads && path == "/readyz" && sources_.readiness) return probe_answer(sources_.readiness());
  if (reads && path == "/metrics" && sources_.metrics && sources_.metrics_are_open)
    return sources_.metrics;

  auto answer = entrance_ ? entrance_->answer(request) : std::nullopt;
  if (!answer) {
    if (path == "/metrics" && sources_.metrics) return sources_.metrics;
    answer = asset(path);
  }
  if (!answer && (path == "/" || path == "/main" || path == "/status.json")) answer = page(request);
  if (!answer) answer = plain_answer(404, "there is nothing here");
  shrink(request, *answer);
  add_safety(*answer);
  return std::move(*answer);
}

http::Answer part_answer(const http::Request& request, const std::string& main,
                         std::string_view title, SystemTime now) {
  constexpr std::string_view kLooked = "<span id=\"looked\">";
  constexpr std::string_view kState = "-";  // no id
  const auto known = parts_of(request.header("x-parts"));
  const auto looked = between(main, kLooked, "</span>");
  const auto second =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const auto state = hash_of(between(main, "data-state=\"", "\"")) ^ hash_of(title);
  const auto known_state = known.find(kState);
  const bool same_state = known_state != known.end() && known_state->second.hash == state;
  std::string body;
  auto parts = fmt::format("{}={:x}.0;", kState, state);
  std::string content;  // hashes of the parts on the page after this answer, without times
  for (const auto element : elements_of(main)) {
    auto stable = std::string(element);
    if (const auto at = stable.find(kLooked); at != std::string::npos)
      stable.erase(at + kLooked.size(), looked.size());
    const auto id = between(element, "id=\"", "\"");
    ShownPart part{hash_of(stable), second};
    const auto shown = known.find(id);
    // Also if the clock was set back meanwhile, it is sent.
    const bool stays =
        shown != known.end() &&
        (shown->second.hash == part.hash || (same_state && second >= shown->second.sent &&
                                             second - shown->second.sent < hold_of(id).count()));
    if (stays) part = shown->second;
    parts += fmt::format("{}={:x}.{};", id, part.hash, part.sent);
    content += fmt::format("{}={:x};", id, part.hash);
    if (stays)
      body += fmt::format("<{0} id=\"{1}\" data-same></{0}>\n",
                          element.starts_with("<header") ? "header" : "section", id);
    else
      body += element;
  }
  const auto tag = fmt::format("\"{:x}\"", hash_of(content + std::string(title)));
  const bool same = request.header("if-none-match") == tag;
  http::Answer answer{.status = same ? 304 : 200, .type = kHtml};
  answer.headers.emplace_back("ETag", tag);
  if (!same) {
    answer.body = std::move(body);
    answer.headers.emplace_back("X-Title", encoded(title));
    answer.headers.emplace_back("X-Parts", parts);
  }
  answer.headers.emplace_back("X-Looked", encoded(between(looked, "datetime=\"", "\"")));
  return answer;
}

void add_log_out(std::string& page) {
  constexpr std::string_view kMain = "<main id=\"main\">";
  if (const auto at = page.find(kMain); at != std::string::npos)
    page.insert(at,
                "<form class=\"log-out\" method=\"post\" action=\"logout\"><button>Log out</button>"
                "</form>\n");
}

void shrink(const http::Request& request, http::Answer& answer) {
  constexpr std::size_t kWorthIt = 1024;
  constexpr int kLevel = 4;
  if (answer.status != 200 || answer.body.size() < kWorthIt || !takes_gzip(request)) return;
  const auto compressor = codec::make_compressor({codec::Method::gzip, kLevel}, answer.body.size());
  std::string packed;
  const auto sink = [&](std::span<const std::byte> piece) {
    packed.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  };
  compressor->feed(std::as_bytes(std::span(answer.body)), sink);
  compressor->finish(sink);
  answer.body = std::move(packed);
  answer.headers.emplace_back("Content-Encoding", "gzip");
  answer.headers.emplace_back("Vary", "Accept-Encoding");
}

http::Answer Site::page(const http::Request& request) {
  const auto made = made_now();
  if (!made.known) {
    auto answer = plain_answer(503, "the archive is being checked for the first time: try again");
    answer.headers.emplace_back("Retry-After", "2");
    if (request.path == "/") {
      answer.type = kHtml;
      answer.headers.emplace_back("Refresh", "2");
      answer.body = frame_html(
          "pgweir",
          "<section><h2>The archive is being checked for the first time.</h2></section>\n");
    }
    return answer;
  }
  if (request.path == "/status.json")
    return {.type = "application/json; charset=utf-8", .body = made.json};
  if (request.path == "/") {
    http::Answer answer{.type = kHtml, .body = made.page};
    if (entrance_ && entrance_->asks_for_token()) add_log_out(answer.body);
    return answer;
  }
  return part_answer(request, made.main, made.title, std::chrono::system_clock::now());
}

Site::Made Site::made_now() {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (made_.known && now - made_.at < kFresh) return made_;
  const auto facts = sources_.facts();
  if (!facts) return {};
  made_.at = now;
  made_.known = true;
  made_.page = units_kept_together(page_html(*facts, Mode::live));
  made_.main = units_kept_together(main_html(*facts, Mode::live));
  made_.json = status::status_json(facts->report, facts->verdict) + "\n";
  made_.title = title_of(*facts);
  return made_;
}

}  // namespace weir::web
