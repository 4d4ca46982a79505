#include "status/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "status/backups.h"
#include "status/store_side.h"
#include "wal/page.h"
#include "wal/pg_time.h"

namespace weir::status {

namespace {

/// Below this number of segments, free space is a warning.
constexpr std::uint64_t kFewSegments = 8;
/// Another archive or a server's pg_wal is the source.
constexpr const char* kReplaceDamaged = "pgweir import -D DIRECTORY --replace-damaged SOURCE";

void append(std::vector<Finding> more, Verdict& verdict) {
  std::move(more.begin(), more.end(), std::back_inserter(verdict.findings));
}

/// With what the last one has read, too.
std::string verify_command(const std::optional<archive::LastCheck>& last) {
  using Beside = archive::LastCheck::Beside;
  std::string command = "pgweir verify -D DIRECTORY";
  if (last && last->beside == Beside::store) return command + " --store URL";
  if (last && last->beside == Beside::archive) return command + " --compare-archive ARCHIVE";
  return command;
}

/// What the last verification and the last drill found, and that they were not too long ago.
void judge_last_check(const StatusReport& report, const std::optional<archive::LastCheck>& last,
                      const std::optional<std::chrono::milliseconds>& most, Topic topic,
                      Verdict& verdict) {
  const auto* const noun = topic == Topic::verify ? "verification" : "drill";
  const auto add = [&](Level level, std::string text) {
    verdict.findings.push_back({level, std::move(text), topic});
    verdict.findings.back().commands = {
        topic == Topic::verify ? verify_command(last)
                               : "pgweir drill -D DIRECTORY --backup " +
                                     (last && !last->backup.empty() ? shell_word(last->backup)
                                                                    : std::string("BACKUP"))};
    if (last) verdict.findings.back().since = last->time;
    if (topic == Topic::verify && level == Level::critical && last &&
        last->beside == archive::LastCheck::Beside::none)
      verdict.findings.back().commands.emplace_back(kReplaceDamaged);
  };
  if (last && !last->passed)
    add(Level::critical,
        fmt::format(
            "the last {} failed{}{}", noun,
            last->problems > 1 ? fmt::format(" ({} problems)", last->problems) : std::string(),
            last->problem.empty() ? "" : ": " + last->problem));
  if (!most || report.taken == decltype(report.taken)()) return;
  if (!last)
    add(Level::warning, fmt::format("no {} is recorded", noun));
  else if (topic == Topic::verify && last->passed && !last->whole)
    add(Level::warning, "no verification of the whole archive is recorded");
  else if (report.taken - last->time > *most)
    add(Level::warning,
        fmt::format("the last {} was more than {} ago", noun, format_duration(*most)));
  else if (last->time - report.taken > kClockTolerance) {
    add(Level::warning,
        fmt::format("it is unknown how long ago the last {} was: its time is in the future", noun));
    verdict.findings.back().since.reset();
  }
}

/// Without --max-backup-age, only if backups were searched, one must be there.
void judge_backups(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  const auto warn = [&](std::string text) {
    verdict.findings.push_back({Level::warning, std::move(text), Topic::backup});
    const auto& places = report.backup_places;
    const auto to = " --to " + (places.size() == 1 ? shell_word(places[0]) : "BACKUPS");
    verdict.findings.back().commands = {"pgweir backup -D DIRECTORY --list" + to,
                                        "pgweir backup -D DIRECTORY -d CONNINFO" + to};
  };
  if (report.backups_error)
    return warn("base backups could not be listed: " + *report.backups_error);
  if (report.backup_places.empty() && !limits.max_backup_age) return;
  auto all = report.backups;
  // The archive may have the history file of a backup that was removed, or never was in there.
  if (!report.backup_places.empty())
    std::erase_if(all, [](const auto& each) { return !each.format; });
  const auto counts = [&](const auto& each) { return window_of(report, each) != nullptr; };
  if (std::none_of(all.begin(), all.end(), counts))
    return warn(all.empty() ? "there is no base backup"
                            : fmt::format("no base backup can be recovered with this archive; {}: "
                                          "{}",
                                          all.back().name, why_not(report, all.back())));
  if (!limits.max_backup_age) return;
  std::optional<std::chrono::milliseconds> youngest;
  for (const auto& each : all)
    if (const auto age = age_of(report, each); age && counts(each))
      youngest = std::min(youngest.value_or(*age), *age);
  if (!youngest) return warn("the start time of the newest base backup is unknown");
  if (*youngest <= *limits.max_backup_age) return;
  warn(
      fmt::format("the newest base backup that can be recovered with this archive began more than "
                  "{} ago",
                  format_duration(*limits.max_backup_age)));
  verdict.findings.back().since = report.taken - *youngest;
}

std::optional<std::chrono::system_clock::time_point> time_of(const std::string& text) {
  const auto time = wal::PgTime::parse(text);
  return time ? std::optional(time->system_time()) : std::nullopt;
}

/// The directory, known here.
void fill_in(const std::string& directory, std::vector<Finding>& found) {
  constexpr std::string_view kPlaceholder = "DIRECTORY";
  for (auto& finding : found)
    for (auto& command : finding.commands)
      if (const auto at = command.find(kPlaceholder); at != std::string::npos)
        command.replace(at, kPlaceholder.size(), shell_word(directory));
}

std::string ack_command(const std::string& id) {
  return "pgweir ack -D DIRECTORY " + shell_word(id);
}

void judge_receiver(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  if (report.receiver_error) {
    verdict.findings.push_back({report.receiver_silent ? Level::critical
                                : report.receiver_mute ? Level::warning
                                                       : Level::unknown,
                                *report.receiver_error, Topic::receiver_silent});
    verdict.findings.back().commands = {"journalctl -u 'pgweir@*' -n 50", "dmesg --level err,warn"};
    return;
  }
  if (report.receiver) {
    if (!report.receiver->disk_full_since) append(space_findings(report, limits), verdict);
    // The server's own answer about the lag counts more: see lag_of().
    auto of_receiver = limits;
    of_receiver.max_lag.reset();
    append(findings(*report.receiver, of_receiver), verdict);
    return;
  }
  // A store does not show which receiver fills it; nor does a directory that hangs.
  if (report.silent_since) return;
  if (limits.must_judge && (is_store_alone(report) || limits.at_rest) &&
      (limits.max_age || limits.max_lag_time || limits.max_outage)) {
    verdict.findings.push_back({Level::unknown,
                                "it is unknown whether WAL streams: --max-age, --max-lag-time and "
                                "--max-outage need a receiver that runs here",
                                Topic::no_receiver});
    verdict.findings.back().commands = {"systemctl status 'pgweir@*'"};
  }
  if (is_store_alone(report)) return;
  // Something else may write there, such as an archive_command.
  if (limits.min_free || limits.min_free_time) append(space_findings(report, limits), verdict);
  if (limits.at_rest) return;
  verdict.findings.push_back({Level::critical,
                              fmt::format("no receiver runs on the archive{}",
                                          report.ended ? "; " + report.ended->text() : ""),
                              Topic::no_receiver});
  if (report.ended) verdict.findings.back().since = time_of(report.ended->time);
  verdict.findings.back().commands = {"systemctl status 'pgweir@*'"};
}

/// A receiver fills a new archive; that none runs is judged elsewhere. An archive at rest without
/// WAL is a wrong path, or a file system that is not mounted. (A store that has its record of the
/// cluster is a receiver's, and it is not known here whether that one has finished a segment yet.)
/// A receiver whose server is idle does not notice that its files were removed.
void judge_content(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  if (limits.must_judge && report.receiver && report.receiver->archived_bytes > 0 &&
      report.timelines.empty() && report.damaged.empty() && !is_store_alone(report)) {
    verdict.findings.push_back(
        {Level::critical, "no WAL is here, although the receiver has written some", Topic::no_wal});
    verdict.findings.back().commands = {"ls -la DIRECTORY"};
    return;
  }
  if (is_store_alone(report) ? report.identity.has_value() : !limits.at_rest) return;
  if (!report.timelines.empty() || report.receiver || report.receiver_error ||
      report.silent_since || !report.damaged.empty() ||
      (report.store && !report.store->error.empty()))
    return;
  verdict.findings.push_back({Level::critical, "no WAL is here", Topic::no_wal});
  verdict.findings.back().commands = {
      is_store_alone(report) ? check_store({}) : std::string("findmnt --target DIRECTORY")};
}

/// What a receiver says of sending is judged with it: this is what the check itself has seen.
void judge_store(const StatusReport& report, const Limits& limits, Verdict& verdict) {
  const auto add = [&](Level level, std::string text) {
    verdict.findings.push_back({level, std::move(text), Topic::store});
    verdict.findings.back().commands = {
        check_store(report.receiver ? report.receiver->config : std::string())};
  };
  if (report.store && !report.store->error.empty())
    add(Level::warning, "the store could not be read: " + report.store->error);
  if (report.store && report.store->manifest && !report.store->manifest->sound()) {
    const auto& found = report.store->manifest->findings;
    add(Level::critical,
        fmt::format("the store and its manifests do not match{}: {}",
                    found.size() > 1 ? fmt::format(" ({} problems)", found.size()) : std::string(),
                    found.front()));
    verdict.findings.back().commands = {"pgweir verify --store URL"};
  }
  if (report.store && report.store->manifest && report.store->manifest->frozen > 0)
    add(Level::warning, frozen_text(*report.store->manifest));
  if (!limits.max_store_age) return;
  if (is_store_alone(report)) {
    // What waits for its upload is not known here, only what has arrived.
    const auto& age = report.store->newest_age;
    if (age && *age > *limits.max_store_age)
      add(Level::critical,
          fmt::format("the newest WAL in the store was uploaded {} ago", format_duration(*age)));
    else if (!age && report.store->error.empty() && limits.must_judge)
      add(Level::unknown, "it is unknown when the newest WAL in the store was uploaded");
    return;
  }
  auto oldest = report.store ? report.store->oldest_pending_age : std::nullopt;
  if (report.receiver && report.receiver->store)
    oldest = std::max(oldest, report.receiver->store->oldest_pending(report.receiver->taken));
  else if (limits.must_judge && !report.store && (report.receiver || limits.at_rest))
    add(Level::unknown,
        "it is unknown whether a store has the finished WAL: neither the receiver nor --store "
        "names one");
  if (oldest && *oldest > *limits.max_store_age)
    add(Level::critical, fmt::format("finished WAL has not been sent to the store for {}",
                                     format_duration(*oldest)));
}

void judge_relays(const StatusReport& report, Verdict& verdict) {
  const auto warn = [&](std::string text) {
    verdict.findings.push_back({Level::warning, std::move(text), Topic::relay});
  };
  const std::string list = "pgweir slot list -D DIRECTORY";
  for (const auto& error : report.relay_errors) {
    warn(error);
    verdict.findings.back().commands = {"pgweir status -D DIRECTORY"};
  }
  for (const auto& relay : report.relays) append(findings(relay), verdict);
  if (report.slots_error) {
    warn(*report.slots_error);
    verdict.findings.back().commands = {list};
  }
  for (const auto& slot : report.slots)
    if (auto text = archive::warning_of(slot)) {
      warn(std::move(*text));
      verdict.findings.back().since = time_of(slot.kept.inactive_since);
      verdict.findings.back().commands = {
          list, "pgweir slot drop -D DIRECTORY -S " + shell_word(slot.kept.name)};
    }
}

void judge_upstream(const StatusReport& report, Verdict& verdict) {
  const auto add = [&](Level level, std::string text, Topic topic) {
    verdict.findings.push_back({level, std::move(text), topic});
    verdict.findings.back().commands = {
        topic == Topic::server_unreachable ? "pgweir doctor -D DIRECTORY -d CONNINFO"
        : topic == Topic::slot             ? "pgweir slot list -d CONNINFO"
                                           : "pgweir status -D DIRECTORY -d CONNINFO"};
  };
  if (report.upstream_error)
    add(Level::unknown, fmt::format("the server could not be queried: {}", *report.upstream_error),
        Topic::server_unreachable);
  if (!report.upstream) return;
  const auto& upstream = *report.upstream;
  if (report.identity && report.identity->system_identifier != upstream.system_identifier)
    add(Level::critical, "the server and the archive belong to different clusters",
        Topic::other_cluster);
  if (report.branch)
    if (const auto remark = archive::remark_on(*report.branch, place_of(upstream));
        !remark.what.empty())
      add(remark.loss ? Level::critical : Level::warning, remark.what, Topic::branch);
  const auto not_checked = [&](std::string what) {
    add(Level::unknown, std::move(what), Topic::slot);
    verdict.findings.back().commands = {"pgweir doctor -D DIRECTORY -d CONNINFO"};
  };
  if (!upstream.slot) {
    if (upstream.slot_error)
      not_checked("the replication slot could not be checked: " + *upstream.slot_error);
    return;
  }
  const auto& slot = *upstream.slot;
  if (!slot.exists)
    add(Level::critical, fmt::format("the server has no slot \"{}\"", slot.name), Topic::slot);
  else if (slot.wal_status == "lost")
    add(Level::critical,
        fmt::format("the slot \"{}\" has lost WAL that it should retain", slot.name), Topic::slot);
  else if (slot.wal_status == "unreserved")
    add(Level::warning, fmt::format("the slot \"{}\" is about to lose WAL", slot.name),
        Topic::slot);
  else if (!slot.restart_lsn)
    add(Level::critical, fmt::format("the slot \"{}\" reserves no WAL", slot.name), Topic::slot);
  else if (!slot.wal_status && !slot.unseen_invalidation.empty())
    not_checked(fmt::format(
        "the slot \"{}\" could not be checked: only an ordinary connection shows whether {} has "
        "invalidated it ({})",
        slot.name, slot.unseen_invalidation, upstream.slot_error.value_or("none")));
}

/// The first and the last one; nullopt: the segment size is unknown.
std::optional<std::pair<wal::SegmentName, wal::SegmentName>> missing_segments(
    const StatusReport& report, const StatusReport::Hole& hole) {
  if (!report.segment_size || hole.segments == 0 || hole.to <= hole.from) return std::nullopt;
  const auto& size = *report.segment_size;
  const auto history = report.histories.history(hole.timeline);
  const auto name = [&](wal::Lsn at) {
    const auto segno = size.segno(at);
    const auto timeline =
        history ? archive::timeline_of_segment(*history, segno, size) : hole.timeline;
    return wal::SegmentName(timeline, segno, size);
  };
  return std::pair(name(hole.from), name(wal::Lsn(hole.to.byte() - 1)));
}

/// Whose segments are missing, and for which timeline they are needed:
/// "timeline 2, on the way to timeline 3".
std::string timeline_words(const StatusReport& report, const StatusReport::Hole& hole) {
  const auto ends = missing_segments(report, hole);
  const auto first = ends ? ends->first.timeline() : hole.timeline;
  const auto last = ends ? ends->second.timeline() : hole.timeline;
  auto words = first == last ? fmt::format("timeline {}", first)
                             : fmt::format("timelines {} to {}", first, last);
  if (last != hole.timeline) words += fmt::format(", on the way to timeline {}", hole.timeline);
  return words;
}

std::string performance_data(const StatusReport& report, const Limits& limits) {
  const auto lag = lag_of(report);
  std::string text = "lag=";
  text += lag ? fmt::format("{}B", *lag) : "U";
  text += fmt::format(";;{};0", limits.max_lag ? fmt::to_string(*limits.max_lag) : "");
  text += " age=";
  const auto seconds = [](std::chrono::milliseconds time) {
    return fmt::format("{:.3f}", static_cast<double>(time.count()) / 1000);
  };
  const auto silence = report.receiver ? report.receiver->silence : std::nullopt;
  text += silence ? seconds(*silence) + "s" : "U";
  text += fmt::format(";;{};0", limits.max_age ? seconds(*limits.max_age) : "");
  std::uint64_t missing = 0;
  std::uint64_t segments = 0;
  std::uint64_t bytes = 0;
  for (const auto& hole : report.holes)
    if (!hole.acknowledged) missing += hole.segments;
  for (const auto& one : report.timelines) {
    segments += one.segments;
    for (const auto& [method, form] : one.forms) bytes += form.bytes;
  }
  const auto free = is_store_alone(report) ? "U" : fmt::format("{}B", report.free_bytes);
  text += fmt::format(" missing={};;0;0 segments={};;;0 size={}B;;;0 free={};;;0", missing,
                      segments, bytes, free);
  return text;
}

}  // namespace

/// The receiver can stream for a while without free space, into files that are allocated already:
/// only then is it critical unasked.
std::vector<Finding> space_findings(const StatusReport& report, const Limits& limits) {
  const auto found = [](Level level, const std::string& text) {
    return std::vector<Finding>{{.level = level,
                                 .text = text,
                                 .topic = Topic::disk_full,
                                 .public_text = level == Level::critical ? text : std::string(),
                                 .commands = space_commands()}};
  };
  if (limits.min_free && report.free_bytes < *limits.min_free)
    return found(Level::critical,
                 fmt::format("the disk is nearly full: {} free, less than {}",
                             format_size(report.free_bytes), format_size(*limits.min_free)));
  if (report.segment_size) {
    const auto segments = report.free_bytes / report.segment_size->bytes();
    if (segments < kFewSegments)
      return found(segments == 0 ? Level::critical : Level::warning,
                   fmt::format("the disk is nearly full: {} free, room for {}",
                               format_size(report.free_bytes), counted(segments, "segment")));
  }
  if (!report.full_in || *report.full_in >= limits.min_free_time.value_or(kFullIn)) return {};
  return found(limits.min_free_time ? Level::critical : Level::warning,
               fmt::format("the disk will be full in {} at the rate of the last day: {} free",
                           format_duration(*report.full_in), format_size(report.free_bytes)));
}

Verdict check(const StatusReport& report, const Limits& limits) {
  Verdict verdict;
  const auto add = [&](Level level, std::string text, Topic topic) {
    verdict.findings.push_back({level, std::move(text), topic});
  };
  const auto known = [](const std::optional<archive::Loss::Acknowledgement>& acknowledged) {
    return acknowledged ? fmt::format(", acknowledged by {}", acknowledged->who) : std::string();
  };
  const auto settle = [&](const std::string& id, const std::string& found, const auto& acknowledged,
                          const std::string& first) {
    auto& finding = verdict.findings.back();
    finding.since = time_of(found);
    if (acknowledged) return;
    finding.commands.push_back(first);
    if (!id.empty()) finding.commands.push_back(ack_command(id));
  };
  for (const auto& hole : report.holes) {
    const auto names = missing_names(report, hole);
    add(hole.acknowledged ? Level::ok : Level::critical,
        fmt::format("{} missing from {} to {} ({}{}){}", counted(hole.segments, "segment"),
                    hole.from, hole.to, timeline_words(report, hole), known(hole.acknowledged),
                    names.empty() ? "" : ": " + names),
        Topic::hole);
    settle(hole.id, hole.found, hole.acknowledged, "pgweir import -D DIRECTORY SOURCE");
  }
  for (const auto& loss : report.lost_branches) {
    add(loss.acknowledged ? Level::ok : Level::critical,
        fmt::format(
            "a failover lost {} from {} to {} of timeline {}{}{}",
            format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline,
            loss.commits ? " with " + archive::transactions_text(*loss.commits, loss.prepared) : "",
            known(loss.acknowledged)),
        Topic::lost_branch);
    settle(loss.id(), loss.found, loss.acknowledged,
           fmt::format("pgweir recover -D DIRECTORY --backup BACKUPS --timeline {} --into NEW "
                       "--dry-run",
                       loss.timeline));
  }
  for (const auto& loss : report.minimal_wal) {
    add(loss.acknowledged ? Level::ok : Level::critical,
        fmt::format("no recovery can pass the WAL written with wal_level=minimal from {} {} "
                    "(timeline {}{})",
                    loss.begin, loss.goes_on ? "on" : fmt::format("to {}", loss.end), loss.timeline,
                    known(loss.acknowledged)),
        Topic::minimal_wal);
    settle(loss.id(), loss.found, loss.acknowledged,
           "pgweir backup -D DIRECTORY -d CONNINFO --to BACKUPS");
  }
  for (const auto& each : report.unvouched) {
    add(Level::warning, each.text(), Topic::not_vouched_for);
    verdict.findings.back().since = time_of(each.found);
    verdict.findings.back().commands = {"pgweir import -D DIRECTORY"};
  }
  for (const auto& each : report.published_open) {
    add(Level::warning, each.text(), Topic::published_open);
    verdict.findings.back().commands = {
        check_store(report.receiver ? report.receiver->config : std::string())};
  }
  for (const auto& what : report.damaged) {
    add(Level::critical, what, Topic::damage);
    verdict.findings.back().commands = {"pgweir verify -D DIRECTORY", kReplaceDamaged};
  }
  if (const auto broken = shown_break(report)) {
    add(Level::warning, text_of(*broken), Topic::damage);
    verdict.findings.back().commands = {"pgweir verify -D DIRECTORY"};
  }
  if (report.silent_since) {
    add(Level::critical, "the check of the archive's directory has not returned",
        Topic::directory_silent);
    verdict.findings.back().since = report.silent_since;
    verdict.findings.back().commands = {"dmesg --level err,warn"};
  }
  if (report.newer_magic)
    add(Level::warning, newer_version_text(*report.newer_magic), Topic::other);
  judge_receiver(report, limits, verdict);
  judge_content(report, limits, verdict);
  judge_store(report, limits, verdict);
  judge_relays(report, verdict);
  judge_upstream(report, verdict);
  judge_last_check(report, report.last_verify, limits.max_verify_age, Topic::verify, verdict);
  judge_last_check(report, report.last_drill, limits.max_drill_age, Topic::drill, verdict);
  judge_backups(report, limits, verdict);
  const auto lag = lag_of(report);
  // An archive at rest has no server, unless one was asked.
  const bool has_server = !limits.at_rest || report.receiver || report.upstream ||
                          report.upstream_error || limits.must_judge;
  if (has_server) judge_lag(lag, limits, verdict.findings);
  if (!is_store_alone(report)) fill_in(report.directory, verdict.findings);

  std::stable_sort(
      verdict.findings.begin(), verdict.findings.end(),
      [](const Finding& a, const Finding& b) { return gravity(a.level) > gravity(b.level); });
  std::string what;
  if (!verdict.findings.empty()) verdict.level = verdict.findings.front().level;
  if (verdict.level == Level::ok) {
    if (const auto& receiver = report.receiver)
      what =
          fmt::format("streaming from {}{}", receiver->server,
                      receiver->stream ? fmt::format(", durable up to {}", receiver->stream->flush)
                                       : std::string());
    else
      what = fmt::format("{} timelines, {} holes", report.timelines.size(), report.holes.size());
    if (lag) what += *lag == 0 ? ", caught up" : fmt::format(", {} behind", format_size(*lag));
  }
  for (const auto& finding : verdict.findings) {
    what += (what.empty() ? "" : "; ") + finding.text;
    if (finding.since && finding.level != Level::ok)
      what += " (since " + format_time(*finding.since) + ")";
  }
  verdict.line = fmt::format("PGWEIR {} - {} | {}", to_string(verdict.level), plugin_text(what),
                             performance_data(report, limits));
  return verdict;
}

std::string missing_names(const StatusReport& report, const StatusReport::Hole& hole) {
  const auto ends = missing_segments(report, hole);
  if (!ends) return {};
  const auto first = ends->first.to_string();
  const auto last = ends->second.to_string();
  return first == last ? first : first + " to " + last;
}

std::string result_of(const archive::LastCheck& last) {
  if (last.passed) return "passed";
  return "FAILED" + (last.problem.empty() ? std::string() : ", " + last.problem);
}

std::string newer_version_text(std::uint16_t magic) {
  return fmt::format(
      "the WAL (page magic 0x{:04X}) is of a newer PostgreSQL than this pgweir knows: it is "
      "archived, and checked as far as the format is still that of PostgreSQL {}; use a newer "
      "pgweir",
      magic, wal::kNewestKnownMajor);
}

std::string plugin_text(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '|', '/');
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

std::string line_without_report(Level level, std::string_view why) {
  return fmt::format("PGWEIR {} - {}", to_string(level), plugin_text(why));
}

}  // namespace weir::status
