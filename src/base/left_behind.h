#pragma once

#include <future>
#include <thread>
#include <utility>

namespace weir {

/// Begins `make` in a thread of its own that nobody has to wait for. For calls that may not come
/// back, such as those of a file system that hangs: the caller waits for the answer as long as it
/// likes and goes on without it. `make` may be at work longer than the caller lives, so it owns all
/// that it uses. Throws std::system_error if there is no thread to be had.
template <typename Make>
[[nodiscard]] auto begin_left_behind(Make make) -> std::future<decltype(make())> {
  std::packaged_task<decltype(make())()> task(std::move(make));
  auto answer = task.get_future();  // its destructor does not wait
  std::thread(std::move(task)).detach();
  return answer;
}

}  // namespace weir
