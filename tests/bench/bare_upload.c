/* What sending finished segments costs at least, of the processor: each file is read once for the two digests that a
 * store is told before the body (SHA-256, by which the request is signed, and MD5), and decompressed, without which no
 * record of it can be verified; then it is handed from the page cache to a socket. No record is verified, no request
 * signed, and nobody answers.
 *
 *   bare_upload FILE...
 *   bare_upload --digest FILE...     no more than the SHA-256 of each, as archivers compare what is encrypted
 *
 * The other end is a child that throws away what comes and is never waited for: what it takes is not counted. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void swallow(int listening) {
  static char buffer[1 << 16];
  const int descriptor = accept(listening, NULL, NULL);
  if (descriptor < 0) die("accept");
  while (recv(descriptor, buffer, sizeof buffer, MSG_TRUNC) > 0) {
  }
  _exit(0);
}

static int connect_to_child(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  if (listening < 0 || bind(listening, (struct sockaddr *)&address, size) != 0 || listen(listening, 1) != 0 ||
      getsockname(listening, (struct sockaddr *)&address, &size) != 0)
    die("listen");
  const pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    swallow(listening);
  }
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, size) != 0) die("connect");
  return descriptor;
}

static void decompress(ZSTD_DCtx *zstd, const void *bytes, size_t count) {
  static char content[1 << 18];
  ZSTD_inBuffer in = {bytes, count, 0};
  ZSTD_outBuffer out;
  do {
    out = (ZSTD_outBuffer){content, sizeof content, 0};
    if (ZSTD_isError(ZSTD_decompressStream(zstd, &out, &in))) die("decompress");
  } while (in.pos < in.size || out.pos == out.size);
}

/* md5, zstd: NULL for none. */
static void digest(EVP_MD_CTX *sha256, EVP_MD_CTX *md5, ZSTD_DCtx *zstd, int file) {
  static char buffer[1 << 18];
  unsigned char result[EVP_MAX_MD_SIZE];
  ssize_t count;
  if (EVP_DigestInit_ex(sha256, EVP_sha256(), NULL) != 1) die("digest");
  if (md5 != NULL && EVP_DigestInit_ex(md5, EVP_md5(), NULL) != 1) die("digest");
  while ((count = read(file, buffer, sizeof buffer)) > 0) {
    if (EVP_DigestUpdate(sha256, buffer, (size_t)count) != 1) die("digest");
    if (md5 != NULL && EVP_DigestUpdate(md5, buffer, (size_t)count) != 1) die("digest");
    if (zstd != NULL) decompress(zstd, buffer, (size_t)count);
  }
  if (count < 0) die("read");
  if (EVP_DigestFinal_ex(sha256, result, NULL) != 1) die("digest");
  if (md5 != NULL && EVP_DigestFinal_ex(md5, result, NULL) != 1) die("digest");
}

int main(int count, char **words) {
  const int only_digest = count > 1 && strcmp(words[1], "--digest") == 0;
  EVP_MD_CTX *const sha256 = EVP_MD_CTX_new(), *const md5 = only_digest ? NULL : EVP_MD_CTX_new();
  ZSTD_DCtx *const zstd = only_digest ? NULL : ZSTD_createDCtx();
  const int store = only_digest ? -1 : connect_to_child();
  for (int i = 1 + only_digest; i < count; ++i) {
    struct stat status;
    const int file = open(words[i], O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0) die(words[i]);
    digest(sha256, md5, zstd, file);
    for (off_t at = 0; !only_digest && at < status.st_size;)
      if (sendfile(store, file, &at, (size_t)(status.st_size - at)) <= 0) die("sendfile");
    close(file);
  }
  return 0;
}
