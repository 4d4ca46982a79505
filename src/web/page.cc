// The web page is generated from one value (`web::Facts`) by pure functions, the same for the
// browser, for the script that refreshes it (which only inserts what the server has generated), and
// for `status --html`. Drawings use percent for positions and pixels for heights, so that text
// keeps its size on a phone. The page polls every two seconds instead of keeping a connection: no
// limit on connections is needed, and it notices at once when the server does not answer. No
// library draws anything, and the policy allows no inline style or script.

#include "web/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/units.h"
#include "status/backups.h"
#include "status/text.h"
#include "web/assets.h"
#include "web/charts.h"
#include "web/guide.h"
#include "web/html.h"
#include "web/receiver_html.h"
#include "web/tree.h"
#include "web/words.h"

namespace weir::web {

namespace {

std::string section(std::string_view id, std::string_view heading, std::string_view content) {
  if (content.empty()) return {};
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-h\"><h2 id=\"{0}-h\">{1}</h2>\n{2}"
      "</section>\n",
      id, heading, content);
}

/// A drawing that can be explored with the arrow keys; the selected shape is described below.
std::string explorable(std::string_view id, std::string_view name, std::string_view content) {
  return fmt::format(
      "<div class=\"explore\" id=\"{}\" tabindex=\"0\" role=\"group\" aria-label=\"{}: use the "
      "arrow keys\">{}<p class=\"says-now\" aria-live=\"polite\">&nbsp;</p></div>\n",
      id, escaped(name), content);
}

/// Nullopt if the script adds the time that has passed.
std::optional<SystemTime> moment_of(const Facts& facts, Mode mode) {
  return mode == Mode::single ? std::optional(facts.now) : std::nullopt;
}

std::string chapter_html(const status::TopicWords& topic, Mode mode) {
  if (mode == Mode::live) return chapter_link(topic.page, topic.chapter);
  return fmt::format("docs/{}.md: {}", topic.page, escaped(topic.chapter));
}

std::string finding_html(const status::Finding& finding, const Facts& facts, Mode mode) {
  const bool bad = finding.level != status::Level::ok;
  // A remark is neither trouble nor good news: "OK" before it would approve of it.
  if (!bad)
    return fmt::format("<p class=\"what\"><span class=\"badge note\">NOTE</span> {}</p>",
                       escaped(finding.text));
  auto html =
      fmt::format("<p class=\"what\">{} {}", badge_html(finding.level), escaped(finding.text));
  if (finding.since)
    html += fmt::format(" <span class=\"aside-note\">since {}</span>",
                        since_html(*finding.since, moment_of(facts, mode)));
  html += "</p>";
  const auto words = status::words_of(finding.topic);
  html += fmt::format(
      "<p class=\"todo\"><b>What to do:</b> {} <span class=\"chapter\">{}"
      "</span></p>",
      escaped(words.hint), chapter_html(words, mode));
  for (const auto& command : finding.commands)
    html += fmt::format("<p class=\"command\"><code>{}</code></p>", escaped(command));
  return html;
}

/// True if a finding says that WAL in the archive's range is missing, or of no use.
bool has_bad_wal(const status::Verdict& verdict) {
  using status::Topic;
  return std::any_of(verdict.findings.begin(), verdict.findings.end(), [](const auto& finding) {
    return finding.level == status::Level::critical &&
           (finding.topic == Topic::hole || finding.topic == Topic::damage ||
            finding.topic == Topic::verify);
  });
}

/// What would be lost with the server.
std::string exposure_html(const Facts& facts, Mode mode) {
  const auto& report = facts.report;
  const auto& receiver = report.receiver;
  std::string html;
  if (receiver && receiver->is_cut_off()) {
    html = "<b>what its primary has written since " +
           since_html(*receiver->cut_off_since, moment_of(facts, mode)) + "</b>";
    // (Until a message arrives, the end of the server's WAL is not known.)
  } else if (receiver && receiver->stream && !receiver->outage_since) {
    const auto lag = receiver->lag().value_or(0);
    if (lag == 0)
      html = has_bad_wal(facts.verdict)
                 ? "<b>nothing more</b> than the WAL that is missing or damaged already"
                 : "<b>nothing</b>: all of its WAL is durable here";
    else
      html = fmt::format("<b>{}</b> of WAL, {}", format_size(lag),
                         receiver->lag_time
                             ? "that of the last " + format_duration(*receiver->lag_time)
                             : std::string("from before this connection on"));
  } else if (receiver && receiver->outage_since) {
    html = "<b>all WAL written since " +
           since_html(*receiver->outage_since, moment_of(facts, mode)) + "</b>";
  } else if (!report.windows.empty() && report.windows.front().to_time) {
    html = "<b>all WAL written since the last commit here, " +
           since_html(report.windows.front().to_time->system_time(), moment_of(facts, mode)) +
           "</b>";
  } else {
    html = "<b>all WAL that is not here</b>";
  }
  html = "<p class=\"exposure\">If the server were lost now, this would be missing: " + html + ".";
  if (receiver && receiver->stream && !report.windows.empty() && report.windows.front().to_time)
    html += " The newest commit here is of " +
            since_html(report.windows.front().to_time->system_time(), moment_of(facts, mode)) + ".";
  return html + "</p>";
}

/// Level and topics of the findings, without figures: a screen reader announces it when this
/// changes.
std::string state_words(const status::Verdict& verdict) {
  std::string words(words_of(verdict.level).word);
  for (const auto& finding : verdict.findings)
    if (finding.level != status::Level::ok)
      words += fmt::format(", {}", status::to_string(finding.topic));
  return words;
}

/// Follows the verdict's word. Without viewers, the last check of the directory may be a minute
/// old: then its time is shown.
std::string title_beside(const Facts& facts) {
  constexpr std::chrono::seconds kNews(10);
  const auto level = facts.verdict.level;
  if (level == status::Level::ok && facts.now - facts.looked > kNews)
    return "as of " + time_html(facts.looked) + ", when the directory was last looked at";
  return std::string(words_of(level).title);
}

std::string verdict_html(const Facts& facts, Mode mode) {
  const auto& verdict = facts.verdict;
  const auto words = words_of(verdict.level);
  std::string list;
  // What is worst stands first; of a hundred the others are in the text below.
  constexpr std::size_t kMost = 12;
  for (std::size_t i = 0; i < std::min(kMost, verdict.findings.size()); ++i)
    list += fmt::format("<li>{}</li>\n", finding_html(verdict.findings[i], facts, mode));
  if (verdict.findings.size() > kMost)
    list +=
        fmt::format("<li>and {} more, in the text below</li>\n", verdict.findings.size() - kMost);
  std::string summary;
  if (verdict.level == status::Level::ok) {
    const auto lag = status::lag_of(facts.report);
    if (const auto& receiver = facts.report.receiver)
      summary = fmt::format("<p class=\"summary\">Streaming from {}, durable up to {}{}.</p>",
                            escaped(receiver->server),
                            receiver->stream ? receiver->stream->flush.to_string() : "",
                            !lag        ? ""
                            : *lag == 0 ? ", caught up"
                                        : ", " + format_size(*lag) + " behind");
  }
  return fmt::format(
      "<section id=\"verdict\" class=\"{0}\" data-state=\"{6}\" aria-labelledby=\"verdict-h\">"
      "<h2 id=\"verdict-h\"><span class=\"sign\" aria-hidden=\"true\">{1}</span> <span "
      "class=\"word\">{2}</span> <span class=\"title\">{3}</span></h2>\n{4}{5}</section>\n",
      words.name, words.sign, words.word, title_beside(facts), summary + exposure_html(facts, mode),
      list.empty() ? "" : "<ul class=\"findings\">\n" + list + "</ul>\n",
      escaped(state_words(verdict)));
}

std::string place(wal::Lsn lsn, const std::optional<wal::PgTime>& time) {
  if (!time) return lsn.to_string();
  return fmt::format("{} ({})", time_html(time->system_time()), lsn);
}

std::string last_check_html(const archive::LastCheck& last, std::string_view of_a_part) {
  const auto range = last.range();
  return fmt::format(
      "{}{}{}: {}", time_html(last.time), range.empty() ? "" : ", " + range,
      last.whole ? "" : of_a_part,
      last.passed ? std::string("passed") : "<b>✕ " + escaped(status::result_of(last)) + "</b>");
}

/// The basis of the recovery windows.
std::string basis_html(const Facts& facts) {
  const auto& report = facts.report;
  auto html = std::string("<p class=\"basis\">This is based on names and sizes of the files. ");
  html += report.last_verify
              ? "Their records were last verified at " +
                    last_check_html(*report.last_verify, " (a part of the archive)") + ". "
              : "<b>Their records were not verified</b>: no \"pgweir verify\" is recorded. ";
  html += report.last_drill
              ? "Last drill, of " + escaped(report.last_drill->backup) + ": " +
                    last_check_html(*report.last_drill, " (not to the end of the archive)") + "."
              : "No \"pgweir drill\" is recorded.";
  return html + "</p>\n";
}

std::string windows_html(const Facts& facts) {
  std::string html;
  constexpr std::size_t kMost = 6;
  const auto& windows = facts.report.windows;
  const auto& verified = facts.report.last_verify;
  for (std::size_t i = 0; i < std::min(kMost, windows.size()); ++i) {
    const auto& window = windows[i];
    html += fmt::format(
        "<li>On timeline {}: a backup that began at {} or later can be recovered to any point in "
        "time up to {}{}{}.</li>\n",
        window.timeline, place(window.from, window.from_time), place(window.to, window.to_time),
        window.before_minimal_wal ? ", <b>where wal_level was lowered to minimal</b>"
        : window.newest           ? ""
                                  : ", <b>where WAL is missing</b>",
        window.stored_from ? fmt::format("; with the object store, one that began at {} or later",
                                         *window.stored_from)
                           : std::string());
  }
  if (windows.size() > kMost) html += fmt::format("<li>and {} more</li>\n", windows.size() - kMost);
  return html.empty() ? "<p>No WAL that a backup could be recovered with.</p>\n"
                      : (verified && !verified->passed
                             ? fmt::format("<p>{} The last verification failed: recovery may end "
                                           "earlier than shown here.</p>\n",
                                           badge_html(status::Level::critical))
                             : std::string()) +
                            "<ul>\n" + html + "</ul>\n" + basis_html(facts);
}

std::string wal_of(const status::StatusReport::Backup& backup) {
  if (!backup.start.valid()) return {};
  return backup.end ? fmt::format("{} to {}", backup.start, *backup.end)
                    : fmt::format("from {}", backup.start);
}

std::string backups_html(const Facts& facts, Mode mode) {
  const auto& report = facts.report;
  std::string html;
  if (report.backups_error)
    html += fmt::format("<p>{} Backups could not be listed: {}</p>\n",
                        badge_html(status::Level::warning), escaped(*report.backups_error));
  if (report.backups.empty())
    return html +
           "<p><b>No base backup is known</b>, and without one nothing can be recovered: there "
           "is no .backup file in the archive, and --backups does not name a directory that "
           "contains one.</p>\n";
  if (std::none_of(report.backups.begin(), report.backups.end(), [&](const auto& backup) {
        return status::window_of(report, backup) != nullptr;
      }))
    html += fmt::format("<p>{} None of these backups can be recovered with this archive.</p>\n",
                        badge_html(status::Level::warning));
  html +=
      "<div class=\"scroll\"><table><tr><th scope=\"col\">backup</th><th scope=\"col\">kind</th>"
      "<th scope=\"col\">size</th><th scope=\"col\">begun</th><th scope=\"col\">timeline</th>"
      "<th scope=\"col\">WAL</th><th scope=\"col\">can be recovered to</th></tr>\n";
  constexpr std::size_t kMost = 20;
  const auto count = report.backups.size();
  for (std::size_t i = 0; i < std::min(kMost, count); ++i) {
    const auto& backup = report.backups[count - 1 - i];
    const auto* const window = status::window_of(report, backup);
    html += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        (backup.label.empty() ? "" : "<b>" + escaped(backup.label) + "</b><br>") +
            escaped(backup.name),
        escaped(status::kind_of(backup)), backup.bytes ? format_size(*backup.bytes) : "",
        backup.began ? since_html(backup.began->system_time(), moment_of(facts, mode)) : "",
        backup.start.valid() ? std::to_string(backup.timeline) : "", wal_of(backup),
        window != nullptr ? place(window->to, window->to_time) +
                                (backup.start < window->from ? ", with the object store" : "")
                          : "<b>✕ nothing: " + escaped(status::why_not(report, backup)) + "</b>");
  }
  html += "</table></div>\n";
  if (count > kMost) html += fmt::format("<p>and {} older ones</p>\n", count - kMost);
  return html;
}

