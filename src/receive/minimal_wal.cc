#include "receive/minimal_wal.h"

#include <algorithm>
#include <set>
#include <utility>

#include "archive/history_store.h"
#include "base/error.h"
#include "wal/records.h"

namespace weir::receive {

using archive::Loss;

namespace {

/// Without a readable one (which is reported when the archive is inspected) all counts as WAL of
/// the timeline itself.
wal::TimelineHistory history_of(io::Directory& directory, wal::TimelineId timeline) {
  try {
    if (const auto content = archive::read_history(directory, timeline))
      if (auto history = wal::TimelineHistory::parse(timeline, *content)) return *history;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
  }
  return wal::TimelineHistory(timeline);
}

/// The newest one without a known end. (Older ones have ended where WAL is missing.)
Loss* going_on_before(std::vector<Loss>& losses, wal::Lsn at, wal::TimelineId timeline) {
  Loss* newest = nullptr;
  for (auto& loss : losses)
    if (loss.goes_on && loss.begin < at && loss.timeline <= timeline &&
        (newest == nullptr || newest->begin < loss.begin))
      newest = &loss;
  return newest;
}

/// It is within one recorded before: this WAL is read again.
bool is_known(const std::vector<Loss>& losses, wal::Lsn at, wal::TimelineId timeline) {
  return std::any_of(losses.begin(), losses.end(), [&](const Loss& loss) {
    return loss.begin <= at && at < loss.end && loss.timeline <= timeline;
  });
}

}  // namespace

void MinimalWal::begin(Stream stream, std::vector<Loss> recorded) {
  std::erase_if(changes_, [&](const Change& change) { return change.start >= stream.start; });
  stream_ = std::move(stream);
  losses_ = std::move(recorded);
  std::erase_if(losses_, [](const Loss& loss) {
    return loss.kind != Loss::Kind::minimal_wal || loss.complaint.has_value();
  });
}

bool MinimalWal::wants(const wal::RecordHeader& header) {
  return wal::is_xlog(header, wal::XlogRecord::parameter_change);
}

void MinimalWal::on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                           std::span<const std::byte> body) {
  if (!wants(header)) return;
  const auto minimal = wal::sets_wal_level_minimal(body);
  if (!minimal) return;
  const auto at = std::lower_bound(changes_.begin(), changes_.end(), start,
                                   [](const Change& one, wal::Lsn lsn) { return one.start < lsn; });
  if (at == changes_.end() || at->start != start) changes_.insert(at, {start, end, *minimal});
}

void MinimalWal::record(io::Directory& directory, const std::string& found,
                        const std::function<void(const Loss&)>& tell) {
  if (changes_.empty()) return;
  const auto history = history_of(directory, stream_.timeline);
  // Lowering and raising it again within one piece of WAL is one loss, reported once.
  auto losses = losses_;
  std::set<std::string> changed;
  for (const auto& change : changes_) {
    const auto timeline = history.timeline_of(change.start);
    auto* const open = going_on_before(losses, change.start, timeline);
    if (change.minimal && open == nullptr && !is_known(losses, change.start, timeline)) {
      Loss loss;
      loss.kind = Loss::Kind::minimal_wal;
      loss.timeline = loss.next_timeline = timeline;
      loss.begin = loss.sound_end = loss.counted_to = change.start;
      loss.end = change.end;
      loss.goes_on = true;
      loss.system_identifier = stream_.system_identifier;
      loss.segment_size = stream_.segment_size;
      loss.found = found;
      loss.cause = "the server was started with wal_level=minimal";
      loss.server = stream_.server;
      changed.insert(loss.id());
      losses.push_back(std::move(loss));
    } else if (!change.minimal && open != nullptr) {
      open->end = change.end;
      open->goes_on = false;
      changed.insert(open->id());
    }
  }
  for (const auto& loss : losses)
    if (changed.contains(loss.id()) && archive::record_loss(directory, loss)) tell(loss);
  losses_ = std::move(losses);
  changes_.clear();
}

}  // namespace weir::receive
