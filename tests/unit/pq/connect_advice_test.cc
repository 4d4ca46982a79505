#include "pq/connect_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace weir::pq::connect_advice_test {
namespace {

using ::testing::HasSubstr;

ConnectAttempt attempt() {
  ConnectAttempt attempt;
  attempt.phase = ConnectPhase::asking;
  attempt.host = "db1";
  attempt.port = "5432";
  attempt.user = "archiver";
  attempt.database = "replication";
  attempt.passfile = "/home/weir/.pgpass";
  attempt.passfile_state = PassfileState::fine;
  return attempt;
}

using Change = std::function<void(ConnectAttempt&)>;

Change server(std::string sqlstate, std::string routine, std::string text) {
  return [=](ConnectAttempt& attempt) {
    attempt.sqlstate = sqlstate;
    attempt.routine = routine;
    attempt.text = text;
  };
}

Change libpq(ConnectPhase phase, std::string text) {
  return [=](ConnectAttempt& attempt) {
    attempt.phase = phase;
    attempt.text = text;
  };
}

Change both(const Change& first, const Change& second) {
  return [=](ConnectAttempt& attempt) {
    first(attempt);
    second(attempt);
  };
}

const Change kSql = [](ConnectAttempt& attempt) {
  attempt.replication = Replication::none;
  attempt.database = "Orders";
};
const Change kLogical = [](ConnectAttempt& attempt) {
  attempt.replication = Replication::logical;
  attempt.database = "Orders";
};

TEST(ConnectAdvice, IsForTheCauseInAnyLanguage) {
  const struct {
    const char* name;
    Change change;
    ErrorKind kind;
    const char* says;
  } cases[] = {
      {"a role that is missing",
       server("28000", "InitializeSessionUserId", "role \"archiver\" does not exist"),
       ErrorKind::refused,
       "The role does not exist: CREATE ROLE archiver LOGIN REPLICATION PASSWORD '...'."},
      {"a role that may not log in",
       server("28000", "InitializeSessionUserId", "role \"archiver\" is not permitted to log in"),
       ErrorKind::refused, "ALTER ROLE archiver LOGIN REPLICATION."},
      {"one of the two, in German",
       server("28000", "InitializeSessionUserId", "Rolle »archiver« existiert nicht"),
       ErrorKind::refused, "ALTER ROLE archiver LOGIN REPLICATION."},
      {"no line of pg_hba.conf",
       server("28000", "ClientAuthentication", "no pg_hba.conf entry for replication connection"),
       ErrorKind::refused, "in pg_hba.conf: host replication archiver THIS-MACHINE/32"},
      {"the same, in French",
       server("28000", "ClientAuthentication",
              "aucune entrée dans pg_hba.conf pour la connexion de la réplication"),
       ErrorKind::refused, "in pg_hba.conf: host replication archiver THIS-MACHINE/32"},
      {"the same of a server that does not tell the function",
       server("28000", "", "pg_hba.conf rejects replication connection"), ErrorKind::refused,
       "in pg_hba.conf: host replication archiver THIS-MACHINE/32"},
      {"the same for SQL",
       both(kSql, server("28000", "ClientAuthentication", "no pg_hba.conf entry")),
       ErrorKind::refused, "in pg_hba.conf: host \"Orders\" archiver"},
      {"the same for logical replication",
       both(kLogical, server("28000", "ClientAuthentication", "no pg_hba.conf entry")),
       ErrorKind::refused, "in pg_hba.conf: host \"Orders\" archiver"},
      {"the same by a socket",
       both(server("28000", "ClientAuthentication", "no pg_hba.conf entry"),
            [](auto& attempt) { attempt.local = true; }),
       ErrorKind::refused, "in pg_hba.conf: local replication archiver"},
      {"no certificate",
       server("28000", "ClientAuthentication", "connection requires a valid client certificate"),
       ErrorKind::refused, "sslcert"},
      {"the same, in German",
       server("28000", "ClientAuthentication", "Verbindung erfordert gültiges Client-Zertifikat"),
       ErrorKind::refused, "sslcert"},
      {"another user of the system",
       server("28000", "auth_failed", "Peer authentication failed for user \"archiver\""),
       ErrorKind::refused, "pg_ident.conf"},
      {"a certificate of another name",
       server("28000", "auth_failed", "certificate authentication failed for user \"archiver\""),
       ErrorKind::refused, "CN"},
      {"another method",
       server("28000", "auth_failed", "LDAP authentication failed for user \"archiver\""),
       ErrorKind::refused, "server's log"},
      {"nothing is known", server("28000", "", "non"), ErrorKind::refused, "server's log"},
      {"a wrong password",
       server("28P01", "auth_failed", "password authentication failed for user \"archiver\""),
       ErrorKind::refused,
       "/home/weir/.pgpass that matches db1:5432:replication:archiver:PASSWORD"},
      {"a wrong password that was given",
       both(server("28P01", "auth_failed", ""),
            [](auto& attempt) { attempt.password_given = true; }),
       ErrorKind::refused, "PGPASSWORD"},
      {"no password", [](auto& attempt) { attempt.needs_password = true; }, ErrorKind::refused,
       "line db1:5432:replication:archiver:PASSWORD into the password file /home/weir/.pgpass;"},
      {"a role that a server before 14 cannot be asked for",
       both(server("0A000", "exec_replication_command",
                   "cannot execute SQL commands in WAL sender for physical replication; \"SELECT "
                   "pg_is_in_recovery()\" failed"),
            [](auto& attempt) { attempt.target = "primary"; }),
       ErrorKind::refused, "(target_session_attrs=primary). Use read-write"},
      {"no right to replicate",
       server("42501", "InitPostgres", "must be superuser or replication role to start walsender"),
       ErrorKind::refused, "ALTER ROLE archiver REPLICATION."},
      {"no right to the database",
       both(kSql, server("42501", "CheckMyDatabase", "permission denied for database")),
       ErrorKind::refused, "GRANT CONNECT ON DATABASE \"Orders\" TO archiver."},
      {"the same for logical replication",
       both(kLogical, server("42501", "CheckMyDatabase", "permission denied for database")),
       ErrorKind::refused, "GRANT CONNECT ON DATABASE \"Orders\" TO archiver."},
      {"logical replication, and no right to replicate",
       both(kLogical, server("42501", "InitPostgres", "permission denied to start WAL sender")),
       ErrorKind::refused, "ALTER ROLE archiver REPLICATION."},
      {"no database", both(kSql, server("3D000", "InitPostgres", "database does not exist")),
       ErrorKind::refused, "database \"Orders\" does not exist"},
      {"a database that takes no connections",
       both(kSql, server("55000", "CheckMyDatabase", "not currently accepting connections")),
       ErrorKind::refused, "ALLOW_CONNECTIONS"},
      {"no walsender is left",
       server("53300", "InitProcess", "number of requested standby connections exceeds"),
       ErrorKind::retry, "max_wal_senders"},
      {"a server that has no walsenders",
       server("53300", "InitProcess", "number of requested standby connections exceeds"),
       ErrorKind::retry, "or the server has none (max_wal_senders = 0)"},
      {"a password that has expired",
       server("28P01", "auth_failed", "password authentication failed for user \"archiver\""),
       ErrorKind::refused, "its password has expired (VALID UNTIL)"},
      {"gssencmode=require without a ticket",
       libpq(ConnectPhase::connecting, "GSSAPI encryption required but it is not supported"),
       ErrorKind::refused, "kinit"},
      {"no connection is left, for SQL",
       both(kSql, server("53300", "InitProcess", "sorry, too many clients already")),
       ErrorKind::retry, "max_connections"},
      {"the postmaster has no room",
       server("53300", "ProcessStartupPacket", "sorry, too many clients already"), ErrorKind::retry,
       "max_connections"},
      {"the role's limit",
       server("53300", "InitializeSessionUserId", "too many connections for role"),
       ErrorKind::retry, "ALTER ROLE archiver CONNECTION LIMIT"},
      {"a server behind PgBouncer that is restarted", server("08P01", "", "server conn crashed?"),
       ErrorKind::retry, "that the server behind it responds"},
      {"PgBouncer before 1.23", server("08P01", "", "unsupported startup parameter: replication"),
       ErrorKind::refused, "does not support replication"},
      {"PgBouncer without that database", server("08P01", "", "no such database: replication"),
       ErrorKind::refused, "Check its configuration"},
      {"files that are missing for a moment",
       server("58P01", "", "could not open file \"global/pg_filenode.map\""), ErrorKind::retry,
       "cannot access its files"},
      {"some limit", server("53300", "", "désolé"), ErrorKind::retry, "max_wal_senders"},
      {"starting", server("57P03", "ProcessStartupPacket", "the database system is starting up"),
       ErrorKind::retry, "is starting up"},
      {"stopping", server("57P03", "ProcessStartupPacket", "the database system is shutting down"),
       ErrorKind::retry, "is shutting down"},
      {"one of them", server("57P03", "ProcessStartupPacket", "le système démarre"),
       ErrorKind::retry, "starting up, in recovery without hot_standby, or shutting down"},
      {"ended by somebody", server("57P01", "ProcessInterrupts", "terminating connection"),
       ErrorKind::retry, "administrator"},
      {"unheard of", server("ZZ999", "", "?"), ErrorKind::retry, ""},

      {"refused", libpq(ConnectPhase::connecting, "Connection refused"), ErrorKind::retry,
       "No server listens"},
      {"no socket", libpq(ConnectPhase::connecting, "No such file or directory"), ErrorKind::retry,
       "unix_socket_directories"},
      {"a socket of others", libpq(ConnectPhase::connecting, "Permission denied"), ErrorKind::retry,
       "unix_socket_permissions"},
      {"no route", libpq(ConnectPhase::connecting, "Network is unreachable"), ErrorKind::retry,
       "routes"},
      {"reset", libpq(ConnectPhase::asking, "could not receive data: Connection reset by peer"),
       ErrorKind::retry, ""},
      {"hung up", libpq(ConnectPhase::asking, "server closed the connection unexpectedly"),
       ErrorKind::retry, "server's log"},
      {"cut while encrypting", libpq(ConnectPhase::encrypting, "SSL SYSCALL error: EOF detected"),
       ErrorKind::retry, "was closed"},
      {"cut, as OpenSSL 3 says it",
       libpq(ConnectPhase::encrypting, "SSL error: unexpected eof while reading"), ErrorKind::retry,
       "was closed"},
      {"a server that is not trusted",
       libpq(ConnectPhase::encrypting, "SSL error: certificate verify failed"), ErrorKind::refused,
       "not signed by a CA"},
      {"a root that is missing",
       libpq(ConnectPhase::encrypting,
             "could not read root certificate file \"/x/root.crt\": No such file or directory"),
       ErrorKind::refused, "sslrootcert"},
      {"another name",
       libpq(ConnectPhase::encrypting,
             "server certificate for \"a\" does not match host name \"b\""),
       ErrorKind::refused, "hostaddr="},
      {"an alert at the handshake",
       libpq(ConnectPhase::encrypting, "SSL error: tlsv1 alert unknown ca"), ErrorKind::refused,
       "ssl_ca_file"},
      {"an alert behind it", libpq(ConnectPhase::asking, "SSL error: tlsv1 alert unknown ca"),
       ErrorKind::refused, "ssl_ca_file"},
      {"a key that others may read",
       libpq(ConnectPhase::encrypting, "private key file \"k\" has group or world access"),
       ErrorKind::refused, "sslkey"},
      {"no TLS there",
       libpq(ConnectPhase::encrypting, "server does not support SSL, but SSL was required"),
       ErrorKind::refused, "ssl = off"},
      {"the web",
       libpq(ConnectPhase::asking, "expected authentication request from server, but received H"),
       ErrorKind::refused, "not a PostgreSQL server"},
      {"the web, asked for TLS",
       libpq(ConnectPhase::encrypting, "received invalid response to SSL negotiation: H"),
       ErrorKind::refused, "not a PostgreSQL server"},
      {"another kind of server", libpq(ConnectPhase::checking, "session is read-only"),
       ErrorKind::retry, "target_session_attrs"},
      {"another kind of server, seen early",
       libpq(ConnectPhase::asking, "server is not in hot standby mode"), ErrorKind::retry,
       "target_session_attrs"},
      {"something new", libpq(ConnectPhase::asking, "something new"), ErrorKind::retry, ""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto failed = attempt();
    each.change(failed);
    const auto advice = advise(failed);
    EXPECT_EQ(to_string(advice.kind), to_string(each.kind));
    EXPECT_THAT(advice.hint(), HasSubstr(each.says));
    EXPECT_EQ(advice.hint().empty(), *each.says == '\0') << advice.hint();
    if (!advice.hint().empty()) {
      EXPECT_THAT(advice.hint().back(), ::testing::AnyOf('.', '?')) << advice.hint();
    }
    // Nobody is sent to a file or a role that has nothing to do with it.
    const std::string_view says = each.says;
    const bool about_hba = says.find("hba") != says.npos || says.find("pg_ident") != says.npos ||
                           says.find("server's log") != says.npos;
    EXPECT_TRUE(about_hba || advice.hint().find("pg_hba") == says.npos) << advice.hint();
    EXPECT_TRUE(says.find("ROLE") != says.npos || advice.hint().find("ALTER ROLE") == says.npos)
        << advice.hint();
  }
}

TEST(ConnectAdvice, TellsTimeoutsByWhatHasAnswered) {
  auto failed = attempt();
  failed.timed_out = true;
  failed.phase = ConnectPhase::connecting;
  EXPECT_THAT(advise(failed).hint(), HasSubstr("firewall"));
  failed.phase = ConnectPhase::encrypting;
  EXPECT_THAT(advise(failed).hint(), HasSubstr("does not respond"));
}

TEST(ConnectAdvice, SaysWhyAPasswordFileIsNotRead) {
  const struct {
    PassfileState state;
    const char* says;
  } cases[] = {
      {PassfileState::missing, "does not exist yet"},
      {PassfileState::unreadable, "this user cannot read"},
      {PassfileState::open, "chmod 600"},
  };
  for (const auto& each : cases) {
    auto failed = attempt();
    failed.needs_password = true;
    failed.passfile_state = each.state;
    EXPECT_THAT(advise(failed).hint(), HasSubstr(each.says));
  }
}

// passwordFromFile() in fe-connect.c
TEST(PassfileLine, NamesTheHostAsLibpqDoes) {
  const std::string sockets = "/var/run/postgresql";
  EXPECT_EQ(passfile_host("db1", "10.0.0.1", sockets), "db1");
  EXPECT_EQ(passfile_host("", "10.0.0.1", sockets), "10.0.0.1");
  EXPECT_EQ(passfile_host("", "", sockets), "localhost");
  EXPECT_EQ(passfile_host(sockets, "", sockets), "localhost");
  EXPECT_EQ(passfile_host("/tmp", "", sockets), "/tmp");
  EXPECT_EQ(passfile_host("@abstract", "", sockets), "@abstract");
}

TEST(PassfileLine, EscapesWhatWouldEndAField) {
  auto failed = attempt();
  failed.host = "::1";
  failed.user = "a\\b:c";
  EXPECT_EQ(passfile_line(failed), "\\:\\:1:5432:replication:a\\\\b\\:c:PASSWORD");
}

TEST(SqlIdentifier, QuotesWhatHasToBe) {
  EXPECT_EQ(sql_identifier("archiver_2"), "archiver_2");
  EXPECT_EQ(sql_identifier("Orders"), "\"Orders\"");
  EXPECT_EQ(sql_identifier("2nd"), "\"2nd\"");
  EXPECT_EQ(sql_identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(sql_identifier(""), "\"\"");
}

}  // namespace
}  // namespace weir::pq::connect_advice_test
