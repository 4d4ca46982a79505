// libpq, loaded when first needed.
//
// libpq loads two dozen more libraries (TLS, Kerberos, LDAP), which takes longer than restoring a
// segment. `pgweir restore` runs once for every 16 MB of a recovery and connects to no server, so
// the program is not linked with libpq: the functions below replace libpq's own, with the same
// names and types, and forward each call to the library, which the first call loads. They cannot
// differ from libpq-fe.h: it declares them, with C linkage.

#include <libpq-fe.h>

#include "base/library.h"

namespace {

void* find(const char* name) {
  static const weir::Library library(
      "libpq.so.5", "Install PostgreSQL's client library (on Debian: apt-get install libpq5).");
  return library.find(name);
}

}  // namespace

// NAME(...): the arguments' types are deduced from the library's declaration of the same name.
#define PGWEIR_LIBPQ(name) static const auto call = reinterpret_cast<decltype(&name)>(find(#name))

extern "C" {

// Connecting

PGconn* PQconnectStartParams(const char* const* keywords, const char* const* values, int expand) {
  PGWEIR_LIBPQ(PQconnectStartParams);
  return call(keywords, values, expand);
}
PostgresPollingStatusType PQconnectPoll(PGconn* conn) {
  PGWEIR_LIBPQ(PQconnectPoll);
  return call(conn);
}
PGPing PQpingParams(const char* const* keywords, const char* const* values, int expand) {
  PGWEIR_LIBPQ(PQpingParams);
  return call(keywords, values, expand);
}
void PQfinish(PGconn* conn) {
  PGWEIR_LIBPQ(PQfinish);
  call(conn);
}
PQconninfoOption* PQconninfoParse(const char* conninfo, char** message) {
  PGWEIR_LIBPQ(PQconninfoParse);
  return call(conninfo, message);
}
PQconninfoOption* PQconninfo(PGconn* conn) {
  PGWEIR_LIBPQ(PQconninfo);
  return call(conn);
}
void PQconninfoFree(PQconninfoOption* options) {
  PGWEIR_LIBPQ(PQconninfoFree);
  call(options);
}
PQnoticeReceiver PQsetNoticeReceiver(PGconn* conn, PQnoticeReceiver receiver, void* arg) {
  PGWEIR_LIBPQ(PQsetNoticeReceiver);
  return call(conn, receiver, arg);
}
char* PQhost(const PGconn* conn) {
  PGWEIR_LIBPQ(PQhost);
  return call(conn);
}
int PQconnectionNeedsPassword(const PGconn* conn) {
  PGWEIR_LIBPQ(PQconnectionNeedsPassword);
  return call(conn);
}
PGVerbosity PQsetErrorVerbosity(PGconn* conn, PGVerbosity verbosity) {
  PGWEIR_LIBPQ(PQsetErrorVerbosity);
  return call(conn, verbosity);
}

// State

ConnStatusType PQstatus(const PGconn* conn) {
  PGWEIR_LIBPQ(PQstatus);
  return call(conn);
}
char* PQerrorMessage(const PGconn* conn) {
  PGWEIR_LIBPQ(PQerrorMessage);
  return call(conn);
}
int PQsocket(const PGconn* conn) {
  PGWEIR_LIBPQ(PQsocket);
  return call(conn);
}
void* PQsslStruct(PGconn* conn, const char* struct_name) {
  PGWEIR_LIBPQ(PQsslStruct);
  return call(conn, struct_name);
}
int PQsslInUse(PGconn* conn) {
  PGWEIR_LIBPQ(PQsslInUse);
  return call(conn);
}
int PQgssEncInUse(PGconn* conn) {
  PGWEIR_LIBPQ(PQgssEncInUse);
  return call(conn);
}
int PQserverVersion(const PGconn* conn) {
  PGWEIR_LIBPQ(PQserverVersion);
  return call(conn);
}
const char* PQparameterStatus(const PGconn* conn, const char* name) {
  PGWEIR_LIBPQ(PQparameterStatus);
  return call(conn, name);
}
int PQsetnonblocking(PGconn* conn, int on) {
  PGWEIR_LIBPQ(PQsetnonblocking);
  return call(conn, on);
}
char* PQescapeLiteral(PGconn* conn, const char* text, size_t length) {
  PGWEIR_LIBPQ(PQescapeLiteral);
  return call(conn, text, length);
}
char* PQescapeIdentifier(PGconn* conn, const char* text, size_t length) {
  PGWEIR_LIBPQ(PQescapeIdentifier);
  return call(conn, text, length);
}

// Sending and receiving

int PQsendQuery(PGconn* conn, const char* query) {
  PGWEIR_LIBPQ(PQsendQuery);
  return call(conn, query);
}
int PQconsumeInput(PGconn* conn) {
  PGWEIR_LIBPQ(PQconsumeInput);
  return call(conn);
}
int PQisBusy(PGconn* conn) {
  PGWEIR_LIBPQ(PQisBusy);
  return call(conn);
}
int PQflush(PGconn* conn) {
  PGWEIR_LIBPQ(PQflush);
  return call(conn);
}
int PQgetCopyData(PGconn* conn, char** buffer, int async) {
  PGWEIR_LIBPQ(PQgetCopyData);
  return call(conn, buffer, async);
}
int PQputCopyData(PGconn* conn, const char* buffer, int size) {
  PGWEIR_LIBPQ(PQputCopyData);
  return call(conn, buffer, size);
}
int PQputCopyEnd(PGconn* conn, const char* message) {
  PGWEIR_LIBPQ(PQputCopyEnd);
  return call(conn, message);
}
PGnotify* PQnotifies(PGconn* conn) {
  PGWEIR_LIBPQ(PQnotifies);
  return call(conn);
}
void PQfreemem(void* memory) {
  PGWEIR_LIBPQ(PQfreemem);
  call(memory);
}

// Results

PGresult* PQgetResult(PGconn* conn) {
  PGWEIR_LIBPQ(PQgetResult);
  return call(conn);
}
ExecStatusType PQresultStatus(const PGresult* result) {
  PGWEIR_LIBPQ(PQresultStatus);
  return call(result);
}
char* PQresStatus(ExecStatusType status) {
  PGWEIR_LIBPQ(PQresStatus);
  return call(status);
}
char* PQresultErrorMessage(const PGresult* result) {
  PGWEIR_LIBPQ(PQresultErrorMessage);
  return call(result);
}
char* PQresultErrorField(const PGresult* result, int field) {
  PGWEIR_LIBPQ(PQresultErrorField);
  return call(result, field);
}
int PQntuples(const PGresult* result) {
  PGWEIR_LIBPQ(PQntuples);
  return call(result);
}
int PQnfields(const PGresult* result) {
  PGWEIR_LIBPQ(PQnfields);
  return call(result);
}
char* PQgetvalue(const PGresult* result, int row, int column) {
  PGWEIR_LIBPQ(PQgetvalue);
  return call(result, row, column);
}
int PQgetlength(const PGresult* result, int row, int column) {
  PGWEIR_LIBPQ(PQgetlength);
  return call(result, row, column);
}
char* PQfname(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQfname);
  return call(result, column);
}
Oid PQftable(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQftable);
  return call(result, column);
}
int PQftablecol(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQftablecol);
  return call(result, column);
}
int PQfformat(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQfformat);
  return call(result, column);
}
Oid PQftype(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQftype);
  return call(result, column);
}
int PQfsize(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQfsize);
  return call(result, column);
}
int PQfmod(const PGresult* result, int column) {
  PGWEIR_LIBPQ(PQfmod);
  return call(result, column);
}
int PQbinaryTuples(const PGresult* result) {
  PGWEIR_LIBPQ(PQbinaryTuples);
  return call(result);
}
char* PQcmdStatus(PGresult* result) {
  PGWEIR_LIBPQ(PQcmdStatus);
  return call(result);
}
int PQgetisnull(const PGresult* result, int row, int column) {
  PGWEIR_LIBPQ(PQgetisnull);
  return call(result, row, column);
}
void PQclear(PGresult* result) {
  PGWEIR_LIBPQ(PQclear);
  call(result);
}

}  // extern "C"
