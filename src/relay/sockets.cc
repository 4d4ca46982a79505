// Each `pgweir serve` answers `status` on its own socket (`ServeSocket`): several may serve
// one directory, and the receiver's socket is unchanged. Names are numbered, so that the next
// process takes over the name of a killed one. The search for a name is exclusive, under a lock
// file, since a socket that is bound but not yet listening looks like a leftover. If no relay
// answers, a slot is reported from its file, because it still holds back `prune`.
//
// The slots' lock is not the archive's. A receiver holds that one, and serving alongside a receiver
// has slots, too. The holder of `.pgweir-slots.lock` answers `pgweir slot -D` on a socket. A
// process that does not get it retries every second: when a relay is restarted, the previous one
// may still be running.

#include "relay/sockets.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>

#include "archive/lock_file.h"
#include "base/error.h"
#include "net/wait.h"
#include "net/wake.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;
using net::DirectorySocket;

constexpr const char* kSlotsName = ".pgweir-slots.sock";
constexpr int kMostSockets = 16;
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

/// A slot of an earlier version may have a line's end in its name; none has a zero.
std::string with(std::string line, char one, char instead) {
  std::replace(line.begin(), line.end(), one, instead);
  return line;
}

/// nullopt: no process listens there.
std::optional<std::string> ask_process(const std::string& directory, const std::string& name,
                                       const std::string& line, std::chrono::milliseconds time) {
  auto reply = DirectorySocket::ask(directory, name, &line, time);
  if (reply.silent)
    throw Error(ErrorKind::retry, "a process that serves the archive does not answer")
        .with("socket", fmt::format("{}/{}", directory, name))
        .hint("It may be stopped (SIGSTOP), or its disk hangs.");
  if (reply.code != 0) {
    auto error = system_error(reply.code, "could not query the process that serves the archive")
                     .with("socket", fmt::format("{}/{}", directory, name));
    if (reply.code == EACCES || reply.code == EPERM)
      error.hint("Run the command as the user of \"pgweir serve\".");
    throw error;
  }
  return std::move(reply.answer);
}

}  // namespace

ServeSocket::ServeSocket(io::Directory& archive, std::function<std::string()> answer, Log& log) {
  const auto told = [answer = std::move(answer)](const std::string&) { return answer(); };
  try {
    const auto lock = alone(archive);
    for (int number = 1;; ++number) try {
        socket_ = std::make_unique<DirectorySocket>(archive.path(), name_of(number),
                                                    DirectorySocket::Name::may_be_in_use,
                                                    DirectorySocket::Client::sends_line, told);
        return;
      } catch (const Error& error) {
        if (error.system_code() != EADDRINUSE || number == kMostSockets) throw;
      }
  } catch (const std::exception& error) {  // or there is no thread for it
    log.warning("\"pgweir status\" cannot query this process: {}", error.what());
  }
}

ServeSocket::Answers ServeSocket::ask(const std::string& directory) {
  const auto deadline = std::chrono::steady_clock::now() + kAskTime;
  Answers all;
  std::vector<std::string> silent;
  const auto ask = [&](const std::string& name, std::chrono::milliseconds time, bool again) {
    try {
      if (auto answer = ask_process(directory, name, "status", time))
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
  for (int number = 1; number <= kMostSockets; ++number) ask(name_of(number), kSoon, false);
  for (std::size_t i = 0; i < silent.size(); ++i) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    ask(silent[i], std::max(kSoon, left / static_cast<int>(silent.size() - i)), true);
  }
  return all;
}

SlotsSocket::SlotsSocket(const std::string& directory,
                         std::function<std::string(const std::string&)> answer, Log& log) {
  try {
    socket_.emplace(directory, kSlotsName, DirectorySocket::Name::may_be_in_use,
                    DirectorySocket::Client::sends_line,
                    [answer = std::move(answer)](const std::string& line) {
                      return answer(with(line, '\0', '\n'));
                    });
  } catch (const std::exception& error) {
    log.warning("\"pgweir slot list -D\" cannot query this process: {}", error.what());
  }
}

std::optional<std::string> SlotsSocket::ask(const std::string& directory, const std::string& line,
                                            std::chrono::milliseconds time) {
  return ask_process(directory, kSlotsName, with(line, '\n', '\0'), time);
}

}  // namespace weir::relay
