#include "web/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>

#include "base/units.h"
#include "web/html.h"

namespace weir::web {

namespace {

using Span = History::Span;
using std::chrono::seconds;

constexpr int kTop = 18;  ///< the line of the highest value's text
constexpr int kHeight = 84;
constexpr int kBase = kTop + kHeight;
constexpr int kDays = 14;
/// Parts of the width within which an hour's text would overlap that of the first or the last time.
constexpr double kEdge = 0.19;

std::int64_t seconds_of(SystemTime time) {
  return std::chrono::duration_cast<seconds>(time.time_since_epoch()).count();
}

/// "03:14"; UTC, as all of pgweir's times.
std::string clock_text(std::int64_t second) {
  return fmt::format("{:02}:{:02}", second / 3600 % 24, second / 60 % 60);
}

std::string date_text(std::int64_t second) {
  return format_time(SystemTime(seconds(second))).substr(0, 10);
}

struct Figure {
  std::string_view title;
  std::function<double(const Span&)> value;
  std::function<double(const Span&)> mark;
  std::function<std::string(double)> text;
  std::function<std::string(const Span&)> says;
};

Chart chart_of(const History& history, const Figure& figure, SystemTime now) {
  constexpr auto kWidth = History::kShort.count();
  constexpr auto kCount = static_cast<std::int64_t>(History::kShorts);
  const auto second = seconds_of(now);
  const auto last = second - second % kWidth;
  const auto first = last - (kCount - 1) * kWidth;
  std::map<std::int64_t, const Span*> known;
  double most = 0;
  for (const auto& span : history.shorts()) {
    if (span.begin < first || span.samples == 0) continue;
    known[span.begin] = &span;
    most = std::max(most, figure.value(span));
  }
  Chart chart;
  chart.title = figure.title;
  chart.most = figure.text(most);
  chart.from = clock_text(first);
  chart.to = clock_text(last + kWidth);
  chart.now = "nothing is known";
  for (std::int64_t i = 0; i < kCount; ++i) {
    const auto begin = first + i * kWidth;
    Chart::Bar bar{.from = static_cast<double>(i) / kCount,
                   .to = static_cast<double>(i + 1) / kCount};
    const auto found = known.find(begin);
    bar.gap = found == known.end();
    const auto when = fmt::format("{} to {}", clock_text(begin), clock_text(begin + kWidth));
    if (bar.gap) {
      bar.says = when + ": nothing is known";
    } else {
      const auto& span = *found->second;
      bar.says = fmt::format("{}: {}", when, figure.says(span));
      if (most > 0) {
        bar.height = figure.value(span) / most;
        bar.mark = figure.mark ? figure.mark(span) / most : 0;
      }
      // Samples come every few seconds: the newest span may have none yet.
      if (i + 2 >= kCount) chart.now = figure.says(span);
    }
    const auto at = static_cast<double>(i) / kCount;
    if (begin % 3600 == 0 && i > 0)
      chart.ticks.push_back({at, at > kEdge && at < 1 - kEdge ? clock_text(begin) : ""});
    chart.bars.push_back(std::move(bar));
  }
  return chart;
}

/// Whether the archive has the WAL that the server wrote in an hour.
enum class Presence { unknown, here, missing, gone };

/// The WAL of an hour is what lies between the server's positions before it and at its end.
struct Bounds {
  std::optional<wal::Lsn> from;
  std::optional<wal::Lsn> to;
};

Presence presence_of(const Bounds& wal, std::int64_t begin, std::int64_t now, const Held& held) {
  if (wal.from && wal.to && held.end.valid()) {
    const auto from = *wal.from;
    const auto to = std::max(from, *wal.to);  // after a failover it may be less
    if (std::any_of(held.missing.begin(), held.missing.end(),
                    [&](const auto& range) { return range.first < to && from < range.second; }))
      return Presence::missing;
    if (from < held.begin) return Presence::gone;
    return to <= held.end ? Presence::here : Presence::unknown;
  }
  if (!held.commits) return Presence::unknown;
  const auto end = std::min(begin + History::kHour.count(), now);
  // Where its WAL ended is known, and not where it began: a part may be here.
  const bool may_be_here = wal.to && held.end.valid() && *wal.to > held.begin;
  if (end <= seconds_of(held.commits->first))
    return may_be_here ? Presence::unknown : Presence::gone;
  return seconds_of(held.commits->first) <= begin && end <= seconds_of(held.commits->second)
             ? Presence::here
             : Presence::unknown;
}

Day::Hour hour_of(const Span* span, const Bounds& wal, std::int64_t begin, std::int64_t now,
                  const Held& held) {
  using Kind = Day::Hour::Kind;
  const auto when = fmt::format("{} {}", date_text(begin), clock_text(begin));
  if (begin > now) return {Kind::future, when + ": has not come yet"};
  const auto presence = presence_of(wal, begin, now, held);
  const bool recorded = span != nullptr && span->samples > 0;
  const auto part = recorded ? 100.0 * span->streaming / span->samples : 0;
  auto says = when + (recorded ? fmt::format(": streamed {:.0f}% of the time, {} archived", part,
                                             format_size(span->bytes))
                               : std::string(": not recorded whether WAL streamed"));
  const bool found = recorded && span->holes > 0;
  if (found) says += fmt::format(", {} loss{} found", span->holes, span->holes == 1 ? "" : "es");
  switch (presence) {
    case Presence::missing:
      return {Kind::hole, says + "; WAL of this time is MISSING"};
    case Presence::gone:
      // An archive that is younger than that hour has not had it.
      if (!recorded || span->streaming == 0) break;
      return {Kind::gone, says + "; its WAL is no longer here"};
    case Presence::here: {
      says += "; its WAL is here";
      // A few samples while it reconnects are not reported.
      return {!recorded ? Kind::held : part >= 99 ? Kind::whole : Kind::late, std::move(says)};
    }
    case Presence::unknown:
      break;
  }
  if (!recorded) return {Kind::nothing, when + ": nothing is known"};
  return {found        ? Kind::hole
          : part >= 99 ? Kind::whole
          : part > 0   ? Kind::partly
                       : Kind::none,
          std::move(says)};
}

struct Sign {
  std::string_view name, glyph, words;
};
Sign sign_of(Day::Hour::Kind kind) {
  using Kind = Day::Hour::Kind;
  switch (kind) {
    case Kind::whole:
      return {"whole", "■", "streamed"};
    case Kind::late:
      return {"late", "◩", "here, streamed later at least in part"};
    case Kind::held:
      return {"held", "▣", "here, not recorded whether it streamed"};
    case Kind::partly:
      return {"partly", "◧", "streamed part of the time"};
    case Kind::none:
      return {"none", "□", "did not stream"};
    case Kind::hole:
      return {"gap", "✕", "missing, or a loss was found"};
    case Kind::gone:
      return {"gone", "○", "streamed, no longer here"};
    case Kind::nothing:
      return {"nothing", "·", "nothing is known"};
    case Kind::future:
      break;
  }
  return {"future", "", ""};
}

}  // namespace

std::string milliseconds_text(double ms) {
  // Not 1e+03 ms.
  return ms >= 999.5 ? fmt::format("{:.1f} s", ms / 1000) : fmt::format("{:.3g} ms", ms);
}

std::vector<Chart> charts_of(const History& history, SystemTime now) {
  const auto size = [](double bytes) { return format_size(static_cast<std::uint64_t>(bytes)); };
  const auto per_second = [](const Span& span) {
    return static_cast<double>(span.bytes) / static_cast<double>(History::kShort.count());
  };
  const Figure figures[] = {
      {"Behind the server",
       [](const Span& span) { return static_cast<double>(span.lag); },
       {},
       size,
       [](const Span& span) {
         return span.streaming == 0 ? std::string("did not stream")
                : span.lag == 0     ? std::string("caught up")
                                    : format_size(span.lag) + " behind at worst";
       }},
      {"Archived",
       per_second,
       {},
       [size](double value) { return size(value) + "/s"; },
       [size, per_second](const Span& span) { return size(per_second(span)) + "/s"; }},
      {"Flush time, p99 (line: p50)", [](const Span& span) { return span.p99_ms; },
       [](const Span& span) { return span.p50_ms; }, milliseconds_text,
       [](const Span& span) {
         return span.p99_ms <= 0 ? std::string("no flush")
                                 : fmt::format("p50 {}, p99 {}", milliseconds_text(span.p50_ms),
                                               milliseconds_text(span.p99_ms));
       }},
  };
  std::vector<Chart> charts;
  for (const auto& figure : figures) charts.push_back(chart_of(history, figure, now));
  return charts;
}

std::string chart_svg(const Chart& chart) {
  const auto label = [](double at, std::string_view anchor, std::string_view text) {
    return fmt::format("<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n",
                       percent(at), kBase + 14, anchor, text);
  };
  auto body = fmt::format(
      "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/>"
      "<text class=\"axis\" x=\"0\" y=\"{1}\">{2}</text>\n",
      kTop, kTop - 5, escaped(chart.most));
  body += label(0, "start", chart.from);
  for (const auto& tick : chart.ticks) {
    body += fmt::format("<line class=\"grid\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>\n",
                        percent(tick.at), kTop, kBase);
    if (!tick.text.empty()) body += label(tick.at, "middle", tick.text);
  }
  body += label(1, "end", chart.to);
  for (const auto& bar : chart.bars) {
    const auto x = percent(bar.from);
    const auto width = percent((bar.to - bar.from) * (bar.gap ? 1 : 0.86));
    const int height = std::max(1, static_cast<int>(bar.height * kHeight));
    auto shapes = fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                              bar.gap ? "unknown" : "bar", x, bar.gap ? kTop : kBase - height,
                              width, bar.gap ? kHeight : height);
    if (bar.mark > 0)
      shapes += fmt::format("<rect class=\"mark\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"2\"/>", x,
                            kBase - std::max(2, static_cast<int>(bar.mark * kHeight)), width);
    shapes += fmt::format("<rect class=\"touch\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>", x,
                          kTop, percent(bar.to - bar.from), kHeight);
    body += fmt::format("<g class=\"says\"><title>{}</title>{}</g>\n", escaped(bar.says), shapes);
  }
  return fmt::format(
      "<svg class=\"chart\" role=\"img\" aria-label=\"{}, the last six hours; at most {}\" "
      "width=\"100%\" height=\"{}\">\n{}<line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"{}\" "
      "y2=\"{}\"/></svg>\n",
      escaped(chart.title), escaped(chart.most), kBase + 20, body, kBase, kBase);
}

