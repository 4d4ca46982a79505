#include "web/fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/units.h"
#include "status/view_json.h"
#include "web/guide.h"
#include "web/html.h"
#include "web/words.h"

namespace weir::web {

namespace {

using status::Level;
using status::Topic;

constexpr std::size_t kMostFindings = 20;

Rank rank_of_finding(const status::Finding& finding) {
  if (finding.level == Level::ok) return Rank::well;
  switch (finding.topic) {
    case Topic::hole:
    case Topic::lost_branch:
    case Topic::minimal_wal:
    case Topic::difference:
      return Rank::lost;
    case Topic::branch:
      return finding.level == Level::critical ? Rank::lost : Rank::warned;
    case Topic::damage:
      return finding.level == Level::critical ? Rank::damaged : Rank::warned;
    case Topic::no_receiver:
    case Topic::receiver_silent:
    case Topic::not_streaming:
    case Topic::other_cluster:
    case Topic::server_silent:
      return Rank::not_archiving;
    case Topic::disk_full:
      return finding.level == Level::critical ? Rank::not_archiving : Rank::endangered;
    case Topic::verify:
    case Topic::drill:
      return finding.level == Level::critical ? Rank::damaged : Rank::warned;
    case Topic::slot:
      return Rank::endangered;
    case Topic::store:        // the disk has all of it
    case Topic::certificate:  // a connection that lives goes on
      return finding.level == Level::critical ? Rank::endangered : Rank::warned;
    case Topic::lag:
      return Rank::behind;
    default:
      return finding.level == Level::critical ? Rank::not_archiving : Rank::warned;
  }
}

/// An archive at rest needs no receiver. What is left decides the level.
void settle(FleetState& state, bool at_rest) {
  if (at_rest)
    std::erase_if(state.findings,
                  [](const auto& finding) { return finding.topic == Topic::no_receiver; });
  state.level = Level::ok;
  for (const auto& finding : state.findings)
    if (status::gravity(finding.level) > status::gravity(state.level)) state.level = finding.level;
  // The oldest of what decides the rank.
  const auto rank = rank_of(state);
  for (const auto& finding : state.findings)
    if (rank_of_finding(finding) == rank && finding.since &&
        (!state.since || *finding.since < *state.since))
      state.since = finding.since;
  if (state.findings.size() > kMostFindings) state.findings.resize(kMostFindings);
}

std::string words_for(const FleetState& state) {
  if (state.error) return "does not answer: " + *state.error;
  if (!state.asked) return "not asked yet";
  if (!state.findings.empty() && state.level != Level::ok) return state.findings.front().text;
  if (state.lag) return *state.lag == 0 ? "caught up" : format_size(*state.lag) + " behind";
  return "at rest";
}

std::string row_html(const FleetRow& row) {
  const auto& state = row.state;
  const auto level = state.error ? Level::critical : state.level;
  auto what = fmt::format("<b>{}</b>", escaped(words_for(state)));
  if (state.findings.size() > 1 && level != Level::ok)
    what +=
        fmt::format(" <span class=\"aside-note\">and {} more</span>", state.findings.size() - 1);
  const auto rank = rank_of(state);
  return fmt::format(
      "<tr id=\"row-{0}\" data-kind=\"{10}\"><td>{1}</td><td class=\"name\"><a href=\"{2}\">{3}"
      "</a><span class=\"aside-note\">{4}</span></td><td class=\"what\">{5}</td><td class=\"rest\">"
      "{6}</td><td class=\"rest\">{7}</td><td class=\"rest\">{8}</td><td class=\"rest\">{9}</td>"
      "</tr>\n",
      escaped(row.name), badge_html(state.asked ? level : Level::unknown), escaped(row.link),
      escaped(row.name), escaped(row.where), what,
      rank == Rank::well ? "" : since_html(row.since, std::nullopt), escaped(state.server),
      escaped(state.position), state.free ? format_size(*state.free) : "", words_of(rank).key);
}

/// How many there are of each kind: buttons, by which the script selects rows.
std::string kinds_html(const std::vector<FleetRow>& rows) {
  std::map<Rank, std::size_t> counts;
  for (const auto& row : rows) ++counts[rank_of(row.state)];
  auto html = fmt::format(
      "<section id=\"kinds\" aria-label=\"Archives by kind\"><p><button type=\"button\" "
      "data-kind=\"\">all: {}</button>",
      rows.size());
  for (const auto& [rank, count] : counts)
    html += fmt::format(" <button type=\"button\" data-kind=\"{}\">{}: {}</button>",
                        words_of(rank).key, words_of(rank).words, count);
  return html + "</p></section>\n";
}

/// What to do, once for each kind of finding that is the worst of an archive.
std::string advice_html(const std::vector<FleetRow>& rows) {
  std::vector<std::pair<Topic, std::size_t>> topics;
  for (const auto& row : rows) {
    if (rank_of(row.state) == Rank::well || row.state.error || row.state.findings.empty()) continue;
    const auto topic = row.state.findings.front().topic;
    const auto known = std::find_if(topics.begin(), topics.end(),
                                    [&](const auto& each) { return each.first == topic; });
    if (known == topics.end())
      topics.emplace_back(topic, 1);
    else
      ++known->second;
  }
  if (topics.empty()) return {};
  std::string html =
      "<section id=\"advice\" aria-labelledby=\"advice-h\"><h2 id=\"advice-h\">"
      "What to do</h2>\n<ul>\n";
  for (const auto& [topic, count] : topics) {
    const auto words = status::words_of(topic);
    html += fmt::format(
        "<li><b>{}</b> ({}): {} <a href=\"troubleshooting#{}\">Troubleshooting: {}</a></li>\n",
        words.key, counted(count, "archive"), escaped(words.hint), chapter_anchor(words.chapter),
        escaped(words.chapter));
  }
  return html + "</ul>\n</section>\n";
}

}  // namespace

Rank rank_of(const FleetState& state) {
  if (state.error) return Rank::not_archiving;
  if (!state.asked) return Rank::not_known;
  auto worst = Rank::well;
  for (const auto& finding : state.findings) worst = std::min(worst, rank_of_finding(finding));
  return worst;
}

RankWords words_of(Rank rank) {
  switch (rank) {
    case Rank::lost:
      return {"lost", "WAL lost"};
    case Rank::damaged:
      return {"damaged", "damaged"};
    case Rank::not_archiving:
      return {"not_archiving", "not archiving"};
    case Rank::endangered:
      return {"endangered", "in danger"};
    case Rank::behind:
      return {"behind", "behind"};
    case Rank::warned:
      return {"warned", "warnings"};
    case Rank::not_known:
      return {"not_known", "not asked yet"};
    case Rank::well:
      break;
  }
  return {"well", "well"};
}

FleetState state_of_error(std::string error) {
  return {.error = std::move(error), .asked = true, .level = Level::critical};
}

FleetState state_of_report(const status::StatusReport& report, bool at_rest,
                           const status::Limits& limits) {
  FleetState state{.asked = true, .findings = status::check(report, limits).findings};
  if (report.receiver) state.server = report.receiver->server;
  if (const auto position = status::position_of(report)) state.position = position->to_string();
  state.lag = status::lag_of(report);
  state.free = report.free_bytes;
  settle(state, at_rest);
  return state;
}

FleetState state_of_json(std::string_view text, bool at_rest) {
  auto told = status::summary_of(text, std::chrono::system_clock::time_point{});
  if (!told) return state_of_error("its answer is not that of a pgweir of this version");
  FleetState state{.asked = true, .findings = std::move(told->findings)};
  if (told->receiver) {
    state.server = told->receiver->server;
    if (const auto& stream = told->receiver->stream) state.position = stream->flush.to_string();
  }
  state.lag = told->lag;
  state.free = told->free_bytes;
  settle(state, at_rest);
  return state;
}

void sort_rows(std::vector<FleetRow>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const FleetRow& a, const FleetRow& b) {
    const auto left = rank_of(a.state);
    const auto right = rank_of(b.state);
    if (left != right) return left < right;
    // Of those that are well, the order is of no matter; by name they are found.
    if (left == Rank::well || a.since == b.since) return a.name < b.name;
    return a.since < b.since;
  });
}

