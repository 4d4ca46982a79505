#include "verify/record_watch.h"

#include <utility>

namespace weir::verify {

using wal::Lsn;

std::unique_ptr<RecordWatch> RecordWatch::of(Context& context, const Node& node) {
  return std::unique_ptr<RecordWatch>(new RecordWatch(context, node));
}

RecordWatch::RecordWatch(Context& context, const Node& node)
    : context_(context), timeline_(node.timeline) {
  const auto* const history = context.history(node.timeline);
  if (history == nullptr) return;
  const auto begin = history->begin_of(node.timeline);
  if (!begin || !begin->valid() || context.cluster.segment_size.segno(*begin) != node.segno) return;
  switchpoint_ = *begin;
  parent_ = history->ancestors().back().timeline;
  const auto& size = context.cluster.segment_size;
  first_record_ = *begin;
  if (size.offset(*begin) == 0)
    first_record_ = *begin + wal::kLongHeaderSize;
  else if (begin->byte() % wal::kPageSize == 0)
    first_record_ = *begin + wal::kShortHeaderSize;
}

bool RecordWatch::wants(const wal::RecordHeader& header) {
  return wal::is_xlog(header, wal::XlogRecord::backup_end) ||
         wal::is_xlog(header, wal::XlogRecord::parameter_change) || wal::names_timeline(header);
}

void RecordWatch::on_record(Lsn start, Lsn end, const wal::RecordHeader& header,
                            std::span<const std::byte> body) {
  if (other_ != nullptr) return other_->on_record(start, end, header, body);
  if (wal::is_xlog(header, wal::XlogRecord::backup_end) && context_.backup_start &&
      wal::start_of_ended_backup(body) == context_.backup_start) {
    context_.results.backup_ended(timeline_, end);
  }
  if (wal::is_xlog(header, wal::XlogRecord::parameter_change))
    if (const auto minimal = wal::sets_wal_level_minimal(body))
      context_.results.wal_level_set(timeline_, {start, end, *minimal});
  if (!switchpoint_ || start < *switchpoint_) return;
  judge_switch(start, header, body);
}

/// A new timeline starts, exactly at the switchpoint, with records of the XLOG resource manager,
/// one of which names the new timeline and its parent (checkTimeLineSwitch in
/// access/transam/xlogrecovery.c uses this).
void RecordWatch::judge_switch(Lsn start, const wal::RecordHeader& header,
                               std::span<const std::byte> body) {
  if (!seen_first_ && start != first_record_) {
    complain(start, fmt::format("no record begins at the switchpoint {} of the history file: the "
                                "first record after it begins at {}",
                                *switchpoint_, start));
    return;
  }
  seen_first_ = true;
  if (!wal::is_xlog(header)) {
    complain(start, fmt::format("the record at the switchpoint {} does not begin a timeline",
                                *switchpoint_));
    return;
  }
  if (!wal::names_timeline(header)) return;  // the next one shows it
  const auto told = wal::timeline_begin(body).value_or(wal::TimelineBegin{});
  if (told.timeline != timeline_ || told.previous != parent_)
    complain(start, fmt::format("the history file says that timeline {} follows {}, its WAL says "
                                "{} follows {}",
                                timeline_, parent_, told.timeline, told.previous));
  switchpoint_ = std::nullopt;
}

void RecordWatch::complain(Lsn at, std::string what) {
  switchpoint_ = std::nullopt;
  Finding finding;
  finding.kind = FindingKind::history;
  finding.file = wal::history_name(timeline_);
  finding.timeline = timeline_;
  finding.lsn = at;
  finding.what = std::move(what);
  finding.hint =
      "The history file and the segments do not match. Copy both again from the pg_wal of a server "
      "of this timeline before relying on a recovery across this switch.";
  context_.results.add(std::move(finding));
}

}  // namespace weir::verify