Held held_by(const status::StatusReport& report) {
  Held held;
  if (!report.segment_size) return held;
  const auto& size = *report.segment_size;
  std::optional<wal::Lsn> begin;
  for (const auto& one : report.timelines) {
    for (const auto& range : one.missing)
      held.missing.emplace_back(size.start(range.begin), size.start(range.end));
    for (const auto* const ranges : {&one.finished, &one.unfinished, &one.only_stored})
      for (const auto& range : *ranges)
        begin = std::min(begin.value_or(size.start(range.begin)), size.start(range.begin));
  }
  if (!begin) return held;
  held.begin = *begin;
  held.end = status::position_of(report).value_or(wal::Lsn());
  const status::StatusReport::Window* newest = nullptr;
  std::size_t pieces = 0;
  for (const auto& window : report.windows) {
    held.end = std::max(held.end, window.to);
    if (window.timeline != report.timelines.back().timeline) continue;
    ++pieces;
    if (window.newest) newest = &window;
  }
  if (pieces != 1 || newest == nullptr || !newest->from_time || !newest->to_time) return held;
  auto until = newest->to_time->system_time();
  // What an idle server does not write is not missing.
  if (const auto& receiver = report.receiver; receiver && receiver->stream)
    until = std::max(until, receiver->lag() == 0 ? receiver->taken
                            : receiver->lag_time ? receiver->taken - *receiver->lag_time
                                                 : until);
  held.commits = {newest->from_time->system_time(), until};
  return held;
}

