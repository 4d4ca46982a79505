/*
 * kill_at N COMMAND...: runs the command and kills it (SIGKILL, all of its threads) where the N-th
 * system call begins or ends, whichever thread makes it. Ends with 99 then, else as the command did;
 * N = 0 only counts. The number of such stops is the last line on the standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 3) return 98;
  long at = atol(argv[1]), count = 0;
  pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    execvp(argv[2], argv + 2);
    _exit(97);
  }
  int status, first = 1, result = 98;
  for (;;) {
    pid_t who = waitpid(-1, &status, __WALL);
    if (who < 0) {
      if (errno == EINTR) continue;
      break; /* none is left */
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (who == child)
        result = WIFEXITED(status) ? WEXITSTATUS(status) : at && count >= at ? 99 : 96;
      continue;
    }
    long deliver = 0;
    if (first) {
      first = 0;
      ptrace(PTRACE_SETOPTIONS, who, NULL,
             PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    } else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
      if (++count == at) kill(child, SIGKILL);
    } else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
      deliver = WSTOPSIG(status); /* its own: goes on to it */
    }
    ptrace(PTRACE_SYSCALL, who, NULL, deliver);
  }
  printf("\n%ld\n", count);
  return result;
}
