#include <fmt/format.h>

#include <vector>

#include "web/html.h"
#include "web/tree.h"

namespace weir::web {

namespace {

// Pixels; across, everything is a part of the width, so that text stays as large as it is.
constexpr int kMargin = 6;
constexpr int kLabel = 18;  ///< height of the line with the timeline's name
constexpr int kBar = 18;
constexpr int kLane = 14;  ///< of a backup
constexpr int kBetween = 16;
constexpr int kAxis = 26;

int height_of(const Tree::Row& row) {
  const auto lanes = static_cast<int>(row.pins.size() + (row.pins_left_out > 0 ? 1 : 0));
  return kLabel + kBar + (lanes > 0 ? 4 + lanes * kLane : 0) + kBetween;
}

std::string_view class_of(Tree::Piece::Kind kind) {
  using Kind = Tree::Piece::Kind;
  switch (kind) {
    case Kind::finished:
      return "wal";
    case Kind::unfinished:
      return "partial";
    case Kind::hole:
      return "hole";
    case Kind::known_hole:
      return "hole known";
    case Kind::stored:
      return "stored";
    case Kind::lost:
      break;
  }
  return "lost";
}

/// Something that says more when it is pointed at, or reached with the arrow keys.
std::string saying(std::string_view says, std::string_view shapes) {
  return fmt::format("<g class=\"says\"><title>{}</title>{}</g>\n", escaped(says), shapes);
}

std::string piece_svg(const Tree::Piece& piece, int y) {
  const auto width = percent(piece.to - piece.from);
  const auto x = percent(piece.from);
  auto shapes = fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                            class_of(piece.kind), x, y, width, kBar);
  // The pattern above the colour is what can be read without it.
  const std::string_view pattern = piece.kind == Tree::Piece::Kind::unfinished ? "dots"
                                   : piece.kind == Tree::Piece::Kind::lost     ? "stripes"
                                   : piece.kind == Tree::Piece::Kind::stored   ? "rows"
                                   : piece.kind == Tree::Piece::Kind::finished ? ""
                                                                               : "crosses";
  if (!pattern.empty())
    shapes += fmt::format("<rect fill=\"url(#{})\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                          pattern, x, y, width, kBar);
  return saying(piece.says, shapes);
}

std::string pin_svg(const Tree::Pin& pin, int y) {
  const int middle = y + kLane / 2;
  std::string shapes;
  if (pin.until)
    shapes += fmt::format(
        "<line class=\"making\" x1=\"{0}\" x2=\"{1}\" y1=\"{3}\" y2=\"{3}\"/>"
        "<line class=\"band\" x1=\"{1}\" x2=\"{2}\" y1=\"{3}\" y2=\"{3}\"/>"
        "<line class=\"band\" x1=\"{2}\" x2=\"{2}\" y1=\"{4}\" y2=\"{5}\"/>",
        percent(pin.at), percent(pin.ready), percent(*pin.until), middle, middle - 4, middle + 4);
  // A nested picture, since a path knows no percentages.
  shapes += fmt::format(
      "<svg x=\"{}\" y=\"{}\" overflow=\"visible\"><path class=\"pin{}\" d=\"{}\"/></svg>",
      percent(pin.at), middle, pin.until ? "" : " bad",
      pin.until ? "M-5 0 0 -6 5 0 0 6z" : "M-5 -5 5 5M-5 5 5 -5");
  return saying(pin.says, shapes);
}

}  // namespace

std::string tree_svg(const Tree& tree) {
  if (tree.rows.empty()) return {};
  std::vector<int> tops;
  int height = kMargin;
  for (const auto& row : tree.rows) {
    tops.push_back(height);
    height += height_of(row);
  }
  std::string body;
  for (std::size_t i = 0; i < tree.rows.size(); ++i) {
    const auto& row = tree.rows[i];
    const int bar = tops[i] + kLabel;
    if (row.parent) {
      const auto x = percent(row.branch_at);
      const int from = tops[*row.parent] + kLabel + kBar;
      body += fmt::format(
          "<line class=\"branch\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>"
          "<circle class=\"branch\" cx=\"{0}\" cy=\"{1}\" r=\"3.5\"/>\n",
          x, from, bar);
    }
    body += fmt::format("<text class=\"label\" x=\"0\" y=\"{}\">{}</text>\n", tops[i] + 12,
                        escaped(row.label));
    body += fmt::format("<rect class=\"ground\" x=\"0\" y=\"{}\" width=\"100%\" height=\"{}\"/>\n",
                        bar, kBar);
    for (const auto& piece : row.pieces) body += piece_svg(piece, bar);
    int lane = bar + kBar + 4;
    for (const auto& pin : row.pins) {
      body += pin_svg(pin, lane);
      lane += kLane;
    }
    if (row.pins_left_out > 0)
      body += fmt::format("<text class=\"label\" x=\"0\" y=\"{}\">and {} older backup{}</text>\n",
                          lane + 11, row.pins_left_out, row.pins_left_out == 1 ? "" : "s");
  }
  for (std::size_t i = 0; i < tree.ticks.size(); ++i) {
    const auto& tick = tree.ticks[i];
    const bool last = i + 1 == tree.ticks.size();
    body += fmt::format(
        "<line class=\"tick\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>"
        "<text class=\"axis{5}\" x=\"{0}\" y=\"{3}\" text-anchor=\"{6}\">{4}</text>\n",
        percent(tick.at), height - 8, height - 3, height + 10, escaped(tick.text),
        i % 2 == 1 ? " wide" : "",
        i == 0 ? "start"
        : last ? "end"
               : "middle");
  }
  return fmt::format(
      "<svg class=\"tree\" role=\"img\" aria-label=\"The timelines of the archive, drawn to "
      "scale\" width=\"100%\" height=\"{}\">\n"
      "<defs>"
      "<pattern id=\"crosses\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
      "<path class=\"ink\" d=\"M0 0 8 8M8 0 0 8\"/></pattern>"
      "<pattern id=\"dots\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
      "<path class=\"ink\" d=\"M0 6 6 0\"/></pattern>"
      "<pattern id=\"stripes\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">"
      "<path class=\"ink\" d=\"M2 0 2 5\"/></pattern>"
      "<pattern id=\"rows\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">"
      "<path class=\"ink\" d=\"M0 2 5 2\"/></pattern></defs>\n{}</svg>\n",
      height + kAxis - 8, body);
}

}  // namespace weir::web