std::vector<Day> days_of(const History& history, SystemTime now, const Held& held) {
  constexpr std::int64_t kDay = 24 * 3600;
  std::map<std::int64_t, const Span*> known;
  std::map<std::int64_t, wal::Lsn> positions;  // of the hours that have one
  for (const auto& span : history.hours()) {
    known[span.begin] = &span;
    if (span.server_end > 0) positions[span.begin] = wal::Lsn(span.server_end);
  }
  const auto wal_of = [&](std::int64_t at) {
    Bounds bounds;
    const auto next = positions.lower_bound(at);
    if (next != positions.end()) bounds.to = next->second;
    if (next != positions.begin()) bounds.from = std::prev(next)->second;
    return bounds;
  };
  const auto second = seconds_of(now);
  const auto today = second - second % kDay;
  std::vector<Day> days;
  for (int i = 0; i < kDays; ++i) {
    const auto begin = today - i * kDay;
    Day day{.date = date_text(begin)};
    for (int hour = 0; hour < 24; ++hour) {
      const auto at = begin + hour * 3600;
      const auto found = known.find(at);
      const auto* const span = found == known.end() ? nullptr : found->second;
      if (span != nullptr) day.bytes += span->bytes;
      day.hours.push_back(hour_of(span, wal_of(at), at, second, held));
    }
    days.push_back(std::move(day));
  }
  return days;
}

