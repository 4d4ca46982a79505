/* The least that catching up over TLS can be: the stream is decrypted and thrown away, with nothing looked at
 * but the messages' heads. libpq connects; then OpenSSL alone reads, half a megabyte for each wakeup.
 * What no receiver can fall below that decrypts by OpenSSL in one thread.
 *
 *     bare_tls CONNINFO SLOT ENDPOS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kBuffer = 512 << 10, kHead = 25 };

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* --- What OpenSSL reads from: large pieces of the socket */

static char buffer[kBuffer];
static size_t begin, end;
static int descriptor;

static int take(BIO *bio, char *to, int size) {
  BIO_clear_retry_flags(bio);
  if (begin == end) {
    for (;;) {
      const ssize_t count = recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
      if (count > 0) {
        begin = 0;
        end = (size_t)count;
        break;
      }
      if (count == 0) return 0;
      struct pollfd fd = {descriptor, POLLIN, 0};
      poll(&fd, 1, 100);
    }
  }
  const size_t count = end - begin < (size_t)size ? end - begin : (size_t)size;
  memcpy(to, buffer + begin, count);
  begin += count;
  return (int)count;
}

static long control(BIO *bio, int command, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return command == BIO_CTRL_FLUSH;
}

static void read_by_ourselves(SSL *session) {
  BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bare");
  BIO_meth_set_read(method, take);
  BIO_meth_set_ctrl(method, control);
  BIO *bio = BIO_new(method);
  BIO_set_init(bio, 1);
  SSL_set0_rbio(session, bio);
  const int mark = kBuffer;
  setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark);
}

/* --- */

static void get_all(SSL *session, char *to, size_t size) {
  while (size > 0) {
    const int count = SSL_read(session, to, (int)size);
    if (count <= 0) fail("the connection ended");
    to += count;
    size -= (size_t)count;
  }
}

static uint64_t number_at(const unsigned char *at) {
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | at[i];
  return number;
}

int main(int count, char **words) {
  if (count != 4) fail("usage: bare_tls CONNINFO SLOT ENDPOS");
  char text[4000];
  snprintf(text, sizeof text, "%s replication=true", words[1]);
  PGconn *connection = PQconnectdb(text);
  if (PQstatus(connection) != CONNECTION_OK) fail(PQerrorMessage(connection));
  SSL *session = PQsslStruct(connection, "OpenSSL");
  if (session == NULL) fail("no TLS");
  snprintf(text, sizeof text, "READ_REPLICATION_SLOT \"%s\"", words[2]);
  PGresult *slot = PQexec(connection, text);
  if (PQntuples(slot) != 1) fail(PQerrorMessage(connection));
  unsigned high, low;
  if (sscanf(words[3], "%X/%X", &high, &low) != 2) fail("no position");
  const uint64_t wanted = (uint64_t)high << 32 | low;
  unsigned from_high, from_low;
  if (sscanf(PQgetvalue(slot, 0, 1), "%X/%X", &from_high, &from_low) != 2) fail("no slot");
  snprintf(text, sizeof text, "START_REPLICATION SLOT \"%s\" PHYSICAL %X/%X", words[2], from_high,
           from_low & ~((16u << 20) - 1));
  /* The answer is a record of its own, and libpq reads one at a time here. */
  PGresult *copy = PQexec(connection, text);
  if (PQresultStatus(copy) != PGRES_COPY_BOTH) fail(PQerrorMessage(connection));
  char *message;
  if (PQgetCopyData(connection, &message, 1) != 0) fail("it has begun already");

  descriptor = PQsocket(connection);
  read_by_ourselves(session);
  static char body[1 << 20];
  for (uint64_t position = 0; position < wanted;) {
    unsigned char envelope[5];
    get_all(session, (char *)envelope, sizeof envelope);
    uint32_t length;
    memcpy(&length, envelope + 1, sizeof length);
    length = ntohl(length) - 4;
    if (envelope[0] != 'd' || length > sizeof body) fail("something else came");
    get_all(session, body, length);
    if (body[0] == 'w') position = number_at((unsigned char *)body + 1) + length - kHead;
  }
  return 0;
}
