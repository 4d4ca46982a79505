#include "web/health.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"

namespace weir::web {

namespace {

using namespace std::chrono_literals;

/// Several of its turns.
constexpr auto kDoesNotTurn = 60s;

http::Answer no(std::string why) { return {.status = 503, .body = std::move(why) + "\n"}; }

}  // namespace

http::Answer health(const receive::StatusBoard::View& view,
                    std::chrono::milliseconds since_progress) {
  if (view.stream && since_progress > kDoesNotTurn)
    return no(fmt::format("the receiver has not turned for {}", format_duration(since_progress)));
  return {.body = "ok\n"};
}

http::Answer readiness(const receive::StatusBoard::View& view,
                       std::optional<std::uint64_t> max_lag) {
  if (view.content.disk_full) return no("the disk is full");
  if (!view.stream) return no("the receiver does not stream: " + view.content.state);
  const auto& stream = *view.stream;
  const auto lag = stream.server_end > stream.flush ? stream.server_end - stream.flush : 0;
  if (max_lag && lag > *max_lag) return no(format_size(lag) + " behind the server");
  return {.body = lag == 0 ? "ok, caught up\n"
                           : fmt::format("ok, {} behind the server\n", format_size(lag))};
}

}  // namespace weir::web
