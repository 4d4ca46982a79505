#include "pq/sqlstate.h"

#include <algorithm>
#include <array>
#include <vector>

namespace weir::pq {
namespace {

struct Meaning {
  std::string_view prefix;  // a whole SQLSTATE or the front of it; the longest that fits counts
  ErrorKind kind;
  std::string_view hint;
};

constexpr std::string_view kHbaHint =
    "Check pg_hba.conf on the server: a physical replication connection needs a line whose "
    "database "
    "is \"replication\" (\"all\" does not match it) for this user and address.";

constexpr std::array kMeanings = {
    Meaning{"08", ErrorKind::retry, ""},
    Meaning{"08P01", ErrorKind::protocol,
            "The server did not understand a message. Is something between pgweir and the server, "
            "such as a connection pooler? Those do not carry replication."},
    Meaning{"0A", ErrorKind::refused, ""},
    Meaning{"22", ErrorKind::refused, ""},
    Meaning{"28", ErrorKind::refused, kHbaHint},
    Meaning{"28000", ErrorKind::refused, kHbaHint},
    Meaning{"28P01", ErrorKind::refused,
            "Check the password: a passfile (~/.pgpass) entry for a replication connection has "
            "\"replication\" as its database, unless the connection string names one."},
    Meaning{"3D", ErrorKind::refused,
            "The database does not exist. Check dbname in the connection string."},
    Meaning{"42", ErrorKind::refused, ""},
    Meaning{"42501", ErrorKind::refused,
            "The role lacks a privilege; a replication connection needs the REPLICATION attribute "
            "(ALTER ROLE ... REPLICATION)."},
    Meaning{"42704", ErrorKind::refused,
            "If a replication slot is missing, create it (pgweir slot create), or look why it was "
            "dropped: WAL it should have kept may be gone."},
    Meaning{"53", ErrorKind::retry, "The server is short of a resource; its log has more."},
    Meaning{"53300", ErrorKind::retry,
            "All connections are in use. Look at max_wal_senders (replication connections), "
            "max_connections and the role's connection limit on the server."},
    Meaning{"53400", ErrorKind::refused,
            "A configured limit of the server is reached, such as max_replication_slots."},
    Meaning{
        "55000", ErrorKind::refused,
        "The server cannot do this in its present state: see pg_replication_slots (a logical or "
        "an invalidated slot, wal_status = lost) and wal_level."},
    Meaning{"55006", ErrorKind::retry,
            "The slot is in use. If its owner is a connection that has died, the server frees the "
            "slot after wal_sender_timeout; else another receiver uses it (pg_replication_slots, "
            "active_pid)."},
    Meaning{"57", ErrorKind::retry, ""},
    Meaning{"57P01", ErrorKind::retry, "The server is shutting down or an administrator ended it."},
    Meaning{"57P03", ErrorKind::retry,
            "The server is starting up, in recovery without hot_standby, or shutting down."},
    Meaning{"57P04", ErrorKind::refused, ""},
    Meaning{"58", ErrorKind::retry, "The server has trouble with its files; its log has more."},
    // errcode_for_file_access() with ENOENT: "requested WAL segment ... has already been removed".
    Meaning{"58P01", ErrorKind::gap, "The server no longer has this WAL."},
    Meaning{"XX001", ErrorKind::damage, "The server found damaged data on its side."},
    Meaning{"XX002", ErrorKind::damage, "The server found damaged data on its side."},
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

struct Pattern {
  std::string_view text;
  ErrorKind kind;
  std::string_view hint;
};

// The first that is found counts, so what passes by itself (a connection cut in the middle of the
// TLS handshake) stands before what does not.
constexpr std::array kPatterns = {
    Pattern{"SSL SYSCALL error", ErrorKind::retry,
            "The connection was cut during the TLS handshake."},
    Pattern{"unexpected eof", ErrorKind::retry, "The connection was cut during the TLS handshake."},
    Pattern{"server closed the connection unexpectedly", ErrorKind::retry,
            "The server, or something that listens in its place, hung up. The server's log has "
            "more."},
    Pattern{"received invalid response to", ErrorKind::refused,
            "What listens there is not a PostgreSQL server. Check host and port."},
    Pattern{"expected authentication request", ErrorKind::refused,
            "What listens there is not a PostgreSQL server. Check host and port."},
    Pattern{"does not support SSL", ErrorKind::refused,
            "The server offers no TLS (ssl = off), but sslmode demands it."},
    Pattern{
        "certificate", ErrorKind::refused,
        "Check sslrootcert, sslcert and sslkey, the validity dates of both sides' certificates, "
        "and, with sslmode=verify-full, that the host name is the one in the server's "
        "certificate."},
    Pattern{"private key", ErrorKind::refused,
            "Check sslkey: the file must be readable, and by nobody but its owner."},
    Pattern{"SSL error", ErrorKind::refused,
            "The TLS handshake failed: compare ssl_min_protocol_version, ssl_ciphers and the "
            "certificates of both sides."},
    Pattern{"no password supplied", ErrorKind::refused,
            "The server asks for a password: put it into a passfile (~/.pgpass; the database of a "
            "replication connection is \"replication\")."},
    Pattern{"channel binding", ErrorKind::refused, "Check channel_binding and sslmode."},
    Pattern{"SCRAM", ErrorKind::refused, "The authentication exchange with the server failed."},
    Pattern{"authentication method", ErrorKind::refused,
            "The server wants an authentication that this client does not do: see pg_hba.conf and "
            "require_auth."},
    Pattern{"server did not complete authentication", ErrorKind::refused, ""},
    Pattern{"peer user name", ErrorKind::refused, "Check requirepeer."},
    Pattern{"GSSAPI encryption required", ErrorKind::refused, "Check gssencmode."},
    Pattern{"unsupported frontend protocol", ErrorKind::refused, ""},
    Pattern{"session is", ErrorKind::retry,
            "target_session_attrs asks for another kind of server."},
    Pattern{"hot standby", ErrorKind::retry,
            "target_session_attrs asks for another kind of server."},
    Pattern{"onnection refused", ErrorKind::retry,
            "Is the server running, and does it listen there (listen_addresses, port)?"},
    Pattern{"No such file or directory", ErrorKind::retry,
            "Is the server running, and is this its unix_socket_directories?"},
};

// Position behind "SEVERITY:  SQLSTATE: " in the line, or npos.
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

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
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

ClientFailure classify_client_failure(std::string_view text) {
  for (const Pattern& pattern : kPatterns) {
    if (text.find(pattern.text) != std::string_view::npos) return {pattern.kind, pattern.hint};
  }
  return {ErrorKind::retry, ""};
}

ConnectFailure parse_connect_failure(std::string_view message) {
  ConnectFailure failure;
  std::vector<std::string> parts;
  while (!message.empty()) {
    const std::size_t end = message.find('\n');
    std::string_view line = trim(message.substr(0, end));
    message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
    // VERBOSE adds the place in the server's source.
    if (line.empty() || line.starts_with("LOCATION:  ")) continue;
    if (const std::size_t text = find_sqlstate(line); text != std::string_view::npos) {
      const std::string_view sqlstate = line.substr(text - 7, 5);
      if (failure.sqlstate != "28P01") failure.sqlstate = std::string(sqlstate);
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
