#include "web/health.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "status/findings.h"

namespace weir::web {

namespace {

using namespace std::chrono_literals;

/// Several of its turns.
constexpr auto kDoesNotTurn = 60s;

http::Answer no(std::string why) { return {.status = 503, .body = std::move(why) + "\n"}; }

}  // namespace

http::Answer health(const receive::ReceiverView& view, std::chrono::milliseconds since_progress) {
  if (view.stream && since_progress > kDoesNotTurn)
    return no(fmt::format("the receiver's main loop has not run for {}",
                          format_duration(since_progress)));
  std::string body = "ok\n";
  for (const auto& finding : status::findings(view, {}))
    if (!finding.public_text.empty()) body += "not ready: " + finding.public_text + "\n";
  return {.body = std::move(body)};
}

http::Answer readiness(const receive::ReceiverView& view, const status::Limits& limits,
                       const status::StatusReport* archive, bool directory_hangs) {
  for (const auto& finding : status::findings(view, limits))
    if (!finding.public_text.empty()) return no(finding.public_text);
  if (directory_hangs) return no(kDirectoryHangs);
  if (!view.stream) return no("the receiver does not stream yet");
  // Until the first one, the end of the server's WAL is that of the connection's start.
  if (view.outage_since) return no("no message of the server has arrived yet");
  if (archive != nullptr)
    for (const auto& finding : status::space_findings(*archive, limits))
      if (!finding.public_text.empty()) return no(finding.public_text);
  const auto lag = *view.lag();
  return {.body = lag == 0 ? "ok, caught up\n"
                           : fmt::format("ok, {} behind the server\n", format_size(lag))};
}

}  // namespace weir::web