std::string fleet_title(const std::vector<FleetRow>& rows) {
  const auto bad = std::count_if(rows.begin(), rows.end(), [](const FleetRow& row) {
    return rank_of(row.state) != Rank::well;
  });
  return bad == 0 ? fmt::format("all {} are well", rows.size())
                  : fmt::format("{} of {} need somebody", bad, rows.size());
}

std::string fleet_html(std::vector<FleetRow> rows, SystemTime now, std::string_view version) {
  sort_rows(rows);
  auto worst = Level::ok;
  for (const auto& row : rows) {
    const auto level = row.state.error ? Level::critical : row.state.level;
    if (status::gravity(level) > status::gravity(worst)) worst = level;
  }
  const auto words = words_of(worst);
  auto html = fmt::format(
      "<header id=\"top\"><h1>Archives</h1><p><span id=\"looked\">{}</span> · pgweir "
      "{}</p></header>\n",
      time_html(now), escaped(version));
  html += fmt::format(
      "<section id=\"verdict\" class=\"{0}\" data-state=\"{2}, {3}\"><h2><span class=\"sign\" "
      "aria-hidden=\"true\">{1}</span> <span class=\"word\">{2}</span> <span class=\"title\">{3}"
      "</span></h2></section>\n",
      words.name, words.sign, words.word, fleet_title(rows));
  html += kinds_html(rows);
  html +=
      "<section id=\"fleet\" aria-label=\"Archives, worst first\"><div class=\"scroll\"><table "
      "class=\"fleet\"><tr><th scope=\"col\">verdict</th><th scope=\"col\">archive</th><th "
      "scope=\"col\">what</th><th scope=\"col\" class=\"rest\">since</th><th scope=\"col\" "
      "class=\"rest\">upstream</th><th scope=\"col\" class=\"rest\">durable up to</th><th "
      "scope=\"col\" class=\"rest\">free</th></tr>\n";
  for (const auto& row : rows) html += row_html(row);
  return html + "</table></div></section>\n" + advice_html(rows);
}

}  // namespace weir::web
