#pragma once

#include <exception>
#include <future>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace weir {

/// Runs `make` in a thread of its own that does not have to be waited for. For calls that may not
/// return, such as those of a network file system that hangs: the caller waits for the result as
/// long as it chooses, and continues without it. `make` may run longer than the caller exists, so
/// it must own everything that it uses; it is destroyed before the result is available. Throws
/// std::system_error if no thread can be started.
template <typename Make>
[[nodiscard]] auto begin_left_behind(Make make) -> std::future<decltype(make())> {
  using Result = decltype(make());
  std::promise<Result> promise;
  auto answer = promise.get_future();  // its destructor does not wait
  std::thread([promise = std::move(promise), owned = std::optional(std::move(make))]() mutable {
    try {
      if constexpr (std::is_void_v<Result>) {
        (*owned)();
        owned.reset();
        promise.set_value();
      } else {
        auto result = (*owned)();
        owned.reset();
        promise.set_value(std::move(result));
      }
    } catch (...) {
      owned.reset();
      promise.set_exception(std::current_exception());
    }
  }).detach();
  return answer;
}

}  // namespace weir
