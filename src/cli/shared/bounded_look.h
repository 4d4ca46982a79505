#pragma once

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/exit_status.h"
#include "base/left_behind.h"
#include "base/log.h"
#include "daemon/signals.h"
#include "io/place.h"
#include "net/wake.h"

namespace weir::cli {

/// The file system of an archive hangs.
class FileSystemHangs : public ErrorAs<FileSystemHangs> {
 public:
  using ErrorAs::ErrorAs;
};

[[nodiscard]] FileSystemHangs file_system_hangs(const std::string& directory);

[[nodiscard]] Error files_hang();

/// As begin_left_behind(), but throws Error{retry} if no thread can be started.
template <typename Read>
[[nodiscard]] auto begin_reading(Read read) {
  try {
    return begin_left_behind(std::move(read));
  } catch (const std::system_error& error) {
    throw unexpected(error);
  }
}

/// Returns or throws the result of `look`. It may run as long as the directory's file system
/// responds, and ten minutes at most. Throws FileSystemHangs after 5 s without a response; `look`
/// is abandoned then, so it must own everything that it uses.
template <typename Look>
[[nodiscard]] auto look_within_bounds(const std::string& directory, Look look) {
  using namespace std::chrono_literals;
  constexpr auto kPause = 2s;     // then the file system is checked for a response
  constexpr auto kPatience = 3s;  // for that answer
  constexpr auto kMost = 600s;
  auto answer = begin_left_behind(std::move(look));
  const auto end = std::chrono::steady_clock::now() + kMost;
  while (answer.wait_for(kPause) != std::future_status::ready) {
    const auto there = begin_left_behind([directory] { io::ask_file_system(directory); });
    const bool hangs = there.wait_for(kPatience) != std::future_status::ready;
    if ((hangs || std::chrono::steady_clock::now() > end) &&
        answer.wait_for(0s) != std::future_status::ready)
      throw file_system_hangs(directory);
  }
  return answer.get();
}

/// Returns or throws the result of `read`, for SIGHUP: the thread that handles signals must not
/// hang with the file system of a configuration file, because SIGTERM would have no effect then.
/// After `patience`, or if SIGTERM or SIGINT arrives meanwhile, it throws Error{retry}; `read` is
/// abandoned then, so it must own everything that it uses.
template <typename Read>
[[nodiscard]] auto reread(Read read,
                          std::chrono::milliseconds patience = std::chrono::seconds(10)) {
  constexpr std::chrono::milliseconds kTurn(50);
  auto answer = begin_reading(std::move(read));
  for (auto left = patience; answer.wait_for(std::min(left, kTurn)) != std::future_status::ready;) {
    left -= std::min(left, kTurn);
    if (left.count() == 0 || daemon::stop_is_pending()) throw files_hang();
  }
  return answer.get();
}

/// The same for a thread that can wait, until `stop` is raised: nullopt then.
template <typename Read>
[[nodiscard]] auto reread_unless(const net::Wake& stop, Read read)
    -> std::optional<decltype(read())> {
  using namespace std::chrono_literals;
  constexpr auto kTurn = 50ms;
  auto answer = begin_reading(std::move(read));
  while (answer.wait_for(kTurn) != std::future_status::ready)
    if (stop.raised()) return std::nullopt;
  return answer.get();
}

/// Waits until the directory's file system responds, even with an error. After 5 s it logs what it
/// waits for. Throws net::Interrupted if `stop` is raised meanwhile.
void wait_for_file_system(const std::string& directory, Log& log, const net::Wake& stop);

}  // namespace weir::cli
