/* The floor of whoever sends WAL: a walsender in nothing but what its clients hear (tests/bench/swallow.c). Each
 * client has a thread of its own, until it goes.
 *
 *   bare_sender PORT                       each gets the same 128 kB of memory again and again
 *   bare_sender PORT CLIENTS FILE.zst ...  once so many are there, another thread unpacks the files again and
 *                                          again by libzstd, at most RING pieces of 128 kB ahead of the slowest
 *                                          client, and all of them get what it unpacks */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

#define PIECE (128 << 10)
#define RING 4
#define MOST 64

static char pieces[RING][PIECE];
static char **files; /* NULL: nothing is unpacked */
static int file_count, client_count;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER, room = PTHREAD_COND_INITIALIZER;
static uint64_t filled;      /* pieces, since CLIENTS were there */
static uint64_t taken[MOST]; /* by each of them; UINT64_MAX: it has gone */
static int connected;

/* Reads what the client says next; it says one thing at a time. */
static int hear(int client) {
  char said[1024];
  return recv(client, said, sizeof said, 0) > 0;
}

static uint64_t slowest(void) {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < client_count; ++i)
    if (taken[i] < least) least = taken[i];
  return least;
}

/* Where the next piece goes; NULL: all clients have gone. */
static char *next_piece(void) {
  pthread_mutex_lock(&mutex);
  while (slowest() != UINT64_MAX && filled - slowest() >= RING) pthread_cond_wait(&room, &mutex);
  char *piece = slowest() == UINT64_MAX ? NULL : pieces[filled % RING];
  pthread_mutex_unlock(&mutex);
  return piece;
}

static void piece_is_filled(void) {
  pthread_mutex_lock(&mutex);
  ++filled;
  pthread_cond_broadcast(&more);
  pthread_mutex_unlock(&mutex);
}

static char *contents(const char *name, size_t *size) {
  FILE *file = fopen(name, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0) return NULL;
  *size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*size);
  if (!bytes || fread(bytes, 1, *size, file) != *size) return NULL;
  fclose(file);
  return bytes;
}

static void *unpack(void *unused) {
  (void)unused;
  ZSTD_DCtx *context = ZSTD_createDCtx();
  ZSTD_outBuffer out = {next_piece(), PIECE, 0};
  for (int at = 0; out.dst; at = (at + 1) % file_count) {
    ZSTD_inBuffer in = {NULL, 0, 0};
    char *bytes = contents(files[at], &in.size);
    if (!bytes) {
      perror(files[at]);
      exit(1);
    }
    in.src = bytes;
    for (int full = 0; out.dst && (in.pos < in.size || full);) {
      const size_t left = ZSTD_decompressStream(context, &out, &in);
      if (ZSTD_isError(left)) {
        fprintf(stderr, "%s: %s\n", files[at], ZSTD_getErrorName(left));
        exit(1);
      }
      full = out.pos == out.size;
      if (full) {
        piece_is_filled();
        out.dst = next_piece();
        out.pos = 0;
      }
    }
    free(bytes);
  }
  ZSTD_freeDCtx(context);
  pthread_mutex_lock(&mutex);
  filled = 0;
  connected = 0;
  pthread_mutex_unlock(&mutex);
  return NULL;
}

/* The next one's number; the last one starts the thread that unpacks. */
static int begin(void) {
  pthread_mutex_lock(&mutex);
  const int number = connected++;
  taken[number] = 0;
  pthread_t thread;
  if (connected == client_count) {
    pthread_create(&thread, NULL, unpack, NULL);
    pthread_detach(thread);
  }
  pthread_mutex_unlock(&mutex);
  return number;
}

static const char *wait_for_piece(int number) {
  if (!files) return pieces[0];
  pthread_mutex_lock(&mutex);
  while (taken[number] >= filled) pthread_cond_wait(&more, &mutex);
  const char *piece = pieces[taken[number] % RING];
  pthread_mutex_unlock(&mutex);
  return piece;
}

static void has_taken(int number, int gone) {
  if (!files) return;
  pthread_mutex_lock(&mutex);
  taken[number] = gone ? UINT64_MAX : taken[number] + 1;
  pthread_cond_signal(&room);
  pthread_mutex_unlock(&mutex);
}

static void send_wal(int client) {
  const int number = files ? begin() : 0;
  for (int alive = 1; alive;) {
    const char *piece = wait_for_piece(number);
    for (size_t sent = 0; sent < PIECE && alive;) {
      const ssize_t count = send(client, piece + sent, PIECE - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) {
        sent += (size_t)count;
      } else if (count < 0 && errno == EAGAIN) {
        struct pollfd has_room = {client, POLLOUT, 0};
        poll(&has_room, 1, -1);
      } else {
        alive = 0;
      }
    }
    has_taken(number, !alive);
  }
}

static void *serve(void *argument) {
  const int client = (int)(intptr_t)argument;
  const int on = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  /* ReadyForQuery, CopyBothResponse. */
  if (hear(client) && send(client, "Z\0\0\0\5I", 6, MSG_NOSIGNAL) == 6 && hear(client) &&
      send(client, "W\0\0\0\7\0\0\0", 8, MSG_NOSIGNAL) == 8)
    send_wal(client);
  close(client);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 2 && argc < 4) {
    fprintf(stderr, "usage: bare_sender PORT [CLIENTS FILE.zst ...]\n");
    return 2;
  }
  if (argc > 2) {
    client_count = atoi(argv[2]);
    files = argv + 3;
    file_count = argc - 3;
    if (client_count < 1 || client_count > MOST) return 2;
  } else {
    memset(pieces, 'd', sizeof pieces);
  }
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 100) != 0) {
    perror("bind");
    return 1;
  }
  for (;;) {
    const int client = accept(listener, NULL, NULL);
    pthread_t thread;
    if (client < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) != 0) return 1;
    pthread_detach(thread);
  }
}
