#include "status/findings.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "crypto/certificates.h"

namespace weir::status {

namespace {

using SystemTime = std::chrono::system_clock::time_point;

/// " (2 segments wait, 32 MB, the oldest for 3 min)".
std::string waiting_text(const store::StoreView& store, SystemTime now) {
  if (store.pending_segments == 0) return {};
  const auto oldest = store.oldest_pending(now);
  return fmt::format(" ({} wait{}, {}{})", counted(store.pending_segments, "segment"),
                     store.pending_segments == 1 ? "s" : "", format_size(store.pending_bytes),
                     oldest ? ", the oldest for " + format_duration(*oldest) : std::string());
}

/// Told fourteen days before: those of an operator that renews by itself are renewed by then.
/// `file` has the certificate, if it is on this machine.
void judge_certificate(const std::string& what, std::string_view file,
                       std::optional<std::chrono::sys_seconds> expires, SystemTime now,
                       std::vector<Finding>& found) {
  if (!expires) return;
  const auto left = std::chrono::floor<std::chrono::seconds>(*expires - now);
  if (left > crypto::kExpiresSoon) return;
  const bool over = left <= std::chrono::seconds(0);
  found.push_back({over ? Level::critical : Level::warning,
                   fmt::format("{} {} {}{}", what, over ? "expired" : "expires in",
                               format_duration(over ? -left : left), over ? " ago" : ""),
                   Topic::certificate});
  if (!file.empty())
    found.back().commands = {"openssl x509 -noout -subject -issuer -enddate -in " +
                             shell_word(file)};
}

void judge_served_certificate(const archive::ServingView& serving, SystemTime now,
                              std::vector<Finding>& found) {
  if (const auto& shown = serving.certificate)
    judge_certificate("the relay's certificate " + shown->file, shown->file, shown->expires, now,
                      found);
}

/// Standbys get no WAL then, or none after that position. Archiving is not affected.
void judge_serving(const archive::ServingView& serving, std::vector<Finding>& found) {
  if (!serving.problem) return;
  const auto what = serving.end ? fmt::format("clients get no WAL after {}", serving.end->flush)
                                : std::string("the archive is not served to clients");
  found.push_back({serving.problem->needs_person ? Level::critical : Level::warning,
                   what + ": " + serving.problem->text, Topic::serving});
  found.back().since = serving.problem->since;
  found.back().commands = {serving.problem->needs_person ? "pgweir verify -D DIRECTORY"
                                                         : "pgweir status -D DIRECTORY"};
}

using receive::ReceiverView;

/// Since when no WAL streams. A receiver of an earlier version reports only its silence.
std::optional<SystemTime> outage_of(const ReceiverView& receiver) {
  if (receiver.outage_since || !receiver.silence) return receiver.outage_since;
  return std::chrono::floor<std::chrono::seconds>(receiver.taken - *receiver.silence);
}

/// " -h db1 -p 5432"; " -d CONNINFO" while there was no server yet.
std::string host_words(const std::string& server) {
  const auto colon = server.rfind(':');
  if (colon == std::string::npos || colon == 0) return " -d CONNINFO";
  auto host = server.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);  // "[::1]", as -h takes it
  return fmt::format(" -h {} -p {}", shell_word(host), shell_word(server.substr(colon + 1)));
}

std::string slot_words(const ReceiverView& receiver) {
  return receiver.slot ? " -S " + shell_word(*receiver.slot) : std::string();
}

/// That file names server, role and slot.
std::string with_config(const std::string& config) { return " -c " + shell_word(config); }

void ask_doctor(const ReceiverView& receiver, Finding& finding) {
  const auto& config = receiver.config;
  finding.commands = {"pgweir doctor" +
                      (config.empty()
                           ? " -D DIRECTORY" + host_words(receiver.server) + slot_words(receiver)
                           : with_config(config) + " -D DIRECTORY")};
}

void judge_lag_time(const ReceiverView& receiver, const Limits& limits,
                    std::vector<Finding>& found) {
  const auto lag = receiver.lag();
  const auto age = receiver.lag_time ? receiver.lag_time : receiver.lag_at_least;
  if (!lag || *lag == 0 || !age) return;
  if (*age <= limits.max_lag_time.value_or(kLagTime)) return;
  const auto level = limits.max_lag_time ? Level::critical : Level::warning;
  const auto text = fmt::format(
      "{} of the server's WAL is not durable in the archive, the oldest of it written before {}",
      format_size(*lag), format_time(receiver.taken - *age));
  found.push_back({level, text, Topic::lag});
  if (level == Level::critical) found.back().public_text = text;
  found.back().since = std::chrono::floor<std::chrono::seconds>(receiver.taken - *age);
  ask_doctor(receiver, found.back());
}

}  // namespace

