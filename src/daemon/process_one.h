#pragma once

#include <functional>

namespace weir::daemon {

/// True in a container if this is its first process. The kernel delivers only signals with a
/// handler to such a process, even SIGTERM, and makes it the parent of every orphaned process.
[[nodiscard]] bool is_process_one();

/// Runs `work` in a child, while this process acts as the first one (PID 1): signals sent by other
/// processes are passed on to the child, and orphaned processes are reaped, so that no zombie
/// remains. Returns in both: in the child the result of `work`, here the child's exit status, 128
/// plus the signal number if it was a signal, as in a shell. If no child can be created, `work`
/// runs here. Must be called before any thread is created.
int below_process_one(const std::function<int()>& work);

}  // namespace weir::daemon