std::string tree_html(const Facts& facts) {
  const auto svg = tree_svg(lay_out(facts.report));
  if (svg.empty()) return {};
  return explorable("tree-x", "Timelines", svg) +
         "<p class=\"legend\"><span><i class=\"wal\"></i> archived</span> <span><i "
         "class=\"partial\"></i> unfinished (.partial)</span> <span><i class=\"stored\"></i> "
         "in the object store alone</span> <span><i class=\"hole\"></i> ✕ missing</span> <span><i "
         "class=\"lost\"></i> left behind by a failover</span> <span>◆ backup, and up to where "
         "it can be recovered</span></p>\n";
}

std::string charts_html(const Facts& facts) {
  if (!facts.history) return {};  // an empty one has its place, too: nothing moves when it fills
  std::string html = "<div class=\"charts\">\n";
  int number = 0;
  for (const auto& chart : charts_of(*facts.history, facts.now))
    html += fmt::format(
        "<figure><figcaption><b>{}</b> <span class=\"now\">now: {}</span></figcaption>{}"
        "</figure>\n",
        escaped(chart.title), escaped(chart.now),
        explorable(fmt::format("chart-{}", ++number), chart.title, chart_svg(chart)));
  return html +
         "</div>\n<p class=\"legend\"><span><i class=\"unknown\"></i> nothing is "
         "known</span></p>\n";
}