std::string check_store(const std::string& config) {
  return "pgweir store check" +
         (config.empty() ? " -D DIRECTORY --store URL" : with_config(config) + " -D DIRECTORY");
}

std::vector<Finding> findings(const receive::ReceiverView& receiver, const Limits& limits) {
  std::vector<Finding> found;
  const auto add = [&](Level level, std::string text, Topic topic) {
    found.push_back({level, std::move(text), topic});
  };
  const auto since = outage_of(receiver);
  const bool long_ago = since && receiver.taken - *since > limits.max_outage.value_or(kOutage);
  // Another stream may have just started, and the first message of an idle server takes a while.
  const bool nothing_arrives = receiver.is_streaming() && receiver.outage_since && long_ago;
  if (receiver.disk_full_since) {
    add(Level::critical, "the disk is full", Topic::disk_full);
    found.back().public_text = found.back().text;
    found.back().since = receiver.disk_full_since;
    found.back().commands = space_commands();
  } else if (!receiver.is_streaming() || nothing_arrives) {
    const auto text = nothing_arrives
                          ? std::string("the receiver streams, but nothing arrives from the server")
                          : "the receiver does not stream: " + receiver.state;
    add(long_ago ? Level::critical : Level::warning,
        text + (receiver.last_error ? ", " + *receiver.last_error : ""), Topic::not_streaming);
    found.back().public_text = text;
    found.back().since = since;
    ask_doctor(receiver, found.back());
  }
  // A warning: it may replay from another archive, and the primary may be idle.
  if (receiver.is_cut_off()) {
    add(Level::warning,
        fmt::format("{} is a standby that receives no WAL from its primary: if the primary has "
                    "newer WAL, it is not archived",
                    receiver.server),
        Topic::other);
    found.back().since = receiver.cut_off_since;
    ask_doctor(receiver, found.back());
  }
  judge_lag_time(receiver, limits, found);
  if (limits.max_age) {
    if (!receiver.silence)
      add(Level::unknown,
          "the receiver does not report when it last received a message from the server",
          Topic::server_silent);
    else if (*receiver.silence > *limits.max_age)
      add(Level::critical,
          fmt::format("no message from the server for {}", format_duration(*receiver.silence)),
          Topic::server_silent);
    if (receiver.silence && *receiver.silence > *limits.max_age) {
      found.back().since =
          std::chrono::floor<std::chrono::seconds>(receiver.taken - *receiver.silence);
      ask_doctor(receiver, found.back());
    }
  }
  if (receiver.slot_warning) {
    add(Level::warning, *receiver.slot_warning, Topic::slot);
    found.back().commands = {"pgweir slot list" + host_words(receiver.server)};
  }
  // No alarm: wal_keep_size or a second archive may be enough, which cannot be seen here.
  if (!receiver.slot)
    add(Level::ok, "no replication slot is used: the server may remove WAL before it is archived",
        Topic::slot);
  for (const auto& candidate : receiver.candidates)
    if (!candidate.covered() && candidate.cover != receive::Cover::not_looked_at) {
      add(Level::warning,
          fmt::format("a failover may leave a gap: {}: {}", candidate.host, candidate.reason),
          Topic::candidate);
      found.back().since =
          candidate.silent_since ? candidate.silent_since : candidate.slot_gone_since;
      found.back().commands = {"pgweir doctor --failover" +
                               (receiver.config.empty()
                                    ? " -D DIRECTORY -d CONNINFO" + slot_words(receiver)
                                    : with_config(receiver.config) + " -D DIRECTORY")};
    }
  const auto& comparison = receiver.comparison;
  if (comparison && comparison->difference) {
    add(Level::critical, *comparison->difference, Topic::difference);
    found.back().since = comparison->difference_time;
    found.back().commands = {"pgweir verify -D DIRECTORY",
                             "pgweir verify -D DIRECTORY --compare-archive ARCHIVE"};
  }
  if (const auto& store = receiver.store; store && store->problem) {
    add(store->problem->needs_person ? Level::critical : Level::warning,
        fmt::format("finished WAL is not sent to the store: {}{}", store->problem->text,
                    waiting_text(*store, receiver.taken)),
        Topic::store);
    found.back().since = store->problem->since;
    found.back().commands = {check_store(receiver.config)};
  }
  const auto& certificates = receiver.certificates;
  judge_certificate("the receiver's certificate " + certificates.client, certificates.client,
                    certificates.client_expires, receiver.taken, found);
  const auto known = found.size();
  judge_certificate("the certificate of the server " + receiver.server, {},
                    certificates.server_expires, receiver.taken, found);
  if (found.size() > known) ask_doctor(receiver, found.back());
  if (receiver.serving) {
    judge_served_certificate(*receiver.serving, receiver.taken, found);
    judge_serving(*receiver.serving, found);
  }
  if (!certificates.problem.empty()) {
    add(Level::warning, "no new connection could be made: " + certificates.problem,
        Topic::certificate);
    ask_doctor(receiver, found.back());
  }
  if (comparison && !comparison->problem.empty()) {
    add(Level::warning, "the second upstream cannot be compared: " + comparison->problem,
        Topic::comparison);
    found.back().commands = {"pgweir doctor" + host_words(comparison->with)};
  }
  if (limits.max_lag) judge_lag(receiver.lag(), limits, found);
  return found;
}

