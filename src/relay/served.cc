#include "relay/served.h"

#include <fmt/format.h>

namespace weir::relay {

std::string Cluster::server_version() const {
  return fmt::format("{}.0 (pgweir {})", major, PGWEIR_VERSION);
}

ServedEnd::Told ServedEnd::on_durable(const wal::TimelineHistory& history, wal::Lsn end) {
  if (history.timeline() == served_.timeline()) {
    if (end <= served_.end) return Told::nothing;
    served_.end = end;
    return Told::further;
  }
  // An older one: what a receiver still finishes, or has gone back to.
  if (history.timeline() < served_.timeline()) return Told::nothing;
  const auto left = history.end_of(served_.timeline());
  if (!left) return Told::foreign;
  const auto begin = history.begin_of(history.timeline());
  if (end <= *begin) return Told::nothing;
  // What was announced of the old timeline behind the place where it was left is no part of this
  // history; whoever has it is told so. The announced end may only seem to go back then.
  served_ = {history, end};
  return Told::switched;
}

}  // namespace weir::relay
