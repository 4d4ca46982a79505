#pragma once

#include <future>
#include <thread>
#include <utility>

namespace weir {

/// Runs `make` in a thread of its own that does not have to be waited for. For calls that may not
/// return, such as those of a file system that hangs: the caller waits for the result as long as it
/// chooses, and continues without it. `make` may run longer than the caller exists, so it must own
/// everything that it uses. Throws std::system_error if no thread can be started.
template <typename Make>
[[nodiscard]] auto begin_left_behind(Make make) -> std::future<decltype(make())> {
  std::packaged_task<decltype(make())()> task(std::move(make));
  auto answer = task.get_future();  // its destructor does not wait
  std::thread(std::move(task)).detach();
  return answer;
}

}  // namespace weir
