#pragma once

#include <functional>

namespace weir::daemon {

/// True in a container whose first process this is. The kernel gives such a process no signal that
/// it has not asked for, SIGTERM included, and makes it the parent of every process that was left
/// behind.
[[nodiscard]] bool is_process_one();

/// Does `work` in a child, while this process is what the first one has to be: signals that other
/// processes send are passed on to the child, and whoever is left behind is waited for, so that no
/// zombie stays. Returns in both: in the child what `work` returned, here what the child ended
/// with, 128 and more if that was a signal, as a shell has it. Where no child can be made the work
/// is done here. To be called before any thread is made.
int below_process_one(const std::function<int()>& work);

}  // namespace weir::daemon
