#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"

namespace weir::recovery {

/// The command line of a program: its path, then its arguments.
using Command = std::vector<std::string>;
/// "NAME=VALUE"
using Environment = std::vector<std::string>;

/// Our environment without variables that would affect libpq or a server (PG…, locale), and with
/// LC_ALL=C: the output of servers and tools is parsed.
[[nodiscard]] Environment environment(const std::vector<std::string>& more = {});

/// A running program. If this process dies, the kernel sends `on_our_death` to the program. On
/// destruction, a program that is still running is killed and waited for. One thread, which must
/// outlive it (the kernel ties the signal to that thread).
class Child {
 public:
  struct Settings {
    int output = -1;             ///< descriptor for standard output and error
    std::vector<int> keep = {};  ///< descriptors that it inherits
    int on_our_death = 0;        ///< a signal
  };
  /// Throws Error{retry} if there can be no process; a program that cannot be run ends with 127.
  Child(const Command& command, const Environment& environment, const Settings& settings);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// The exit status, or the number of the signal that ended it, negative; nullopt while it runs.
  [[nodiscard]] std::optional<int> status();
  void signal(int number);
  /// False if it still runs after that time.
  bool wait(std::chrono::milliseconds time);

 private:
  pid_t pid_ = 0;
  std::optional<int> status_;
};

struct Finished {
  int status = 0;
  std::string output;  ///< standard output and error, at most its last 64 kB
  [[nodiscard]] bool done() const { return status == 0; }
};
/// What else a tool is run with.
struct ToolWatch {
  /// Told each line of its output when it is complete; a carriage return ends one, too.
  std::function<void(std::string_view line)> line = {};
  std::vector<int> keep = {};  ///< descriptors that it inherits
};
/// Runs a tool to its end. When `stop` says true it is ended, and Error{retry} thrown.
[[nodiscard]] Finished run_tool(const Command& command, const Environment& environment,
                                const std::function<bool()>& stop, const ToolWatch& watch = {});

}  // namespace weir::recovery
