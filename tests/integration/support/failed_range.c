/* A disk that loses pages which sync_file_range() writes, for tests: the call returns EIO, and what is synced later succeeds,
 * as with a kernel that has reported the error once (Linux, mm/filemap.c, file_check_and_advance_wb_err()). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags) {
  (void)fd, (void)offset, (void)size, (void)flags;
  errno = EIO;
  return -1;
}
