#include "status/known_ends.h"

#include <algorithm>

namespace weir::status {

archive::TimelineEnds known_ends(const StatusReport& report) {
  archive::TimelineEnds ends;
  for (const auto& one : report.timelines) {
    auto end = one.to.value_or(wal::Lsn());
    if (one.ends.end.valid()) end = std::max(end, one.ends.end);
    if (end.valid()) ends[one.timeline] = end;
  }
  // What a receiver has made durable is more than what the files' records show.
  if (report.receiver && report.receiver->stream && !ends.empty())
    ends[report.receiver->stream->timeline] = report.receiver->stream->flush;
  return ends;
}

}  // namespace weir::status
