#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "status/report.h"
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

/// What the archive has, as far as it decides about an hour. A value.
struct Held {
  std::vector<std::pair<wal::Lsn, wal::Lsn>> missing;  ///< ranges of missing WAL
  wal::Lsn begin;                                      ///< 0/0, as the end: nothing is known
  wal::Lsn end;
  /// Between these moments no WAL is missing, by the times of commits in it; nullopt: unknown.
  std::optional<std::pair<SystemTime, SystemTime>> commits;
};
/// Pure.
[[nodiscard]] Held held_by(const status::StatusReport& report);

/// The hours of a day, the newest day first.
struct Day {
  struct Hour {
    enum class Kind {
      whole,   ///< streamed; nothing of it is known to be missing
      late,    ///< its WAL is here, and did not stream all the time
      held,    ///< its WAL is here; whether it streamed is not recorded
      partly,  ///< streamed part of the time; whether its WAL is here is not known
      none,    ///< did not stream, likewise
      hole,  ///< its WAL is missing; or a loss was found then, and when its WAL was written is not
             ///< known
      gone,  ///< streamed, and its WAL is no longer here
      nothing,  ///< nothing is known
      future,   ///< it has not come yet
    };
    Kind kind = Kind::none;
    std::string says;
  };
  std::string date;         ///< "2026-11-22"
  std::vector<Hour> hours;  ///< 24
  std::uint64_t bytes = 0;
};
[[nodiscard]] std::vector<Day> days_of(const History& history, SystemTime now,
                                       const Held& held = {});
[[nodiscard]] std::string days_html(const std::vector<Day>& days);

/// "0.0128 ms", "1.4 s"
[[nodiscard]] std::string milliseconds_text(double ms);

}  // namespace weir::web
