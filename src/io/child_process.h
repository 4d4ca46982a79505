#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::io {

/// The command line of a program: its path, then its arguments.
using Command = std::vector<std::string>;
/// "NAME=VALUE"
using Environment = std::vector<std::string>;

/// `sh -c text`, for a user's command.
[[nodiscard]] Command shell_command(std::string text);
/// The environment of this process, except for the entries for which `leave_out` returns true.
[[nodiscard]] Environment own_environment(
    const std::function<bool(std::string_view entry)>& leave_out = {});

/// How a process ended.
class ProcessEnd {
 public:
  explicit ProcessEnd(int wait_status) : wait_status_(wait_status) {}
  /// It exited with status 0.
  [[nodiscard]] bool success() const { return wait_status_ == 0; }
  /// "child process exited with exit code 1", "command not found", "child process was terminated by
  /// signal 9: Killed": PostgreSQL's words (wait_result_to_str() in src/common/wait_error.c).
  [[nodiscard]] std::string to_string() const;

 private:
  int wait_status_;  ///< as waitpid() reports it
};

/// A running program. It inherits no signal mask, and no dispositions of signals that pgweir
/// ignores. A program that cannot be run ends with exit code 127 if it does not exist, otherwise
/// 126, as a shell's. On destruction, a program that still runs is killed and waited for. One
/// thread; with `on_our_death`, it must outlive the program.
class ChildProcess {
 public:
  struct Settings {
    Environment environment = own_environment();
    bool own_input = false;         ///< its standard input is ours; otherwise it is empty
    int output = -1;                ///< descriptor of its standard output; -1: ours
    bool errors_to_output = false;  ///< its standard error is `output`, too; otherwise ours
    std::vector<int> keep = {};     ///< more descriptors that it inherits; all others are closed
    /// A signal that the kernel sends to it when the thread that started it ends; 0: none.
    int on_our_death = 0;
    /// It leads a process group: signals reach its descendants, too.
    bool own_group = false;
  };
  /// Throws Error{retry} if no process can be started.
  ChildProcess(const Command& command, const Settings& settings);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// nullopt while it runs. This and wait() throw Error{io} if its status is unknown: the process
  /// that started pgweir had SIGCHLD ignored.
  [[nodiscard]] std::optional<ProcessEnd> ended();
  /// False if it still runs after that time.
  [[nodiscard]] bool wait(std::chrono::milliseconds time);
  ProcessEnd wait();
  /// Nothing happens if it has ended.
  void signal(int number);
  /// SIGTERM; after `grace`, or once it has ended, SIGKILL to it, with own_group to its whole
  /// group.
  void terminate(std::chrono::milliseconds grace);

 private:
  /// Without reaping it, so that its process ID cannot be reused.
  [[nodiscard]] bool is_zombie() const;

  const bool own_group_;
  pid_t pid_ = 0;
  std::optional<ProcessEnd> ended_;
};

struct Capture {
  enum class Keep {
    front,  ///< reads no more than `most` bytes; the program gets EPIPE then
    back,   ///< reads everything, and keeps the last `most` bytes
  };
  std::size_t most = 0;  ///< bytes; a few kB more may be kept
  Keep keep = Keep::front;
  /// Called with each line when it is complete; a carriage return ends one, too.
  std::function<void(std::string_view line)> line = {};
  /// When it expires, the program is terminated.
  std::optional<std::chrono::milliseconds> time = {};
  std::function<bool()> stop = {};  ///< polled: true terminates it
};
struct Captured {
  enum class Cut { none, too_late, stopped };
  ProcessEnd end;
  std::string output;
  Cut cut = Cut::none;  ///< why it was terminated; its output is incomplete then
};
/// Runs a program to its end, and captures its output (`settings.output` is ignored). Throws as
/// ChildProcess, and what the functions throw.
[[nodiscard]] Captured run_captured(const Command& command, ChildProcess::Settings settings,
                                    const Capture& capture);

}  // namespace weir::io