std::string hours_html(const Facts& facts) {
  const auto held = held_by(facts.report);
  if (!facts.history && !held.commits) return {};
  return explorable("hours-x", "The last 14 days, by hour",
                    days_html(days_of(facts.history.value_or(History()), facts.now, held))) +
         "<p class=\"aside-note\">Streaming times were recorded by the receiver. Whether the WAL "
         "of an hour is in the archive follows from the server positions that it recorded, and "
         "from the times of the first and last commits.</p>\n";
}

std::string troubles_html(const Facts& facts) {
  if (!facts.history || facts.history->events().empty()) return {};
  std::string html = "<ol class=\"events\">\n";
  const auto& events = facts.history->events();
  for (auto event = events.rbegin(); event != events.rend(); ++event)
    html += fmt::format("<li>{}{} <span class=\"{}\">{}</span></li>\n",
                        time_html(SystemTime(std::chrono::seconds(event->last))),
                        event->times > 1
                            ? fmt::format(" ({} times since {})", event->times,
                                          time_html(SystemTime(std::chrono::seconds(event->first))))
                            : "",
                        event->trouble ? "trouble" : "word", escaped(event->text));
  return html + "</ol>\n";
}

std::string header_html(const Facts& facts) {
  const auto name = facts.cluster_name();
  auto html =
      fmt::format("<header id=\"top\"><h1>{}{}</h1><p>", name.empty() ? "" : escaped(name) + " · ",
                  escaped(facts.report.directory));
  if (facts.report.identity)
    html += fmt::format("system {} · segments of {} · ", facts.report.identity->system_identifier,
                        format_size(facts.report.identity->segment_size.bytes()));
  return html + fmt::format("looked at <span id=\"looked\">{}</span> · pgweir {}</p></header>\n",
                            time_html(facts.looked), escaped(facts.version));
}

