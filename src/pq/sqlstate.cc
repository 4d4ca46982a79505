#include "pq/sqlstate.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"

namespace weir::pq {
namespace {

struct Meaning {
  std::string_view prefix;  // a SQLSTATE or a prefix of it; the longest match counts
  ErrorKind kind;
  std::string_view hint;
};

constexpr std::array kMeanings = {
    Meaning{"08", ErrorKind::retry, ""},
    // From a server: it did not understand a message. PgBouncer uses it for most of its messages,
    // such as a lost connection to its server ("server conn crashed?").
    Meaning{"08P01", ErrorKind::retry,
            "If a connection pooler is between pgweir and the server, check that the server behind "
            "it responds. PgBouncer supports replication from version 1.23 on."},
    Meaning{"0A", ErrorKind::refused, ""},
    Meaning{"22", ErrorKind::refused, ""},
    Meaning{"28", ErrorKind::refused, ""},
    Meaning{"3D", ErrorKind::refused, ""},
    Meaning{"42", ErrorKind::refused, ""},
    Meaning{"42501", ErrorKind::refused,
            "The role lacks a privilege; a replication connection needs the REPLICATION attribute "
            "(ALTER ROLE ... REPLICATION)."},
    Meaning{"42704", ErrorKind::refused,
            "If a replication slot is missing, create it (pgweir slot create), and find out why "
            "it was dropped: WAL that it should have retained may have been removed."},
    Meaning{"53", ErrorKind::retry, "The server lacks a resource. See its log."},
    Meaning{"53400", ErrorKind::refused,
            "A configured limit of the server is reached, such as max_replication_slots."},
    Meaning{
        "55000", ErrorKind::refused,
        "The server cannot do this in its current state. Check pg_replication_slots (a logical "
        "or an invalidated slot; wal_status is lost after max_slot_wal_keep_size or, from 18 on, "
        "idle_replication_slot_timeout was exceeded) and wal_level."},
    Meaning{"55006", ErrorKind::retry,
            "The slot is in use. If its connection was lost, the server releases the slot after "
            "wal_sender_timeout; otherwise another receiver uses it (pg_replication_slots, "
            "active_pid)."},
    Meaning{"57", ErrorKind::retry, ""},
    Meaning{"57P01", ErrorKind::retry,
            "The server is shutting down, or an administrator "
            "terminated the connection."},
    Meaning{"57P04", ErrorKind::refused, ""},
    // (58P01, errcode_for_file_access() with ENOENT, means removed WAL as an answer to
    // START_REPLICATION; ReplicationStream handles that.)
    Meaning{"58", ErrorKind::retry, "The server cannot access its files. See its log."},
    Meaning{"XX001", ErrorKind::damage, "The server found damaged data."},
    Meaning{"XX002", ErrorKind::damage, "The server found damaged data."},
};

const Meaning* find_meaning(std::string_view sqlstate) {
  const Meaning* best = nullptr;
  for (const Meaning& meaning : kMeanings) {
    if (sqlstate.starts_with(meaning.prefix) &&
        (best == nullptr || meaning.prefix.size() > best->prefix.size()))
      best = &meaning;
  }
  return best;
}

// Position after "SEVERITY:  SQLSTATE: " in the line, or npos.
std::size_t find_sqlstate(std::string_view line) {
  for (std::size_t at = line.find(":  "); at != std::string_view::npos;
       at = line.find(":  ", at + 1)) {
    const std::string_view rest = line.substr(at + 3);
    if (rest.size() >= 7 && rest.substr(5, 2) == ": " &&
        std::all_of(rest.begin(), rest.begin() + 5,
                    [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); }))
      return at + 3 + 7;
  }
  return std::string_view::npos;
}

}  // namespace

ErrorKind classify(std::string_view sqlstate) {
  const Meaning* meaning = find_meaning(sqlstate);
  return meaning == nullptr ? ErrorKind::retry : meaning->kind;
}

std::string_view hint_for(std::string_view sqlstate) {
  const Meaning* meaning = find_meaning(sqlstate);
  return meaning == nullptr ? std::string_view() : meaning->hint;
}

ConnectFailure parse_connect_failure(std::string_view message) {
  ConnectFailure failure;
  std::vector<std::string> parts;
  bool counts = false;  // the message of the lines that follow
  while (!message.empty()) {
    const std::size_t end = message.find('\n');
    const std::string_view whole = message.substr(0, end);
    std::string_view line = trimmed(whole);
    message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
    // VERBOSE adds the location in the server's source: "LOCATION:  auth_failed, auth.c:334".
    constexpr std::string_view kLocation = "LOCATION:  ";
    if (line.starts_with(kLocation)) {
      line.remove_prefix(kLocation.size());
      if (counts) failure.routine = std::string(line.substr(0, line.find(',')));
      continue;
    }
    if (line.empty()) continue;
    if (!failure.stock.empty()) failure.stock += '\n';
    const std::size_t text = find_sqlstate(line);
    if (text == std::string_view::npos)
      failure.stock += whole;
    else
      failure.stock.append(line.substr(0, text - 7)).append(line.substr(text));
    if (text != std::string_view::npos) {
      const std::string_view sqlstate = line.substr(text - 7, 5);
      counts = failure.sqlstate != "28P01";
      if (counts) {
        failure.sqlstate = std::string(sqlstate);
        failure.routine.clear();
      }
      line.remove_prefix(text);
    } else if (line.starts_with("connection to server ")) {
      constexpr std::string_view kFailed = " failed: ";
      const std::size_t failed = line.find(kFailed);
      if (failed != std::string_view::npos) line.remove_prefix(failed + kFailed.size());
    }
    if (std::find(parts.begin(), parts.end(), line) == parts.end()) parts.emplace_back(line);
  }
  for (const std::string& part : parts) {
    if (!failure.text.empty()) failure.text += "; ";
    failure.text += part;
  }
  if (failure.text.empty()) failure.text = "no reason given";
  return failure;
}

}  // namespace weir::pq