std::string days_html(const std::vector<Day>& days) {
  std::string html =
      "<div class=\"scroll\"><table class=\"hours\"><tr><th scope=\"col\">day (UTC)</th>";
  for (int hour = 0; hour < 24; hour += 6)
    html += fmt::format("<th class=\"hour\" scope=\"col\" colspan=\"6\">{}</th>", hour);
  html += "<th scope=\"col\">archived</th></tr>\n";
  for (const auto& day : days) {
    html += fmt::format("<tr><th scope=\"row\"><span class=\"year\">{}</span>{}</th>",
                        day.date.substr(0, 5), day.date.substr(5));
    for (const auto& hour : day.hours) {
      const auto sign = sign_of(hour.kind);
      html += hour.kind == Day::Hour::Kind::future
                  ? std::string("<td></td>")
                  : fmt::format(
                        "<td class=\"says {}\" title=\"{}\">{}<span class=\"aside\">{}</span></td>",
                        sign.name, escaped(hour.says), sign.glyph, sign.words);
    }
    html += fmt::format("<td class=\"number\">{}</td></tr>\n",
                        day.bytes > 0 ? format_size(day.bytes) : "");
  }
  html += "</table></div>\n<p class=\"legend\">";
  using Kind = Day::Hour::Kind;
  for (const auto kind : {Kind::whole, Kind::late, Kind::held, Kind::partly, Kind::none, Kind::hole,
                          Kind::gone, Kind::nothing}) {
    const bool shown = std::any_of(days.begin(), days.end(), [&](const Day& day) {
      return std::any_of(day.hours.begin(), day.hours.end(),
                         [&](const Day::Hour& hour) { return hour.kind == kind; });
    });
    if (!shown) continue;
    const auto sign = sign_of(kind);
    html +=
        fmt::format("<span><b class=\"{}\">{}</b> {}</span> ", sign.name, sign.glyph, sign.words);
  }
  return html + "</p>\n";
}

}  // namespace weir::web
