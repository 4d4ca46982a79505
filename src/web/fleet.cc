#include "web/fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
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
    case Topic::directory_silent:
    case Topic::not_streaming:
    case Topic::other_cluster:
    case Topic::server_silent:
      return Rank::not_archiving;
    case Topic::disk_full:
      return finding.level == Level::critical ? Rank::not_archiving : Rank::endangered;
    case Topic::no_wal:
      return Rank::damaged;
    case Topic::verify:
    case Topic::drill:
      return finding.level == Level::critical ? Rank::damaged : Rank::warned;
    case Topic::slot:
      return Rank::endangered;
    case Topic::store:        // the disk has all WAL
    case Topic::certificate:  // existing connections continue
    case Topic::serving:      // only clients are affected
      return finding.level == Level::critical ? Rank::endangered : Rank::warned;
    case Topic::lag:
      return Rank::behind;
    default:
      return finding.level == Level::critical ? Rank::not_archiving : Rank::warned;
  }
}

/// An archive at rest needs no receiver. The remaining findings determine the level.
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
      escaped(row.name),
      escaped(row.where) + (state.cluster_name.empty() || state.cluster_name == row.name
                                ? ""
                                : ", cluster " + escaped(state.cluster_name)),
      what,
      rank == Rank::well || rank == Rank::not_known ? ""
      : row.since_is_known                          ? since_html(row.since, std::nullopt)
                                                    : "before " + time_html(row.since),
      escaped(state.server), escaped(state.position), state.free ? format_size(*state.free) : "",
      words_of(rank).key);
}

