// Each `pgweir serve` answers `status` on its own socket (`relay/serve_socket`): several may serve
// one directory, and the receiver's socket is unchanged. Names are numbered, so that the next
// process takes over the name of a killed one. The search for a name is exclusive, under a lock
// file, since a socket that is bound but not yet listening looks like a leftover. If no relay
// answers, a slot is reported from its file, because it still holds back `prune`.

#include "relay/serve_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>
#include <vector>

#include "archive/lock_file.h"
#include "base/error.h"
#include "net/wait.h"
#include "net/wake.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

constexpr int kMost = 16;
constexpr std::chrono::milliseconds kAskTime = 5s;  // all of them together
constexpr std::chrono::milliseconds kSoon = 250ms;
constexpr auto kPatience = 2s;
constexpr auto kPause = 20ms;

std::string name_of(int number) { return fmt::format(".pgweir-serve-{}.sock", number); }

/// Serializes the processes that look for a name: a process that is just starting must not take a
/// name that is bound, but not listening yet, for one that was left. nullptr: another process takes
/// very long.
std::unique_ptr<io::File> alone(io::Directory& archive) {
  const net::Wake never;
  for (auto waited = 0ms;; waited += kPause) {
    if (auto lock = archive::try_lock_file(archive, ".pgweir-serve.lock")) return lock;
    if (waited >= kPatience) return nullptr;
    static_cast<void>(net::pause(never, kPause));
  }
}

}  // namespace

ServeSocket::ServeSocket(io::Directory& archive, std::function<std::string()> answer, Log& log) {
  const auto told = [answer = std::move(answer)](const std::string&) { return answer(); };
  try {
    const auto lock = alone(archive);
    for (int number = 1;; ++number) try {
        socket_ = std::make_unique<DirectorySocket>(archive.path(), name_of(number), told);
        return;
      } catch (const Error& error) {
        if (error.system_code() != EADDRINUSE || number == kMost) throw;
      }
  } catch (const Error& error) {
    log.warning("\"pgweir status\" cannot ask this process: {}", error.what());
  }
}

ServeSocket::Answers ServeSocket::ask(const std::string& directory) {
  const auto deadline = std::chrono::steady_clock::now() + kAskTime;
  Answers all;
  std::vector<std::string> silent;
  const auto ask = [&](const std::string& name, std::chrono::milliseconds time, bool again) {
    try {
      if (auto answer = DirectorySocket::ask(directory, name, "status", time))
        all.answers.push_back(std::move(*answer));
    } catch (const Error& error) {
      const bool may_answer = error.kind() == ErrorKind::retry || error.system_code() == ETIMEDOUT;
      if (may_answer && !again)
        silent.push_back(name);
      else
        all.errors.emplace_back(error.what());
    }
  };
  // A process that hangs does not use up the time of the others: those that respond quickly have
  // answered before the slow ones share the remaining time.
  for (int number = 1; number <= kMost; ++number) ask(name_of(number), kSoon, false);
  for (std::size_t i = 0; i < silent.size(); ++i) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    ask(silent[i], std::max(kSoon, left / static_cast<int>(silent.size() - i)), true);
  }
  return all;
}

}  // namespace weir::relay
