#include <fmt/format.h>

#include <algorithm>

#include "status/text.h"

namespace weir::status {

namespace {

struct Signs {
  std::string_view full, hole, partial, stored, none;
};
constexpr Signs kUtf8 = {"█", "×", "░", "▒", "·"};
constexpr Signs kAscii = {"#", "x", "~", "s", "."};
constexpr int kLeast = 24;
constexpr int kMost = 200;

bool overlaps(const std::vector<SegnoRange>& ranges, std::uint64_t from, std::uint64_t to) {
  const auto at = std::partition_point(ranges.begin(), ranges.end(),
                                       [&](const SegnoRange& one) { return one.end <= from; });
  return at != ranges.end() && at->begin < to;
}

}  // namespace

std::string picture(const StatusReport& report, int width, bool utf8) {
  if (!report.segment_size) return {};
  const auto& size = *report.segment_size;
  std::uint64_t first = UINT64_MAX;
  std::uint64_t behind = 0;
  std::size_t label = 0;
  const auto take = [&](const std::vector<SegnoRange>& ranges) {
    if (ranges.empty()) return;
    first = std::min(first, ranges.front().begin);
    behind = std::max(behind, ranges.back().end);
  };
  for (const auto& one : report.timelines) {
    for (const auto* ranges : {&one.finished, &one.unfinished, &one.missing, &one.only_stored})
      take(*ranges);
    label = std::max(label, fmt::format("{}", one.timeline).size());
  }
  if (behind == 0) return {};

  const auto& signs = utf8 ? kUtf8 : kAscii;
  const auto total = behind - first;
  const auto room = static_cast<std::uint64_t>(std::clamp(width, kLeast, kMost)) - label - 5;
  // A few segments are drawn wide; of many each cell stands for several.
  const auto cells = total >= room ? room : total * std::min<std::uint64_t>(room / total, 4);
  std::string text;
  bool holes = false;
  bool partials = false;
  bool stored = false;
  for (const auto& one : report.timelines) {
    if (one.finished.empty() && one.unfinished.empty() && one.missing.empty() &&
        one.only_stored.empty())
      continue;
    text += fmt::format("  {:>{}} |", one.timeline, label);
    for (std::uint64_t cell = 0; cell < cells; ++cell) {
      const auto from = first + cell * total / cells;
      const auto to = std::max(from + 1, first + ((cell + 1) * total + cells - 1) / cells);
      if (overlaps(one.missing, from, to)) {
        text += signs.hole;
        holes = true;
      } else if (overlaps(one.only_stored, from, to)) {
        text += signs.stored;
        stored = true;
      } else if (overlaps(one.finished, from, to)) {
        text += signs.full;
      } else if (overlaps(one.unfinished, from, to)) {
        text += signs.partial;
        partials = true;
      } else {
        text += signs.none;
      }
    }
    text += "|\n";
  }
  const auto left = size.start(first).to_string();
  const auto right = size.start(behind).to_string();
  const auto indent = label + 4;
  const auto between =
      cells > left.size() + right.size() + 1 ? cells - left.size() - right.size() : 2;
  if (indent + left.size() + between + right.size() <=
      static_cast<std::size_t>(std::max(width, kLeast)))
    text += fmt::format("{:{}}{}{:{}}{}\n", "", indent, left, "", between, right);
  if (holes) text += fmt::format("{:{}}{} segments missing\n", "", indent, signs.hole);
  if (stored) text += fmt::format("{:{}}{} in the object store alone\n", "", indent, signs.stored);
  if (partials) text += fmt::format("{:{}}{} unfinished\n", "", indent, signs.partial);
  return text;
}

}  // namespace weir::status
