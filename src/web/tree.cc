#include "web/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/units.h"
#include "status/backups.h"
#include "status/only_stored.h"

namespace weir::web {

namespace {

using status::SegnoRange;
using Report = status::StatusReport;
using PieceKind = Tree::Piece::Kind;

/// More pieces of a row than this are joined where they lie closer than a pixel or two.
constexpr std::size_t kMostPieces = 300;
constexpr double kJoin = 0.002;

/// Positions as parts of the whole width.
class Scale {
 public:
  Scale(wal::Lsn first, wal::Lsn last) : first_(first), last_(last) {}
  [[nodiscard]] double operator()(wal::Lsn lsn) const {
    if (lsn <= first_ || last_ <= first_) return 0;
    if (lsn >= last_) return 1;
    return static_cast<double>(lsn - first_) / static_cast<double>(last_ - first_);
  }
  [[nodiscard]] wal::Lsn at(double part) const {
    return first_ + static_cast<std::uint64_t>(part * static_cast<double>(last_ - first_));
  }

 private:
  wal::Lsn first_;
  wal::Lsn last_;
};

std::string range_text(wal::Lsn from, wal::Lsn to) {
  return fmt::format("{} to {}, {}", from, to, format_size(to - from));
}

std::string segments_text(const SegnoRange& range) {
  return counted(range.end - range.begin, "segment");
}

std::optional<Scale> scale_of(const Report& report) {
  if (!report.segment_size) return std::nullopt;
  std::uint64_t first = UINT64_MAX;
  std::uint64_t last = 0;
  for (const auto& one : report.timelines)
    for (const auto* ranges : {&one.finished, &one.unfinished, &one.missing, &one.only_stored})
      for (const auto& range : *ranges) {
        first = std::min(first, range.begin);
        last = std::max(last, range.end);
      }
  if (last == 0) return std::nullopt;
  return Scale(report.segment_size->start(first), report.segment_size->start(last));
}

/// Where the timeline begins: it has a copy of its ancestor's bytes in its first segment.
std::optional<wal::TimelineHistory::Ancestor> left_from(const Report& report,
                                                        wal::TimelineId timeline) {
  const auto history = report.histories.history(timeline);
  if (!history || history->ancestors().empty()) return std::nullopt;
  return history->ancestors().back();
}

void join_close(std::vector<Tree::Piece>& pieces) {
  if (pieces.size() <= kMostPieces) return;
  std::vector<Tree::Piece> joined;
  for (auto& piece : pieces) {
    if (!joined.empty() && joined.back().kind == piece.kind &&
        piece.from - joined.back().to < kJoin)
      joined.back().to = piece.to;
    else
      joined.push_back(std::move(piece));
  }
  pieces = std::move(joined);
}

void add_pieces(const Report& report, const Report::Timeline& one, const Scale& scale,
                Tree::Row& row) {
  const auto& size = *report.segment_size;
  const auto origin = left_from(report, one.timeline);
  const auto add = [&](PieceKind kind, const SegnoRange& range, std::string_view what) {
    auto from = size.start(range.begin);
    if (origin) from = std::max(from, std::min(origin->switchpoint, size.start(range.end)));
    row.pieces.push_back(
        {kind, scale(from), scale(size.start(range.end)),
         fmt::format("timeline {}: {} {}, {}", one.timeline, segments_text(range), what,
                     range_text(size.start(range.begin), size.start(range.end)))});
  };
  for (const auto& range : one.only_stored)
    add(PieceKind::stored, range, "in the object store alone");
  for (const auto& range : status::without(one.finished, one.only_stored))
    add(PieceKind::finished, range, "archived");
  for (const auto& range : one.unfinished)
    add(PieceKind::unfinished, range, "unfinished (.partial)");
  join_close(row.pieces);
  // In an unfinished segment, no WAL follows the abandoned WAL.
  const auto drawn_end = [&](wal::Lsn end) {
    const auto segno = size.segno(end);
    const bool in_unfinished =
        std::any_of(one.unfinished.begin(), one.unfinished.end(),
                    [&](const auto& range) { return range.begin <= segno && segno < range.end; });
    return in_unfinished ? size.start(segno + 1) : end;
  };
  for (const auto& loss : report.lost_branches)
    if (loss.timeline == one.timeline)
      row.pieces.push_back(
          {PieceKind::lost, scale(loss.begin), scale(drawn_end(loss.end)),
           fmt::format("timeline {}: left behind by a failover to timeline {}, {}", loss.timeline,
                       loss.next_timeline, range_text(loss.begin, loss.end))});
  for (const auto& loss : report.minimal_wal)
    if (loss.timeline == one.timeline)
      row.pieces.push_back(
          {PieceKind::lost, scale(loss.begin), scale(loss.end),
           fmt::format(
               "timeline {}: written with wal_level=minimal, which no recovery can pass, {}",
               loss.timeline, range_text(loss.begin, loss.end))});
  std::vector<Tree::Piece> holes;
  for (const auto& range : one.missing) {
    const auto from = size.start(range.begin);
    const auto to = size.start(range.end);
    const bool known = std::any_of(report.holes.begin(), report.holes.end(), [&](const auto& hole) {
      return hole.acknowledged && hole.from <= from && to <= hole.to;
    });
    const auto kind = known ? PieceKind::known_hole : PieceKind::hole;
    const auto begin = std::min(scale(from), 1 - kLeastHole);
    holes.push_back(
        {kind, begin, std::max(scale(to), begin + kLeastHole),
         fmt::format("timeline {}: HOLE, {} missing, {}{}", one.timeline, segments_text(range),
                     range_text(from, to), known ? ", acknowledged" : "")});
  }
  join_close(holes);
  row.pieces.insert(row.pieces.end(), holes.begin(), holes.end());
}

void add_pins(const Report& report, const Scale& scale, Tree::Row& row) {
  std::vector<const Report::Backup*> own;
  for (const auto& backup : report.backups)
    if (backup.timeline == row.timeline) own.push_back(&backup);
  std::stable_sort(own.begin(), own.end(),
                   [](const auto* a, const auto* b) { return a->start < b->start; });
  row.pins_left_out = own.size() > kMostPins ? own.size() - kMostPins : 0;
  own.erase(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(row.pins_left_out));
  for (const auto* backup : own) {
    const auto* const window = status::window_of(report, *backup);
    const auto ready = backup->end.value_or(backup->start);
    Tree::Pin pin{scale(backup->start), scale(ready), {}, {}};
    pin.says = fmt::format("backup {} at {}{}", backup->name, backup->start,
                           backup->began ? ", begun " + backup->began->to_string() : "");
    if (window != nullptr) {
      pin.until = scale(window->to);
      pin.says += fmt::format(", recoverable up to {}{} on timeline {}", window->to,
                              window->to_time ? " (" + window->to_time->to_string() + ")" : "",
                              window->timeline);
      if (backup->start < window->from) pin.says += ", with the object store";
    } else {
      pin.says += ", NOT recoverable: " + status::why_not(report, *backup);
    }
    row.pins.push_back(std::move(pin));
  }
}

}  // namespace

Tree lay_out(const Report& report) {
  Tree tree;
  const auto scale = scale_of(report);
  if (!scale) return tree;
  for (const auto& one : report.timelines) {
    if (one.finished.empty() && one.unfinished.empty() && one.missing.empty() &&
        one.only_stored.empty())
      continue;
    Tree::Row row;
    row.timeline = one.timeline;
    row.label = fmt::format("timeline {}", one.timeline);
    if (const auto origin = left_from(report, one.timeline)) {
      row.label += fmt::format(", left timeline {} at {}", origin->timeline, origin->switchpoint);
      for (std::size_t i = 0; i < tree.rows.size(); ++i)
        if (tree.rows[i].timeline == origin->timeline) row.parent = i;
      row.branch_at = (*scale)(origin->switchpoint);
    }
    add_pieces(report, one, *scale, row);
    add_pins(report, *scale, row);
    tree.rows.push_back(std::move(row));
  }
  constexpr int kTicks = 4;
  for (int i = 0; i <= kTicks; ++i) {
    const double part = static_cast<double>(i) / kTicks;
    tree.ticks.push_back({part, scale->at(part).to_string()});
  }
  return tree;
}

}  // namespace weir::web