std::string document(const std::string& head, const std::string& title, const std::string& body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "{}<title>{}</title>\n</head>\n<body>\n{}</body>\n</html>\n",
      head, title, body);
}

constexpr std::string_view kLinks =
    "<link rel=\"icon\" href=\"icon.svg\">\n<link rel=\"stylesheet\" href=\"style.css\">\n";

}  // namespace

std::string main_html(const Facts& facts, Mode mode) {
  return header_html(facts) + verdict_html(facts, mode) +
         section("receiver", "Receiver", receiver_html(facts, mode == Mode::single)) +
         section("archive", "Archive", archive_html(facts)) +
         section("recovery", "What can be recovered",
                 windows_html(facts) + backups_html(facts, mode)) +
         section("timelines", "Timelines", tree_html(facts)) +
         section("figures", "The last six hours (UTC), sampled every 10 s", charts_html(facts)) +
         section("hours", "WAL of the last 14 days", hours_html(facts)) +
         section("failover", "Failover", candidates_html(facts)) +
         section("downstream", "Downstream", downstream_html(facts)) +
         section("troubles", "What happened", troubles_html(facts)) +
         section(
             "text", "All of it as text",
             fmt::format("<details id=\"text-d\"{}><summary>pgweir status</summary><pre>{}</pre>"
                         "</details>\n",
                         mode == Mode::single ? " open" : "",
                         escaped(status::status_text(facts.report, 100, true))));
}

