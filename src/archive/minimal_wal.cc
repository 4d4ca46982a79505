#include "archive/minimal_wal.h"

#include <algorithm>
#include <set>
#include <utility>

#include "archive/history_store.h"
#include "base/error.h"
#include "wal/records.h"

namespace weir::archive {

namespace {

/// Without a readable one (which is reported when the archive is inspected) all counts as WAL of
/// the timeline itself.
wal::TimelineHistory history_of(io::Directory& directory, wal::TimelineId timeline) {
  try {
    if (const auto content = read_history(directory, timeline))
      if (auto history = wal::TimelineHistory::parse(timeline, *content)) return *history;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
  }
  return wal::TimelineHistory(timeline);
}

/// The newest one of the history without a known end. (Older ones have ended where WAL is missing.)
Loss* going_on_before(std::vector<Loss>& losses, wal::Lsn at, const wal::TimelineHistory& history) {
  Loss* newest = nullptr;
  for (auto& loss : losses)
    if (loss.goes_on && loss.begin < at && lies_on(loss, history) &&
        (newest == nullptr || newest->begin < loss.begin))
      newest = &loss;
  return newest;
}

/// It is within one recorded before: this WAL is read again.
bool is_known(const std::vector<Loss>& losses, wal::Lsn at, const wal::TimelineHistory& history) {
  return std::any_of(losses.begin(), losses.end(), [&](const Loss& loss) {
    return loss.begin <= at && at < loss.end && lies_on(loss, history);
  });
}

}  // namespace

void MinimalWal::begin(Stream stream, std::vector<Loss> recorded) {
  std::erase_if(changes_, [&](const Change& change) { return change.start >= stream.start; });
  stream_ = std::move(stream);
  holes_.clear();
  for (const auto& loss : recorded)
    if (loss.kind == Loss::Kind::hole && !loss.complaint) holes_.push_back(loss);
  losses_ = std::move(recorded);
  std::erase_if(losses_, [](const Loss& loss) {
    return loss.kind != Loss::Kind::minimal_wal || loss.complaint.has_value();
  });
  cut_off_ = stream_.server_end.valid() &&
             std::any_of(losses_.begin(), losses_.end(), [&](const Loss& loss) {
               return loss.goes_on && hole_behind(loss, stream_.start) != nullptr;
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

bool MinimalWal::is_minimal() const {
  if (!changes_.empty()) return changes_.back().minimal;
  return std::any_of(losses_.begin(), losses_.end(),
                     [&](const Loss& loss) { return loss.goes_on && loss.begin < stream_.start; });
}

/// The first hole after the record that lowered wal_level, before `at`.
const Loss* MinimalWal::hole_behind(const Loss& loss, wal::Lsn at) const {
  const Loss* first = nullptr;
  for (const auto& hole : holes_)
    if (hole.begin >= loss.begin && hole.end <= at && hole.timeline >= loss.timeline &&
        (first == nullptr || hole.begin < first->begin))
      first = &hole;
  return first;
}

void MinimalWal::record(io::Directory& directory, const std::string& found,
                        const std::function<void(const Loss&)>& tell, wal::Lsn read_to) {
  if (!must_record(read_to)) return;
  const auto history = history_of(directory, stream_.timeline);
  // Lowering and raising it again within one piece of WAL is one loss, reported once.
  auto losses = losses_;
  std::set<std::string> changed;
  // Up to the hole at least. Behind it wal_level was raised before WAL was archived again.
  const auto end_at_hole = [&](Loss& loss, wal::Lsn at) {
    const auto* const hole = hole_behind(loss, at);
    if (!loss.goes_on || hole == nullptr) return false;
    loss.end = std::max(loss.end, hole->begin);
    loss.goes_on = false;
    changed.insert(loss.id());
    return true;
  };
  for (const auto& change : changes_) {
    const auto timeline = history.timeline_of(change.start);
    auto* open = going_on_before(losses, change.start, history);
    if (change.minimal && open != nullptr && end_at_hole(*open, change.start)) open = nullptr;
    if (change.minimal && open == nullptr && !is_known(losses, change.start, history)) {
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
  const bool over = cut_off_ && read_to >= stream_.server_end;
  if (over)
    for (auto& loss : losses) end_at_hole(loss, stream_.start);
  for (const auto& loss : losses)
    if (changed.contains(loss.id()) && record_loss(directory, loss)) tell(loss);
  losses_ = std::move(losses);
  changes_.clear();
  if (over) cut_off_ = false;
}

}  // namespace weir::archive
