/* The least that a synchronous receiver can be: recv, pwrite, fdatasync, reply, in one loop, into one
 * zero-filled file, with nothing checked, nothing archived and no error survived. What no receiver
 * that syncs each commit can fall below on the machine at hand. With `handed-off` the kernel syncs in
 * a worker of its own (IOCB_CMD_FDSYNC, linux/aio_abi.h), whose time and waits are nobody's.
 *
 *     bare_loop DIRECTORY CONNINFO SLOT [handed-off]
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kSegment = 16 << 20, kHeader = 25 };

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static uint64_t get(const char *at) {
  uint64_t number;
  memcpy(&number, at, sizeof number);
  return be64toh(number);
}

static void put(char *at, uint64_t number) {
  number = htobe64(number);
  memcpy(at, &number, sizeof number);
}

static void reply(PGconn *connection, uint64_t position) {
  char message[34] = {'r'};
  for (int i = 0; i < 3; ++i) put(message + 1 + 8 * i, position);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  put(message + 25, (uint64_t)(now.tv_sec - 946684800) * 1000000 + (uint64_t)now.tv_nsec / 1000);
  if (PQputCopyData(connection, message, sizeof message) != 1 || PQflush(connection) != 0)
    fail("could not reply");
}

static int sync_here(int file, aio_context_t none) {
  (void)none;
  return fdatasync(file);
}

static int sync_elsewhere(int file, aio_context_t context) {
  struct iocb job = {.aio_lio_opcode = IOCB_CMD_FDSYNC, .aio_fildes = (uint32_t)file};
  struct iocb *jobs = &job;
  struct io_event result;
  if (syscall(SYS_io_submit, context, 1, &jobs) != 1 ||
      syscall(SYS_io_getevents, context, 1, 1, &result, NULL) != 1)
    return -1;
  return (int)result.res;
}

int main(int count, char **words) {
  const int handed_off = count == 5 && strcmp(words[4], "handed-off") == 0;
  if (count != 4 && !handed_off) fail("usage: bare_loop DIRECTORY CONNINFO SLOT [handed-off]");
  int (*const sync_data)(int, aio_context_t) = handed_off ? sync_elsewhere : sync_here;
  aio_context_t context = 0;
  if (handed_off && syscall(SYS_io_setup, 1, &context) != 0) fail("no asynchronous input and output");
  char text[2000];
  snprintf(text, sizeof text, "%s replication=true", words[2]);
  PGconn *connection = PQconnectdb(text);
  if (PQstatus(connection) != CONNECTION_OK) fail(PQerrorMessage(connection));
  PGresult *system = PQexec(connection, "IDENTIFY_SYSTEM");
  snprintf(text, sizeof text, "START_REPLICATION SLOT \"%s\" PHYSICAL %s", words[3],
           PQgetvalue(system, 0, 2));
  PGresult *copy = PQexec(connection, text);
  if (PQresultStatus(copy) != PGRES_COPY_BOTH) fail(PQerrorMessage(connection));

  snprintf(text, sizeof text, "%s/bare", words[1]);
  const int file = open(text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  static char zeros[8192];
  for (int at = 0; at < kSegment; at += (int)sizeof zeros)
    if (pwrite(file, zeros, sizeof zeros, at) != sizeof zeros) fail("could not prepare the file");
  if (fsync(file) != 0) fail("could not sync");

  uint64_t written = 0, synced = 0;
  for (;;) {
    char *message;
    const int size = PQgetCopyData(connection, &message, 1);
    if (size == 0) {
      if (written != synced) {
        if (sync_data(file, context) != 0) fail("could not sync");
        synced = written;
        reply(connection, synced);
      }
      struct pollfd fd = {PQsocket(connection), POLLIN, 0};
      if (poll(&fd, 1, 10000) == 0) reply(connection, synced);
      if (PQconsumeInput(connection) != 1) return 0;
      continue;
    }
    if (size < 0) return 0;
    if (message[0] == 'w') {
      const uint64_t start = get(message + 1);
      const size_t bytes = (size_t)size - kHeader, at = start % kSegment;
      const size_t first = bytes < kSegment - at ? bytes : kSegment - at;
      if (pwrite(file, message + kHeader, first, (off_t)at) != (ssize_t)first ||
          pwrite(file, message + kHeader + first, bytes - first, 0) != (ssize_t)(bytes - first))
        fail("could not write");
      written = start + bytes;
    } else if (message[17]) {
      reply(connection, synced);
    }
    PQfreemem(message);
  }
}
