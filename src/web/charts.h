#pragma once

#include <string>
#include <vector>

#include "web/history.h"

namespace weir::web {

/// Values over time as bars, from 0 (the oldest) to 1 (now) across, and from 0 to 1 of the highest
/// value upwards. A value; chart_svg() draws it.
struct Chart {
  struct Bar {
    double from = 0;
    double to = 0;
    double height = 0;
    double mark = 0;   ///< a second value within the bar; 0: none
    bool gap = false;  ///< nothing is known: it was not running
    std::string says;
  };
  struct Tick {
    double at = 0;
    std::string text;  ///< empty: only a line, as its text would overlap `from` or `to`
  };
  std::string title;
  std::string most;  ///< what the highest bar stands for
  std::string now;   ///< the value of the last five minutes
  std::string from;  ///< the time at the left end, "03:15" (UTC)
  std::string to;    ///< the time at the right end
  std::vector<Bar> bars;
  std::vector<Tick> ticks;
};

/// Lag, rate and sync times of the last six hours. Pure.
[[nodiscard]] std::vector<Chart> charts_of(const History& history, SystemTime now);
[[nodiscard]] std::string chart_svg(const Chart& chart);

/// The hours of a day, the newest day first.
struct Day {
  struct Hour {
    /// none: nothing is known; future: it has not come yet
    enum class Kind { whole, partly, none, nothing, hole, future };
    Kind kind = Kind::none;
    std::string says;
  };
  std::string date;         ///< "2026-11-22"
  std::vector<Hour> hours;  ///< 24
  std::uint64_t bytes = 0;
};
[[nodiscard]] std::vector<Day> days_of(const History& history, SystemTime now);
[[nodiscard]] std::string days_html(const std::vector<Day>& days);

/// "0.0128 ms", "1.4 s"
[[nodiscard]] std::string milliseconds_text(double ms);

}  // namespace weir::web
