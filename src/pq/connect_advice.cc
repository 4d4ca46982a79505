// One place interprets failed connections (`pq/connect_advice`), pure, for every command: by
// SQLSTATE and the name of the server's function if the server answered (neither is translated),
// otherwise by the stage that libpq had reached. `tests/integration/test_connect_advice.py` follows
// each advice until the connection succeeds.

#include "pq/connect_advice.h"

#include <fmt/format.h>

#include <array>

#include "pq/sqlstate.h"

// The server's message may be in any language; SQLSTATE and the name of the function that raised
// the error are not translated (PQERRORS_VERBOSE shows both). One SQLSTATE has many causes: 28000
// is a missing role (InitializeSessionUserId() in miscinit.c), a missing line in pg_hba.conf
// (ClientAuthentication() in auth.c) and a failed authentication method (auth_failed() there).
// Words of a message are used only if they are names, which are not translated, or to add details.

namespace weir::pq {

namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool replicates(const ConnectAttempt& attempt) { return attempt.replication != Replication::none; }

/// A line of pg_hba.conf that would allow the connection.
std::string hba_line(const ConnectAttempt& attempt) {
  // A connection for logical replication is matched by its database, see check_db() in hba.c.
  const auto database = attempt.replication == Replication::physical
                            ? std::string("replication")
                            : sql_identifier(attempt.database);
  const auto user = sql_identifier(attempt.user);
  if (attempt.local)
    return fmt::format("in pg_hba.conf: local {} {} scram-sha-256", database, user);
  return fmt::format("in pg_hba.conf: host {} {} THIS-MACHINE/32 scram-sha-256", database, user);
}

Advice no_hba_line(const ConnectAttempt& attempt) {
  Advice advice{ErrorKind::refused,
                "No line of pg_hba.conf on the server lets this role connect from this address, or "
                "one rejects it",
                {hba_line(attempt), "SELECT pg_reload_conf();"}};
  if (attempt.replication == Replication::physical)
    advice.text += " (\"all\" does not match a physical replication connection)";
  if (!attempt.local && attempt.sslmode == "disable")
    advice.text += "; a hostssl line does not match while sslmode=disable";
  return advice;
}

Advice role_may_not_log_in(const ConnectAttempt& attempt) {
  const auto user = sql_identifier(attempt.user);
  const std::string_view replication = replicates(attempt) ? " REPLICATION" : "";
  const auto create = fmt::format("CREATE ROLE {} LOGIN{} PASSWORD '...';", user, replication);
  const auto alter = fmt::format("ALTER ROLE {} LOGIN{};", user, replication);
  if (has(attempt.text, "does not exist"))
    return {ErrorKind::refused, "The role does not exist", {create}};
  if (has(attempt.text, "log in"))
    return {ErrorKind::refused,
            "The role is not permitted to log "
            "in",
            {alter}};
  return {ErrorKind::refused,
          "The role does not exist, or is not permitted to log in; one of",
          {create, alter}};
}

Advice method_refused(const ConnectAttempt& attempt) {
  if (has(attempt.text, "Peer") || has(attempt.text, "Ident"))
    return {ErrorKind::refused,
            "pg_hba.conf requires that the role has the name of the operating system user. Run "
            "pgweir as that user, use a map (map= and pg_ident.conf), or let the line require a "
            "password (scram-sha-256)."};
  if (has(attempt.text, "certificate"))
    return {ErrorKind::refused,
            "The name (CN) in the certificate of sslcert is not that of the role. Use a "
            "certificate of this role, or a map (map= and pg_ident.conf)."};
  return {ErrorKind::refused,
          "The authentication method in pg_hba.conf rejected the role. See the server's log for "
          "the reason."};
}

Advice certificate_missing() {
  return {ErrorKind::refused,
          "The server requires a client certificate: specify it with sslcert and sslkey; by "
          "default libpq uses ~/.postgresql/postgresql.crt and postgresql.key."};
}

Advice authorization_failed(const ConnectAttempt& attempt) {
  if (attempt.routine == "InitializeSessionUserId") return role_may_not_log_in(attempt);
  if (attempt.routine == "auth_failed") return method_refused(attempt);
  // Both errors about pg_hba.conf name the file, in each language.
  if (has(attempt.text, "pg_hba.conf")) return no_hba_line(attempt);
  if (attempt.routine == "ClientAuthentication") return certificate_missing();
  return {ErrorKind::refused,
          "The server rejects this role. Check that the role exists and has LOGIN, and that "
          "pg_hba.conf has an entry for it and this address. The server's log has more details."};
}

std::string about_passfile(const ConnectAttempt& attempt) {
  switch (attempt.passfile_state) {
    case PassfileState::missing:
      return fmt::format("the password file {}, which does not exist yet (mode 0600)",
                         attempt.passfile);
    case PassfileState::unreadable:
      return fmt::format("the password file {}, which this user cannot read", attempt.passfile);
    case PassfileState::open:
      return fmt::format(
          "the password file {}, which libpq ignores because others can read it (chmod 600)",
          attempt.passfile);
    case PassfileState::fine:
      break;
  }
  return fmt::format("the password file {}", attempt.passfile);
}

std::string any_database(const ConnectAttempt& attempt) {
  return fmt::format("* instead of {} applies to all databases", attempt.database);
}

Advice password_missing(const ConnectAttempt& attempt) {
  return {ErrorKind::refused,
          fmt::format("The server asks for a password. Put the line {} into {}; {}.",
                      passfile_line(attempt), about_passfile(attempt), any_database(attempt))};
}

Advice password_wrong(const ConnectAttempt& attempt) {
  // A missing role looks the same, so that clients cannot probe for names (mock_scram_secret()).
  const auto role = fmt::format(
      "Or the role {} does not exist, has no password, or its password has expired (VALID UNTIL); "
      "the server's log says which.",
      sql_identifier(attempt.user));
  if (attempt.password_given)
    return {ErrorKind::refused,
            "The password is wrong. It comes from the connection string, PGPASSWORD or a service "
            "file, so the password file is not used. " +
                role};
  return {ErrorKind::refused,
          fmt::format("The password is wrong. It comes from the first line in {} that matches {} "
                      "(* matches all). {}",
                      attempt.passfile, passfile_line(attempt), role)};
}

Advice privilege_missing(const ConnectAttempt& attempt) {
  const auto user = sql_identifier(attempt.user);
  const bool database =
      attempt.replication == Replication::none ||
      (attempt.replication == Replication::logical && attempt.routine == "CheckMyDatabase");
  if (database)
    return {ErrorKind::refused,
            "The role is not permitted to connect to this database",
            {fmt::format("GRANT CONNECT ON DATABASE {} TO {};", sql_identifier(attempt.database),
                         user)}};
  return {ErrorKind::refused,
          "A replication connection needs the attribute REPLICATION of the role",
          {fmt::format("ALTER ROLE {} REPLICATION;", user)}};
}

Advice too_many(const ConnectAttempt& attempt) {
  // InitProcess() counts walsenders separately; the postmaster (ProcessStartupPacket(),
  // BackendStartup() and others, by version) and InitPostgres() count all.
  if (attempt.routine == "InitProcess" && replicates(attempt))
    return {ErrorKind::retry,
            "All walsenders are in use, or the server has none (max_wal_senders = 0). Terminate an "
            "unused one (pg_stat_replication), or raise max_wal_senders and restart the server. "
            "wal_level must be replica or logical."};
  if (attempt.routine == "InitializeSessionUserId")
    return {ErrorKind::retry,
            "The role's connection limit is reached",
            {fmt::format("ALTER ROLE {} CONNECTION LIMIT -1;", sql_identifier(attempt.user))}};
  if (attempt.routine == "CheckMyDatabase")
    return {
        ErrorKind::retry,
        "The database's connection limit is reached",
        {fmt::format("ALTER DATABASE {} CONNECTION LIMIT -1;", sql_identifier(attempt.database))}};
  if (!attempt.routine.empty())
    return {ErrorKind::retry,
            "All connections of the server are in use. Terminate unused ones (pg_stat_activity), "
            "or raise max_connections and restart the server."};
  return {ErrorKind::retry,
          "All connections are in use: see max_wal_senders (replication connections), "
          "max_connections, and the connection limits of role and database on the server."};
}

Advice not_now(const ConnectAttempt& attempt) {
  if (has(attempt.text, "shutting down")) return {ErrorKind::retry, "The server is shutting down."};
  if (has(attempt.text, "starting up"))
    return {ErrorKind::retry, "The server is starting up, or is in recovery."};
  if (has(attempt.text, "ot standby"))
    return {ErrorKind::retry,
            "The server is a standby that accepts no connections. Set hot_standby = on there."};
  return {ErrorKind::retry,
          "The server is starting up, in recovery without hot_standby, or shutting down."};
}

/// 08P01: PgBouncer uses it for all its messages, which are never translated.
Advice told_by_pooler(const ConnectAttempt& attempt) {
  if (has(attempt.text, "unsupported startup parameter"))
    return {
        ErrorKind::refused,
        "The connection goes to a connection pooler that does not support replication (PgBouncer "
        "does from version 1.23 on). Connect to the server directly."};
  for (const auto* text : {"no such database", "no such user", "SSL required", "login rejected"})
    if (has(attempt.text, text))
      return {ErrorKind::refused,
              "This is the error of a connection pooler between pgweir and the server. Check its "
              "configuration."};
  return {classify(attempt.sqlstate), std::string(hint_for(attempt.sqlstate))};
}

Advice refused_by_server(const ConnectAttempt& attempt) {
  const std::string_view state = attempt.sqlstate;
  if (state == "08P01") return told_by_pooler(attempt);
  if (state == "28P01") return password_wrong(attempt);
  if (state.starts_with("28")) return authorization_failed(attempt);
  if (state == "42501") return privilege_missing(attempt);
  if (state == "53300") return too_many(attempt);
  if (state == "57P03") return not_now(attempt);
  if (state == "3D000")
    return {ErrorKind::refused,
            fmt::format("The database {} does not exist. Check dbname in the connection string.",
                        sql_identifier(attempt.database))};
  if (state == "55000")  // CheckMyDatabase()
    return {ErrorKind::refused,
            "The database does not accept connections",
            {fmt::format("ALTER DATABASE {} ALLOW_CONNECTIONS true;",
                         sql_identifier(attempt.database))}};
  // libpq asks a server before 14 by SQL (CONNECTION_CHECK_TARGET in PQconnectPoll()).
  if (state == "0A000" && replicates(attempt) && has(attempt.text, "pg_is_in_recovery"))
    return {ErrorKind::refused,
            fmt::format("Before PostgreSQL 14, libpq cannot ask a server for its role over a "
                        "replication connection (target_session_attrs={}). Use read-write or "
                        "read-only, which it can ask for, or --prefer instead.",
                        attempt.target)};
  return {classify(state), std::string(hint_for(state))};
}

struct Pattern {
  std::string_view text;
  ErrorKind kind;
  std::string_view hint;
};

// libpq has no codes for its own failures. Its messages are English here: it translates only in a
// process that has called setlocale(LC_MESSAGES), and pgweir does not. In each list the first match
// counts; the last entry, "", always matches.

constexpr std::array kConnecting = {
    Pattern{"No such file or directory", ErrorKind::retry,
            "The socket does not exist. Check that the server is running, and its "
            "unix_socket_directories and port."},
    Pattern{"Permission denied", ErrorKind::retry,
            "The user that runs pgweir lacks permission for this socket. Check "
            "unix_socket_permissions and unix_socket_group, and the permissions of the directory."},
    Pattern{
        "onnection refused", ErrorKind::retry,
        "No server listens there. Check that it is running, and its listen_addresses and port."},
    Pattern{"unreachable", ErrorKind::retry,
            "This address cannot be reached. Check the address, the routes and the firewalls."},
    Pattern{"No route to host", ErrorKind::retry,
            "This address cannot be reached. Check the address, the routes and the firewalls."},
    Pattern{"GSSAPI encryption", ErrorKind::refused,
            "gssencmode=require needs GSSAPI encryption, which is not available. Get a ticket "
            "(kinit), or change gssencmode."},
    Pattern{"", ErrorKind::retry, "Check host and port, and the network in between."},
};

constexpr std::string_view kAlert =
    "The server rejected the TLS connection. If the error is about a certificate, that of "
    "sslcert must be valid and signed by a CA in the server's ssl_ca_file. Otherwise compare "
    "ssl_min_protocol_version and ssl_ciphers of both sides.";

// Temporary failures, such as a lost connection, come first.
constexpr std::array kEncrypting = {
    Pattern{"SSL SYSCALL error", ErrorKind::retry,
            "The connection was closed during the TLS handshake."},
    Pattern{"unexpected eof", ErrorKind::retry,
            "The connection was closed during the TLS "
            "handshake."},
    Pattern{"server closed the connection unexpectedly", ErrorKind::retry,
            "The server, or another program that listens there, closed the connection. See the "
            "server's log."},
    Pattern{"received invalid response to", ErrorKind::refused,
            "What listens there is not a PostgreSQL server. Check host and port."},
    Pattern{"does not support SSL", ErrorKind::refused,
            "The server does not support TLS (ssl = off), but sslmode requires it."},
    Pattern{"GSSAPI encryption", ErrorKind::refused, "Check gssencmode."},
    Pattern{"does not match host name", ErrorKind::refused,
            "The server's certificate is for another name. Connect with the name in the "
            "certificate (with hostaddr=, if that name resolves to another address), or install "
            "a certificate with this name on the server."},
    Pattern{"certificate verify failed", ErrorKind::refused,
            "The server's certificate is not signed by a CA in the file that sslrootcert names "
            "(default: ~/.postgresql/root.crt), is revoked, or is expired. Check that file, and "
            "the validity dates of the certificate."},
    Pattern{"root certificate", ErrorKind::refused,
            "sslmode requires that the server's certificate is verified. Specify the file with "
            "the CA certificate with sslrootcert (default: ~/.postgresql/root.crt)."},
    Pattern{"private key", ErrorKind::refused,
            "Check sslkey: the key must match sslcert, and only this user may have access to the "
            "file."},
    Pattern{"certificate revocation", ErrorKind::refused, "Check sslcrl and sslcrldir."},
    // Alerts: the server's verdict on our certificate.
    Pattern{"alert", ErrorKind::refused, kAlert},
    Pattern{"certificate", ErrorKind::refused,
            "Check the files that sslcert, sslkey and sslrootcert name, and the validity dates of "
            "both sides' certificates."},
    Pattern{"SSL error", ErrorKind::refused,
            "The TLS handshake failed: compare ssl_min_protocol_version, ssl_ciphers and the "
            "certificates of both sides."},
    Pattern{"", ErrorKind::retry, ""},
};

constexpr std::array kAsking = {
    // With TLS 1.3 the server rejects our certificate after the handshake has ended for us.
    Pattern{"alert", ErrorKind::refused, kAlert},
    Pattern{"SSL SYSCALL error", ErrorKind::retry, "The connection was closed."},
    Pattern{"server closed the connection unexpectedly", ErrorKind::retry,
            "The server, or another program that listens there, closed the connection. See the "
            "server's log."},
    Pattern{"received invalid response to", ErrorKind::refused,
            "What listens there is not a PostgreSQL server. Check host and port."},
    Pattern{"expected authentication request", ErrorKind::refused,
            "What listens there is not a PostgreSQL server. Check host and port."},
    Pattern{"channel binding", ErrorKind::refused, "Check channel_binding and sslmode."},
    Pattern{"SCRAM", ErrorKind::refused, "The authentication exchange with the server failed."},
    Pattern{"authentication method", ErrorKind::refused,
            "The server requires an authentication method that this client does not support. "
            "Check pg_hba.conf and require_auth."},
    Pattern{"server did not complete authentication", ErrorKind::refused,
            "The server accepted the role without the authentication that require_auth or "
            "channel_binding requires."},
    Pattern{"peer user name", ErrorKind::refused, "Check requirepeer."},
    Pattern{"requirepeer", ErrorKind::refused, "Check requirepeer."},
    Pattern{"unsupported frontend protocol", ErrorKind::refused,
            "The server is too old for this version of libpq."},
    Pattern{"SSL error", ErrorKind::refused, "See the server's log."},
    Pattern{"", ErrorKind::retry, ""},
};

template <typename Patterns>
Advice first_of(const Patterns& patterns, std::string_view text) {
  for (const Pattern& pattern : patterns)
    if (has(text, pattern.text)) return {pattern.kind, std::string(pattern.hint)};
  return {};
}

Advice timed_out(const ConnectAttempt& attempt) {
  if (attempt.phase == ConnectPhase::connecting)
    return {ErrorKind::retry,
            "The host is down, or a firewall drops the packets. connect_timeout limits the wait."};
  return {ErrorKind::retry,
          "The connection was accepted, but the server does not respond: it hangs, is stopped, or "
          "is not PostgreSQL. connect_timeout limits the wait."};
}

/// libpq checks the server's role in the step in which the connection is accepted, or later.
bool another_kind(const ConnectAttempt& attempt) {
  return attempt.phase == ConnectPhase::checking ||
         (attempt.phase == ConnectPhase::asking &&
          (has(attempt.text, "session is") || has(attempt.text, "hot standby")));
}

Advice refused_by_libpq(const ConnectAttempt& attempt) {
  if (attempt.timed_out) return timed_out(attempt);
  if (attempt.needs_password) return password_missing(attempt);
  if (another_kind(attempt))
    return {ErrorKind::retry, fmt::format("The connection string asks for another kind of server "
                                          "(target_session_attrs={}).",
                                          attempt.target)};
  switch (attempt.phase) {
    case ConnectPhase::connecting:
      return first_of(kConnecting, attempt.text);
    case ConnectPhase::encrypting:
      return first_of(kEncrypting, attempt.text);
    case ConnectPhase::asking:
    case ConnectPhase::checking:
      return first_of(kAsking, attempt.text);
  }
  return {};
}

void append_field(std::string& line, std::string_view value) {
  for (const char c : value) {
    if (c == ':' || c == '\\') line += '\\';
    line += c;
  }
  line += ':';
}

}  // namespace

