/* Linked into the programs that scripts/coverage builds, with -Wl,--wrap=_exit: what a process did that ends at once, such as the helper of
 * a restore, is counted as well. */

void __gcov_dump(void);
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}
