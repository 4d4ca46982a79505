#include "cli/shared/bounded_look.h"

#include "net/wait.h"

namespace weir::cli {

using namespace std::chrono_literals;

FileSystemHangs file_system_hangs(const std::string& directory) {
  return FileSystemHangs(ErrorKind::io, "the archive's file system does not answer")
      .with("directory", directory)
      .hint("Check the mount, the network and the kernel log.");
}

Error files_hang() {
  return Error(ErrorKind::retry, "the files could not be read: their file system does not answer")
      .hint("Check the mount, the network and the kernel log, then send SIGHUP again.");
}

void wait_for_file_system(const std::string& directory, Log& log, const net::Wake& stop) {
  constexpr auto kPatience = 5s;
  constexpr auto kTurn = 50ms;
  const auto answer = begin_left_behind([directory] { io::ask_file_system(directory); });
  const auto told_at = std::chrono::steady_clock::now() + kPatience;
  bool told = false;
  while (answer.wait_for(kTurn) != std::future_status::ready) {
    if (!net::pause(stop, 0ms)) throw net::Interrupted{};
    if (told || std::chrono::steady_clock::now() < told_at) continue;
    const auto error = file_system_hangs(directory);
    log.warning("{}; waiting for it", error.what());
    told = true;
  }
  if (told) log.info("the archive's file system answers again");
}

}  // namespace weir::cli