std::string title_of(const Facts& facts) {
  const auto name = facts.cluster_name();
  return fmt::format("{} · {}{} · pgweir", words_of(facts.verdict.level).word,
                     name.empty() ? "" : name + " · ", facts.report.directory);
}

std::string page_html(const Facts& facts, Mode mode) {
  const auto title = escaped(title_of(facts));
  if (mode == Mode::live) return live_html(title, main_html(facts, mode));
  return document(
      fmt::format("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src 'unsafe-inline'\">\n<style>\n{}</style>\n",
                  kStyle),
      title, fmt::format("<main id=\"main\">\n{}</main>\n", main_html(facts, mode)));
}

std::string live_html(const std::string& title, const std::string& main, std::string_view before) {
  return document(std::string(kLinks) + "<script src=\"app.js\" defer></script>\n", title,
                  "<p id=\"lost\" role=\"alert\" hidden></p>\n<p id=\"news\" class=\"aside\" "
                  "role=\"status\"></p>\n" +
                      std::string(before) + "<main id=\"main\">\n" + main +
                      "</main>\n"
                      "<noscript><p>Without JavaScript, this page is not updated automatically: "
                      "reload it.</p></noscript>\n");
}

std::string frame_html(const std::string& title, const std::string& main) {
  return document(std::string(kLinks), title, "<main class=\"guide\">\n" + main + "</main>\n");
}

std::string login_html(bool refused) {
  return frame_html(
      "pgweir",
      fmt::format("<section id=\"login\"><h2>pgweir</h2>\n{}<form method=\"post\" action=\"login\">"
                  "<label for=\"token\">Token (the content of --web-token-file)</label>"
                  "<input id=\"token\" name=\"token\" type=\"password\" "
                  "autocomplete=\"current-password\" autofocus required>"
                  "<button>Log in</button></form></section>\n",
                  refused ? "<p role=\"alert\"><b>✕ Wrong token.</b></p>\n" : ""));
}

}  // namespace weir::web
