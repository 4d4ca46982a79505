/* The least that catching up into zstd can be: WAL comes from the socket into the memory of its segment, two threads
 * compress one each (libzstd's level 1, in frames of 2 MiB), write and sync. Nothing is checked; with "unpacked" what
 * was compressed is unpacked once more and compared.
 *
 *     bare_zstd DIRECTORY CONNINFO SLOT ENDPOS [unpacked]
 *
 * Segments of 16 MB, TCP without encryption, ENDPOS on a segment's border. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

enum { kSegment = 16 << 20, kFrame = 2 << 20, kBuffers = 5, kHead = 25, kEnvelope = 5 };

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static char *memory(size_t size) {
  char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) fail("no memory");
  madvise(at, size, MADV_HUGEPAGE);
  return at;
}

/* --- Segments on their way: free, or filled with this one */

static struct buffer {
  char *wal;
  uint64_t number;
  enum { kFree, kBeingFilled, kFilled, kInWork } state;
} buffers[kBuffers];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int over, unpacks;
static const char *directory;

static struct buffer *take(int state, int becomes) {
  pthread_mutex_lock(&mutex);
  for (;;) {
    struct buffer *found = NULL;
    for (int i = 0; i < kBuffers; ++i)
      if ((int)buffers[i].state == state && (!found || buffers[i].number < found->number)) found = &buffers[i];
    if (found) found->state = becomes;
    if (found || (over && state == kFilled)) {
      pthread_mutex_unlock(&mutex);
      return found;
    }
    pthread_cond_wait(&changed, &mutex);
  }
}

static void put(struct buffer *buffer, int becomes) {
  pthread_mutex_lock(&mutex);
  buffer->state = becomes;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
}

static void *compress(void *unused) {
  (void)unused;
  ZSTD_CCtx *packer = ZSTD_createCCtx();
  ZSTD_DCtx *unpacker = ZSTD_createDCtx();
  ZSTD_CCtx_setParameter(packer, ZSTD_c_compressionLevel, 1);
  ZSTD_CCtx_setParameter(packer, ZSTD_c_checksumFlag, 1);
  const size_t room = ZSTD_compressBound(kFrame);
  char *packed = memory(room), *unpacked = memory(kFrame);
  for (struct buffer *buffer; (buffer = take(kFilled, kInWork)) != NULL; put(buffer, kFree)) {
    char name[4000];
    snprintf(name, sizeof name, "%s/%llu.zst", directory, (unsigned long long)buffer->number);
    const int file = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (file < 0) fail("no file");
    for (size_t at = 0; at < kSegment; at += kFrame) {
      const size_t size = ZSTD_compress2(packer, packed, room, buffer->wal + at, kFrame);
      if (ZSTD_isError(size)) fail(ZSTD_getErrorName(size));
      if (unpacks && (ZSTD_decompressDCtx(unpacker, unpacked, kFrame, packed, size) != kFrame ||
                      memcmp(unpacked, buffer->wal + at, kFrame) != 0))
        fail("something else came out");
      if (write(file, packed, size) != (ssize_t)size) fail("not written");
    }
    if (fdatasync(file) != 0 || close(file) != 0) fail("not synced");
  }
  return NULL;
}

/* --- */

static int descriptor;

static void get_all(void *to, size_t size) {
  if (recv(descriptor, to, size, MSG_WAITALL) != (ssize_t)size) fail("the connection ended");
}

/* The body of a message; its type and size are told. */
static uint32_t get_envelope(char *type) {
  unsigned char envelope[kEnvelope];
  uint32_t length;
  get_all(envelope, sizeof envelope);
  memcpy(&length, envelope + 1, sizeof length);
  *type = (char)envelope[0];
  return ntohl(length) - 4;
}

static uint64_t number_at(const unsigned char *at) {
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | at[i];
  return number;
}

int main(int count, char **words) {
  if (count < 5) fail("usage: bare_zstd DIRECTORY CONNINFO SLOT ENDPOS [unpacked]");
  directory = words[1];
  unpacks = count > 5;
  char text[4000];
  snprintf(text, sizeof text, "%s replication=true", words[2]);
  PGconn *connection = PQconnectdb(text);
  if (PQstatus(connection) != CONNECTION_OK) fail(PQerrorMessage(connection));
  snprintf(text, sizeof text, "READ_REPLICATION_SLOT \"%s\"", words[3]);
  PGresult *slot = PQexec(connection, text);
  if (PQntuples(slot) != 1) fail(PQerrorMessage(connection));
  unsigned high, low, from_high, from_low;
  if (sscanf(words[4], "%X/%X", &high, &low) != 2) fail("no position");
  const uint64_t wanted = (uint64_t)high << 32 | low;
  if (sscanf(PQgetvalue(slot, 0, 1), "%X/%X", &from_high, &from_low) != 2) fail("no slot");
  /* By ourselves, so that libpq reads nothing of what follows. */
  unsigned char query[400] = "Q";
  const int length = snprintf((char *)query + kEnvelope, sizeof query - kEnvelope,
                              "START_REPLICATION SLOT \"%s\" PHYSICAL %X/%X", words[3], from_high,
                              from_low & ~(unsigned)(kSegment - 1)) + 1;
  const uint32_t told = htonl((uint32_t)length + 4);
  memcpy(query + 1, &told, sizeof told);
  descriptor = PQsocket(connection);
  const int flags = fcntl(descriptor, F_GETFL);
  fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK);
  if (send(descriptor, query, (size_t)length + kEnvelope, 0) != length + kEnvelope) fail("not sent");

  for (int i = 0; i < kBuffers; ++i) buffers[i].wal = memory(kSegment);
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, compress, NULL);
  struct buffer *current = NULL;
  for (uint64_t position = 0; position < wanted;) {
    char type;
    uint32_t size = get_envelope(&type);
    unsigned char head[kHead];
    if (type != 'd') { /* the answer, or a notice */
      if (type != 'W' || size > sizeof head) fail("something else came");
      get_all(head, size);
      continue;
    }
    get_all(head, 1);
    if (head[0] != 'w') {
      get_all(head, size - 1);
      continue;
    }
    get_all(head + 1, kHead - 1);
    position = number_at(head + 1);
    for (size -= kHead; size > 0;) {
      const size_t at = position % kSegment;
      if (!current) {
        current = take(kFree, kBeingFilled);
        current->number = position / kSegment;
      }
      const size_t part = size < kSegment - at ? size : kSegment - at;
      get_all(current->wal + at, part);
      position += part;
      size -= (uint32_t)part;
      if (position % kSegment == 0) {
        put(current, kFilled);
        current = NULL;
      }
    }
  }
  pthread_mutex_lock(&mutex);
  over = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  return 0;
}