/// "no receiver" of "no_receiver"
std::string spaced(std::string_view key) {
  std::string words(key);
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

std::map<Rank, std::size_t> kinds_of(const std::vector<FleetRow>& rows) {
  std::map<Rank, std::size_t> counts;
  for (const auto& row : rows) ++counts[rank_of(row.state)];
  return counts;
}

/// ", WAL lost: 1, behind: 2"
std::string kinds_words(const std::vector<FleetRow>& rows) {
  std::string words;
  for (const auto& [rank, count] : kinds_of(rows))
    if (rank != Rank::well) words += fmt::format(", {}: {}", words_of(rank).words, count);
  return words;
}

/// How many there are of each kind: buttons, by which the script selects rows.
std::string kinds_html(const std::vector<FleetRow>& rows) {
  const auto counts = kinds_of(rows);
  auto html = fmt::format(
      "<section id=\"kinds\" aria-label=\"Archives by kind\"><p><button type=\"button\" "
      "data-kind=\"\">all: {}</button>",
      rows.size());
  for (const auto& [rank, count] : counts)
    html += fmt::format(" <button type=\"button\" data-kind=\"{}\">{}: {}</button>",
                        words_of(rank).key, words_of(rank).words, count);
  return html + "</p></section>\n";
}

/// What to do for those that do not answer, once for each reason, with a command for the first few.
std::string silence_html(const std::vector<FleetRow>& rows) {
  constexpr std::string_view kChapter = "The page";
  constexpr std::string_view kPlaceholder = "PLACE";
  constexpr std::size_t kMostCommands = 3;
  std::map<Silence, std::vector<std::string>> places;
  for (const auto& row : rows)
    if (row.state.error) places[row.state.silence].push_back(row.where);
  std::string html;
  for (const auto& [silence, where] : places) {
    const auto words = words_of(silence);
    html += fmt::format("<li><b>{}</b> ({}): {} {}", words.words, counted(where.size(), "archive"),
                        escaped(words.hint), chapter_link("troubleshooting", kChapter));
    const auto at = words.command.find(kPlaceholder);
    for (std::size_t i = 0;
         at != std::string_view::npos && i < std::min(kMostCommands, where.size()); ++i) {
      auto command = std::string(words.command);
      // The path of a URL follows.
      command.replace(at, kPlaceholder.size(), shell_word(where[i]));
      html += fmt::format("<p class=\"command\"><code>{}</code></p>", escaped(command));
    }
    html += "</li>\n";
  }
  return html;
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
  const auto silent = silence_html(rows);
  if (topics.empty() && silent.empty()) return {};
  auto html =
      "<section id=\"advice\" aria-labelledby=\"advice-h\"><h2 id=\"advice-h\">"
      "What to do</h2>\n<ul>\n" +
      silent;
  for (const auto& [topic, count] : topics) {
    const auto words = status::words_of(topic);
    html += fmt::format("<li><b>{}</b> ({}): {} {}</li>\n", spaced(words.key),
                        counted(count, "archive"), escaped(words.hint),
                        chapter_link(words.page, words.chapter));
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

SilenceWords words_of(Silence silence) {
  switch (silence) {
    case Silence::unreachable:
      return {"The page does not answer",
              "Check that the host and its receiver are running (systemctl status 'pgweir@*'), "
              "and the network in between. The archive itself may be intact.",
              "curl -sS -m 10 PLACE/healthz"};
    case Silence::certificate:
      return {"The certificate is not trusted",
              "Specify the CA certificate: ca = FILE in the fleet file, or --fleet-ca. The "
              "certificate must also be valid for the host name in the URL.",
              "curl -sS -m 10 --cacert FILE PLACE/healthz"};
    case Silence::token:
      return {"The token is rejected",
              "Copy the token of that page (--web-token-file of its receiver) to the file that "
              "token-file names, then send SIGHUP to \"pgweir web\".",
              ""};
    case Silence::other_answer:
      return {
          "The answer does not come from a pgweir web page",
          "Check the URL in the fleet file, a proxy in between, and the version of pgweir there.",
          "curl -sS -m 10 -i PLACE/healthz"};
    case Silence::unreadable:
      return {"The directory cannot be read",
              "Check that its file system is mounted, and that the user of \"pgweir web\" can "
              "read it.",
              "pgweir status -D PLACE"};
    case Silence::hanging:
      break;
  }
  return {"The check of the directory does not return",
          "Its file system or host hangs: check the mount, the kernel log (dmesg) and the network.",
          ""};
}

FleetState state_of_error(std::string error, Silence silence) {
  return {.error = std::move(error), .silence = silence, .asked = true, .level = Level::critical};
}

FleetSince::Moment FleetSince::of(const FleetState& state, SystemTime now) {
  const bool silent = state.error.has_value();
  const auto rank = rank_of(state);
  if (rank != rank_ || silent != silent_) {
    seen_ = {now, rank_.has_value()};
    // Its last answer is the last time at which it was well.
    if (silent && answered_) seen_.at = *answered_;
  }
  rank_ = rank;
  silent_ = silent;
  if (!silent) answered_ = now;
  return state.since ? Moment{*state.since, true} : seen_;
}

FleetState state_of_report(const status::StatusReport& report, bool at_rest,
                           const status::Limits& limits) {
  FleetState state{.asked = true, .findings = status::check(report, limits).findings};
  if (report.receiver) {
    state.server = report.receiver->server;
    state.cluster_name = report.receiver->cluster_name;
  }
  if (const auto position = status::position_of(report)) state.position = position->to_string();
  state.lag = status::lag_of(report);
  state.free = report.free_bytes;
  settle(state, at_rest);
  return state;
}

FleetState state_of_json(std::string_view text, bool at_rest) {
  auto told = status::summary_of(text, std::chrono::system_clock::time_point{});
  if (!told)
    return state_of_error("the answer does not come from a compatible version of pgweir",
                          Silence::other_answer);
  FleetState state{.asked = true, .findings = std::move(told->findings)};
  if (told->receiver) {
    state.server = told->receiver->server;
    state.cluster_name = told->receiver->cluster_name;
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
    const auto gravity_of = [](const FleetState& state) {
      return status::gravity(state.error ? Level::critical : state.level);
    };
    if (gravity_of(a.state) != gravity_of(b.state))
      return gravity_of(a.state) > gravity_of(b.state);
    // The order of healthy archives does not matter; sorted by name, they are easy to find.
    if (left == Rank::well || a.since == b.since) return a.name < b.name;
    return a.since < b.since;
  });
}

std::string fleet_title(const std::vector<FleetRow>& rows) {
  const auto bad = std::count_if(rows.begin(), rows.end(), [](const FleetRow& row) {
    return rank_of(row.state) != Rank::well;
  });
  return bad == 0 ? fmt::format("all {} are well", rows.size())
                  : fmt::format("{} of {} need attention", bad, rows.size());
}

std::string fleet_html(std::vector<FleetRow> rows, SystemTime now, std::string_view version) {
  sort_rows(rows);
  auto worst = Level::ok;
  auto looked = now;
  for (const auto& row : rows) {
    looked = std::min(looked, row.answered.value_or(now));
    const auto level = row.state.error ? Level::critical : row.state.level;
    if (status::gravity(level) > status::gravity(worst)) worst = level;
  }
  const auto words = words_of(worst);
  auto html = fmt::format(
      "<header id=\"top\"><h1>Archives</h1><p><span id=\"looked\">{}</span> · pgweir "
      "{}</p></header>\n",
      time_html(looked), escaped(version));
  html += fmt::format(
      "<section id=\"verdict\" class=\"{0}\" data-state=\"{2}, {3}{4}\"><h2><span class=\"sign\" "
      "aria-hidden=\"true\">{1}</span> <span class=\"word\">{2}</span> <span class=\"title\">{3}"
      "</span></h2></section>\n",
      words.name, words.sign, words.word, fleet_title(rows), kinds_words(rows));
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