std::string Advice::hint() const {
  if (lines.empty()) return text;
  std::string all = text + ": ";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    auto line = std::string_view(lines[i]);
    if (line.ends_with(';')) line.remove_suffix(1);
    all += i == 0 ? "" : "; ";
    all += line;
  }
  return all + ".";
}

Advice advise(const ConnectAttempt& attempt) {
  return attempt.sqlstate.empty() ? refused_by_libpq(attempt) : refused_by_server(attempt);
}

std::string passfile_host(std::string_view host, std::string_view hostaddr,
                          std::string_view default_socket_directory) {
  constexpr std::string_view kLocal = "localhost";
  if (host.empty() && !hostaddr.empty()) return std::string(hostaddr);
  if (host.empty() || host == default_socket_directory) return std::string(kLocal);
  return std::string(host);
}

std::string passfile_line(const ConnectAttempt& attempt) {
  std::string line;
  append_field(line, attempt.host);
  append_field(line, attempt.port);
  append_field(line, attempt.database);
  append_field(line, attempt.user);
  return line + "PASSWORD";
}

std::string sql_identifier(std::string_view name) {
  const bool plain =
      !name.empty() &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos &&
      (name[0] < '0' || name[0] > '9');
  if (plain) return std::string(name);
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace weir::pq
