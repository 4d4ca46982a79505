#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "status/report.h"

namespace weir::web {

/// The timelines of an archive as shapes: x is a position in WAL, from 0 (the first one that there
/// is anything of) to 1 (the last), y is a row for each timeline. A value; from here to a picture
/// there is nothing to be decided.
struct Tree {
  struct Piece {
    enum class Kind {
      finished,    ///< segments with their final names
      unfinished,  ///< only a .partial
      hole,        ///< missing
      known_hole,  ///< missing, and acknowledged
      stored,      ///< finished, in the object store alone
      lost,        ///< acknowledged to the server once, and left behind by a failover
    };
    Kind kind = Kind::finished;
    double from = 0;
    double to = 0;
    std::string says;
    bool operator==(const Piece&) const = default;
  };
  /// A base backup: where it begins, and what it can be recovered to.
  struct Pin {
    double at = 0;
    double ready = 0;             ///< from here on it can be recovered to any moment
    std::optional<double> until;  ///< nullopt: it cannot be recovered by this archive
    std::string says;
    bool operator==(const Pin&) const = default;
  };
  struct Row {
    wal::TimelineId timeline = 0;
    std::string label;
    std::vector<Piece> pieces;
    std::vector<Pin> pins;              ///< the newest of them, ascending
    std::size_t pins_left_out = 0;      ///< that are older
    std::optional<std::size_t> parent;  ///< row of the timeline that it comes from
    double branch_at = 0;               ///< where it left that one
  };
  struct Tick {
    double at = 0;
    std::string text;
  };
  std::vector<Row> rows;
  std::vector<Tick> ticks;  ///< positions; empty: there is nothing to draw
};

/// Pins of one row.
inline constexpr std::size_t kMostPins = 6;
/// A hole is drawn no narrower than this, however small it is.
inline constexpr double kLeastHole = 0.008;

/// Pure.
[[nodiscard]] Tree lay_out(const status::StatusReport& report);

/// The picture; "" if there is nothing to draw.
[[nodiscard]] std::string tree_svg(const Tree& tree);

}  // namespace weir::web
