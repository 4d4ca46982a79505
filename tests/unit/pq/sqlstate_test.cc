#include "pq/sqlstate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace weir::pq::sqlstate_test {
namespace {

TEST(Classify, KnowsWhatPassesByItselfAndWhatDoesNot) {
  const struct {
    const char* sqlstate;
    ErrorKind kind;
  } cases[] = {
      {"08006", ErrorKind::retry},    // connection_failure
      {"08P01", ErrorKind::retry},    // protocol_violation; of PgBouncer anything
      {"0A000", ErrorKind::refused},  // feature_not_supported
      {"22023", ErrorKind::refused},  // invalid_parameter_value
      {"28000", ErrorKind::refused},  // no pg_hba.conf entry
      {"28P01", ErrorKind::refused},  // wrong password
      {"3D000", ErrorKind::refused},  // no such database
      {"42501", ErrorKind::refused},  // not a replication role
      {"42601", ErrorKind::refused},  // syntax error
      {"42704", ErrorKind::refused},  // no such slot
      {"42710", ErrorKind::refused},  // slot exists
      {"53100", ErrorKind::retry},    // upstream's disk is full
      {"53300", ErrorKind::retry},    // too many connections
      {"53400", ErrorKind::refused},  // all replication slots are in use
      {"55000", ErrorKind::refused},  // invalidated or logical slot
      {"55006", ErrorKind::retry},    // slot in use
      {"57014", ErrorKind::retry},    // cancelled
      {"57P01", ErrorKind::retry},    // admin_shutdown
      {"57P02", ErrorKind::retry},    // crash_shutdown
      {"57P03", ErrorKind::retry},    // cannot_connect_now
      {"57P04", ErrorKind::refused},  // database_dropped
      {"57P05", ErrorKind::retry},    // idle_session_timeout
      {"58030", ErrorKind::retry},    // upstream's I/O error
      {"58P01", ErrorKind::retry},    // a file is missing; in a stream it is WAL
      {"XX000", ErrorKind::retry},   // most refusals of START_REPLICATION have no code of their own
      {"XX001", ErrorKind::damage},  // data_corrupted
      {"ZZ999", ErrorKind::retry},   // unheard of
      {"", ErrorKind::retry},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.sqlstate);
    EXPECT_EQ(to_string(classify(each.sqlstate)), to_string(each.kind));
  }
}

TEST(Classify, HintsOfCommandsAreSentences) {
  for (const char* sqlstate : {"42501", "42704", "53400", "55006", "57P01", "58P01", "08P01"}) {
    SCOPED_TRACE(sqlstate);
    ASSERT_NE(hint_for(sqlstate), "");
    EXPECT_EQ(hint_for(sqlstate).back(), '.');
  }
  EXPECT_EQ(hint_for("ZZ999"), "");
}

TEST(ParseConnectFailure, FindsTheSqlstateInAnyLanguage) {
  const struct {
    const char* name;
    const char* message;
    const char* text;
    const char* sqlstate;
    const char* routine;
  } cases[] = {
      {"verbose, with libpq's prefix",
       "connection to server at \"127.0.0.1\", port 5432 failed: FATAL:  28P01: password "
       "authentication failed for user \"u\"\nLOCATION:  auth_failed, auth.c:334\n",
       "password authentication failed for user \"u\"", "28P01", "auth_failed"},
      {"libpq 13, no prefix", "FATAL:  57P03: the database system is starting up\n",
       "the database system is starting up", "57P03", ""},
      {"another language",
       "connection to server on socket \"/tmp/.s.PGSQL.5432\" failed: FATAL:  53300: désolé, trop "
       "de clients sont déjà connectés\n",
       "désolé, trop de clients sont déjà connectés", "53300", ""},
      {"severity in another language", "SCHWERWIEGEND:  3D000: Datenbank »x« existiert nicht\n",
       "Datenbank »x« existiert nicht", "3D000", ""},
      {"two attempts, the password counts",
       "connection to server at \"h\" (::1), port 1 failed: FATAL:  28P01: wrong password\n"
       "LOCATION:  auth_failed, auth.c:334\n"
       "connection to server at \"h\" (::1), port 1 failed: FATAL:  28000: no entry, no "
       "encryption\nLOCATION:  ClientAuthentication, auth.c:517\n",
       "wrong password; no entry, no encryption", "28P01", "auth_failed"},
      {"two attempts, the last one counts",
       "FATAL:  28000: no entry\nLOCATION:  ClientAuthentication, auth.c:517\n"
       "FATAL:  28000: no role\nLOCATION:  InitializeSessionUserId, miscinit.c:749\n",
       "no entry; no role", "28000", "InitializeSessionUserId"},
      {"two attempts, and only one tells where",
       "FATAL:  28000: no entry\nLOCATION:  ClientAuthentication, auth.c:517\n"
       "FATAL:  53300: full\n",
       "no entry; full", "53300", ""},
      {"two attempts, the same twice", "FATAL:  53300: full\nFATAL:  53300: full\n", "full",
       "53300", ""},
      {"detail", "FATAL:  28000: no\nDETAIL:  because\n", "no; DETAIL:  because", "28000", ""},
      {"libpq itself",
       "connection to server at \"h\" (1.2.3.4), port 5432 failed: Connection refused\n\tIs the "
       "server running?\n",
       "Connection refused; Is the server running?", "", ""},
      {"nearly a SQLSTATE", "x:  28p01: lower case; y:  28P01 no colon",
       "x:  28p01: lower case; "
       "y:  28P01 no colon",
       "", ""},
      {"cut off", "FATAL:  28P01", "FATAL:  28P01", "", ""},
      {"nothing", "", "no reason given", "", ""},
      {"only line ends", "\n\n", "no reason given", "", ""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const ConnectFailure failure = parse_connect_failure(each.message);
    EXPECT_EQ(failure.text, each.text);
    EXPECT_EQ(failure.sqlstate.value_or(""), each.sqlstate);
    EXPECT_EQ(failure.routine, each.routine);
  }
}

TEST(ParseConnectFailure, KeepsTheMessageThatIsNotVerbose) {
  EXPECT_EQ(
      parse_connect_failure(
          "connection to server at \"h\" (::1), port 1 failed: FATAL:  28P01: wrong password\n"
          "DETAIL:  because\n"
          "LOCATION:  auth_failed, auth.c:334\n"
          "connection to server at \"h\" (::1), port 1 failed: Connection refused\n\tIs it "
          "there?\n")
          .stock,
      "connection to server at \"h\" (::1), port 1 failed: FATAL:  wrong password\n"
      "DETAIL:  because\n"
      "connection to server at \"h\" (::1), port 1 failed: Connection refused\n\tIs it there?");
}

}  // namespace
}  // namespace weir::pq::sqlstate_test
