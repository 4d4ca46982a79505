#include "web/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
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

Day::Hour hour_of(const Span* span, std::int64_t begin, std::int64_t now) {
  using Kind = Day::Hour::Kind;
  const auto when = fmt::format("{} {}", date_text(begin), clock_text(begin));
  if (begin > now) return {Kind::future, when + ": has not come yet"};
  if (span == nullptr || span->samples == 0)
    return {Kind::nothing, when + ": nothing is known, the receiver did not tell"};
  const auto part = 100.0 * span->streaming / span->samples;
  auto says = fmt::format("{}: streamed {:.0f}% of the time, {} archived", when, part,
                          format_size(span->bytes));
  if (span->holes > 0) {
    says += fmt::format(", {} loss{} found", span->holes, span->holes == 1 ? "" : "es");
    return {Kind::hole, std::move(says)};
  }
  // A few samples while it connects anew are no trouble.
  const auto kind = part >= 99 ? Kind::whole : part > 0 ? Kind::partly : Kind::none;
  return {kind, std::move(says)};
}

struct Sign {
  std::string_view name, glyph, words;
};
Sign sign_of(Day::Hour::Kind kind) {
  using Kind = Day::Hour::Kind;
  switch (kind) {
    case Kind::whole:
      return {"whole", "■", "streamed"};
    case Kind::partly:
      return {"partly", "◧", "streamed part of the time"};
    case Kind::none:
      return {"none", "□", "did not stream"};
    case Kind::hole:
      return {"gap", "✕", "a loss was found"};
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
      {"Syncs, p99 (line: p50)", [](const Span& span) { return span.p99_ms; },
       [](const Span& span) { return span.p50_ms; }, milliseconds_text,
       [](const Span& span) {
         return span.p99_ms <= 0 ? std::string("no sync")
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

std::vector<Day> days_of(const History& history, SystemTime now) {
  constexpr std::int64_t kDay = 24 * 3600;
  std::map<std::int64_t, const Span*> known;
  for (const auto& span : history.hours()) known[span.begin] = &span;
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
      day.hours.push_back(hour_of(span, at, second));
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
  for (const auto kind : {Kind::whole, Kind::partly, Kind::none, Kind::hole, Kind::nothing}) {
    const auto sign = sign_of(kind);
    html +=
        fmt::format("<span><b class=\"{}\">{}</b> {}</span> ", sign.name, sign.glyph, sign.words);
  }
  return html + "</p>\n";
}

}  // namespace weir::web
