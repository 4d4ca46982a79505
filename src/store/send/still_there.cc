#include "store/send/still_there.h"

#include <fmt/format.h>

#include "base/error.h"

namespace weir::store {

namespace {

Error refusal(const std::string& what) {
  return Error(ErrorKind::refused, "the partial segment is not published: " + what)
      .hint(
          "That server's next WAL would be a different segment with this name. If the server is "
          "certainly and permanently down, use --primary-is-gone.");
}

}  // namespace

void require_gone(const AskedHost& asked, const archive::Identity& cluster,
                  wal::SegmentName segment, const std::optional<std::string>& slot) {
  if (!asked.server) {
    // It may be running, and rejecting connections at the moment.
    if (asked.answers)
      throw refusal("a server answers, but could not be queried")
          .with("server", asked.host)
          .with("its answer", asked.why);
    return;
  }
  if (asked.server->system_identifier != cluster.system_identifier) return;
  if (asked.server->timeline == segment.timeline())
    throw refusal(
        fmt::format("a server of this cluster answers, on timeline {}", asked.server->timeline))
        .with("server", asked.host);
  if (slot && asked.server->has_slot)
    throw refusal(fmt::format("the slot \"{}\" exists, so the archive can continue from it", *slot))
        .with("server", asked.host);
}

void require_no_stream(bool streaming, const std::string& directory) {
  if (streaming)
    throw refusal("the receiver of this archive is streaming").with("directory", directory);
}

}  // namespace weir::store
