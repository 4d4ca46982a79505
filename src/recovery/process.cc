#include "recovery/process.h"

#include <fcntl.h>  // check-includes: flags of descriptors that a child inherits
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <thread>

#include "base/error.h"

namespace weir::recovery {

namespace {

using namespace std::chrono_literals;
constexpr auto kChildLook = 20ms;

/// In the child between fork and exec: nothing but system calls.
[[noreturn]] void become(char* const* arguments, char* const* variables,
                         const Child::Settings& settings, pid_t parent, int null) {
  ::prctl(PR_SET_PDEATHSIG, settings.on_our_death);
  if (::getppid() != parent) ::_exit(127);  // it died before the signal was set
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGXFSZ, SIGHUP}) ::signal(number, SIG_DFL);
  ::dup2(null, STDIN_FILENO);
  ::dup2(settings.output, STDOUT_FILENO);
  ::dup2(settings.output, STDERR_FILENO);
  for (const int fd : settings.keep) ::fcntl(fd, F_SETFD, 0);
  ::execve(arguments[0], arguments, variables);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Environment environment(const std::vector<std::string>& more) {
  Environment result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool libpq = text.starts_with("PG") && !text.starts_with("PGWEIR_");
    if (!libpq && !text.starts_with("LC_") && !text.starts_with("LANG")) result.emplace_back(text);
  }
  result.emplace_back("LC_ALL=C");
  result.insert(result.end(), more.begin(), more.end());
  return result;
}

Child::Child(const Command& command, const Environment& environment, const Settings& settings) {
  auto words = command;
  auto variables = environment;
  const auto arguments = pointers(words);
  const auto values = pointers(variables);
  const Descriptor null(
      ::open("/dev/null", O_RDWR | O_CLOEXEC));  // check-includes: no file of ours
  const auto parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(arguments.data(), values.data(), settings, parent, null.get());
  if (pid_ < 0)
    throw Error(ErrorKind::retry, "could not start a process")
        .with("reason", system_error(errno, "fork").what());
}

Child::~Child() {
  if (status()) return;
  signal(SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> Child::status() {
  int raw = 0;
  if (!status_ && ::waitpid(pid_, &raw, WNOHANG) == pid_)
    status_ = WIFSIGNALED(raw) ? -WTERMSIG(raw) : WEXITSTATUS(raw);
  return status_;
}

void Child::signal(int number) {
  if (!status()) ::kill(pid_, number);
}

bool Child::wait(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!status()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(kChildLook);
  }
  return true;
}

Finished run_tool(const Command& command, const Environment& environment,
                  const std::function<bool()>& stop, const ToolWatch& watch) {
  constexpr std::size_t kMost = std::size_t{64} << 10;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(ErrorKind::retry, "could not make a pipe")
        .with("reason", system_error(errno, "pipe").what());
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  Child child(command, environment,
              {.output = writing.get(), .keep = watch.keep, .on_our_death = SIGKILL});
  writing.close();
  Finished finished;
  std::string line;
  const auto split = [&](std::string_view text) {
    if (!watch.line) return;
    for (const char c : text) {
      if (c != '\n' && c != '\r') {
        line += c;
      } else if (!line.empty()) {
        watch.line(line);
        line.clear();
      }
    }
  };
  std::array<char, 8192> piece;
  for (;;) {
    if (stop())
      throw Error(ErrorKind::retry, "stopped while a program was running")
          .with("tool", command.front());
    pollfd ready{reading.get(), POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(kChildLook.count())) <= 0) continue;
    const auto count = ::read(reading.get(), piece.data(), piece.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) break;
    finished.output.append(piece.data(), static_cast<std::size_t>(count));
    split({piece.data(), static_cast<std::size_t>(count)});
    if (finished.output.size() > 2 * kMost)
      finished.output.erase(0, finished.output.size() - kMost);
  }
  split("\n");
  while (!child.wait(kChildLook))
    if (stop())
      throw Error(ErrorKind::retry, "stopped while a program was running")
          .with("tool", command.front());
  finished.status = *child.status();
  return finished;
}

}  // namespace weir::recovery