std::vector<std::string> space_commands() {
  return {"pgweir compress -D DIRECTORY",
          "pgweir prune -D DIRECTORY --keep 14d --backups BACKUPS --dry-run"};
}

std::vector<Finding> findings(const archive::Relay& relay) {
  std::vector<Finding> found;
  judge_served_certificate(relay.serving, relay.taken, found);
  judge_serving(relay.serving, found);
  return found;
}

void judge_lag(std::optional<std::uint64_t> lag, const Limits& limits,
               std::vector<Finding>& found) {
  if (!limits.max_lag) return;
  if (!lag) {
    found.push_back({Level::unknown, "it is unknown how far it is behind the server", Topic::lag});
  } else if (*lag > *limits.max_lag) {
    const auto text = format_size(*lag) + " behind the server";
    found.push_back({Level::critical, text, Topic::lag, text});
  } else {
    return;
  }
  found.back().commands = {"pgweir doctor -D DIRECTORY -d CONNINFO"};
}

TopicWords words_of(Topic topic) {
  constexpr std::string_view kGone = "The server no longer has the WAL";
  constexpr std::string_view kArchive = "The archive itself";
  constexpr std::string_view kNotArchiving = "Nothing is archived";
  constexpr std::string_view kWaits = "It waits";
  switch (topic) {
    case Topic::hole:
      return {"hole",
              "Import these segments from another archive or a server's pg_wal with \"pgweir "
              "import\". If no copy exists, take a base backup now, then run \"pgweir ack\".",
              kGone};
    case Topic::lost_branch:
      return {"lost_branch",
              "The archive has this WAL, on its own timeline. To read the lost transactions, "
              "recover to that timeline, then run \"pgweir ack\".",
              kGone};
    case Topic::minimal_wal:
      return {"minimal_wal",
              "Take a base backup now: an earlier one can be recovered only up to where wal_level "
              "was lowered. Then run \"pgweir ack\".",
              kGone};
    case Topic::not_vouched_for:
      return {"not_vouched_for",
              "Import the adjacent WAL with \"pgweir import\", which checks again.", "Import"};
    case Topic::published_open:
      return {"published_open",
              "Readers of complete segments stop there. The complete segment replaces it when it "
              "is uploaded; after a disaster there is none.",
              "An object store"};
    case Topic::damage:
      return {"damage",
              "Run \"pgweir verify\" to see all damage, and copy the named files from another "
              "archive or a server's pg_wal.",
              kArchive};
    case Topic::receiver_silent:
      return {"receiver_silent",
              "Check the disk (dmesg) and the receiver's log for the operation that hangs.",
              kArchive};
    case Topic::directory_silent:
      return {"directory_silent",
              "Check the disk (dmesg), the mount and the network. What else is reported of the "
              "directory is older.",
              kWaits};
    case Topic::no_receiver:
      return {"no_receiver",
              "Start the receiver. Its log shows why it ended; exit status 4 requires manual "
              "intervention. Meanwhile, a slot retains the WAL; without a slot, the server may "
              "remove it at any time.",
              kNotArchiving};
    case Topic::no_wal:
      return {"no_wal",
              "Check that this is the archive's location, and that its file system is mounted; "
              "for an object store, check --store, --store-name and --store-layout.",
              kArchive};
    case Topic::disk_full:
      return {"disk_full",
              "Free space with \"pgweir prune\" or \"pgweir compress\", or add a disk. No WAL is "
              "lost; the receiver resumes automatically.",
              kWaits};
    case Topic::not_streaming:
      return {"not_streaming",
              "See the last error below; \"pgweir doctor\" finds the cause. The receiver retries "
              "automatically.",
              kNotArchiving};
    case Topic::server_silent:
      return {"server_silent",
              "Check the network and the server. Even an idle server sends messages.",
              kNotArchiving};
    case Topic::slot:
      return {"slot",
              "The server may invalidate the slot, which leaves a gap. Start the receiver, raise "
              "max_slot_wal_keep_size, and check the slot with \"pgweir slot list\".",
              kGone};
    case Topic::candidate:
      return {"candidate",
              "A failover to that host may leave a gap. The chapter describes what to do for each "
              "reason.",
              "Slots on every server", "ha"};
    case Topic::difference:
      return {"difference",
              "Two servers have different WAL at the same position. Find out which one is right "
              "before you restore anything: verify the archive, then compare it with a third copy.",
              "When a difference is found", "compare"};
    case Topic::comparison:
      return {"comparison",
              "Archiving continues; only the comparison is interrupted. Check the second upstream.",
              "Drills and the second upstream"};
    case Topic::store:
      return {"store",
              "Archiving to disk continues, and uploads are retried indefinitely. \"pgweir store "
              "check\" tests the store step by step and names the problem. With --local-retention, "
              "the disk fills up meanwhile. If objects and manifests do not match, \"pgweir verify "
              "--store\" reports each difference.",
              "An object store"};
    case Topic::certificate:
      return {"certificate",
              "Replace the certificate and its key; they are read at the next connection. \"pgweir "
              "doctor\" checks them.",
              "Certificates and secrets"};
    case Topic::relay:
      return {"relay",
              "Check which client lags behind, and drop unused slots: they prevent \"pgweir "
              "prune\" from removing WAL.",
              "A client of `pgweir serve` gets no WAL"};
    case Topic::serving:
      return {"serving",
              "Archiving continues. The log has the error, and says if a restart is necessary; "
              "otherwise, serving is retried. Check the memory, the threads (TasksMax=) and the "
              "file descriptors (LimitNOFILE=) of the service.",
              "A client of `pgweir serve` gets no WAL"};
    case Topic::server_unreachable:
      return {"server_unreachable",
              "Check the network and the connection string; \"pgweir doctor\" tests each step.",
              "`status -d`, `doctor`"};
    case Topic::other_cluster:
      return {
          "other_cluster",
          "This is not the server of this archive. Check the connection string and the directory.",
          "Not this archive's server"};
    case Topic::branch:
      return {"branch",
              "The server and the archive have diverged. First find out which history counts.",
              "Another branch of history"};
    case Topic::lag:
      return {"lag",
              "Use a faster disk or network, or reduce other load; \"pgweir doctor\" measures the "
              "disk.",
              kWaits};
    case Topic::verify:
      return {"verify",
              "Verify the archive again, and check the findings. A failed verification stays in "
              "effect until one of the whole archive succeeds; if it read the object store, until "
              "one with --store does.",
              kArchive};
    case Topic::drill:
      return {"drill", "Run \"pgweir drill\" again, and check what failed.",
              "Drills and the second upstream"};
    case Topic::backup:
      return {"backup",
              "Take a base backup with \"pgweir backup\", or find out why the newest one does not "
              "count: \"pgweir backup --list\" checks each of its files.",
              "Backups and pruning"};
    case Topic::other:
      return {"other", "Search for the message in docs/troubleshooting.md.", "Anything else"};
  }
  return {};
}

std::vector<Topic> all_topics() {
  std::vector<Topic> all;
  for (int i = 0; !to_string(static_cast<Topic>(i)).empty(); ++i)
    all.push_back(static_cast<Topic>(i));
  return all;
}

std::string_view to_string(Level level) {
  switch (level) {
    case Level::ok:
      return "OK";
    case Level::warning:
      return "WARNING";
    case Level::critical:
      return "CRITICAL";
    case Level::unknown:
      return "UNKNOWN";
  }
  return "";
}

int gravity(Level level) {
  switch (level) {
    case Level::critical:
      return 3;
    case Level::warning:
      return 2;
    case Level::unknown:
      return 1;
    case Level::ok:
      break;
  }
  return 0;
}

}  // namespace weir::status
