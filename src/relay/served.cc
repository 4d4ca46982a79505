// With a writer that does not report its flush position, only complete segments count
// (`relay::Counts::finished`): pg_receivewal, or a receiver that does not answer. Such a writer may
// restart its `.partial` at any moment. It is detected without taking a lock, even briefly, since a
// receiver that starts at that moment would have to refuse (`io::find_foreign_writer()`): the
// holder of the directory's lock is in `/proc/locks`, a process with a segment open for writing in
// `/proc/PID/fd`; pg_receivewal has its `.partial` open as long as it runs. When the last writer
// has ended, or none is visible (another user's process may be hidden), the end is that of the last
// complete record or segment, which is read, verified and synced here before it is announced. An
// overlooked writer therefore violates neither P10 nor P11.

#include "relay/served.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace weir::relay {

namespace {

/// "15.18 (Debian …)", "18beta1": 15 and 18, 18 and 0. A letter ends it.
std::optional<std::pair<int, int>> numbers_of(std::string_view version) {
  const auto rest = version.find_first_not_of("0123456789");
  const auto major = parse_number<int>(version.substr(0, rest));
  if (!major) return std::nullopt;
  if (rest == std::string_view::npos || version[rest] != '.') return std::pair(*major, 0);
  const auto minor = version.substr(rest + 1);
  return std::pair(
      *major,
      parse_number<int>(minor.substr(0, minor.find_first_not_of("0123456789"))).value_or(0));
}

}  // namespace

void Cluster::hear_version(const std::string& said) {
  if (const auto numbers = numbers_of(said); numbers && numbers->first == major) version = said;
}

int Cluster::server_version_num() const {
  const auto numbers = numbers_of(version);
  return numbers ? numbers->first * 10000 + numbers->second : major * 10000;
}

std::string Cluster::server_version() const {
  if (!version.empty()) return version;
  return fmt::format("{}.0 (pgweir {})", major, PGWEIR_VERSION);
}

ServedEnd::Told ServedEnd::on_durable(const wal::TimelineHistory& history, wal::Lsn end) {
  if (history.timeline() == served_.timeline()) {
    // Clients of the ancestors get everything before their switchpoints, so it must be durable.
    const bool learns = served_.lacks_ancestors() && !history.ancestors().empty() &&
                        history.ancestors().back().switchpoint < std::max(end, served_.end);
    if (learns) served_.history = history;
    if (end <= served_.end) return learns ? Told::further : Told::nothing;
    served_.end = end;
    return Told::further;
  }
  // An older one: a receiver still completes it, or has returned to it.
  if (history.timeline() < served_.timeline()) return Told::nothing;
  const auto left = history.end_of(served_.timeline());
  if (!left) return Told::foreign;
  const auto begin = history.begin_of(history.timeline());
  if (end <= *begin) return Told::nothing;
  // WAL of the old timeline that was announced after its switchpoint is not part of this history;
  // clients that have it get an error. The announced end may only seem to go back then.
  served_ = {history, end};
  return Told::switched;
}

}  // namespace weir::relay
