#include "io/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"

namespace weir::io::child_process_test {
namespace {

using namespace std::chrono_literals;
using Cut = Captured::Cut;
using Keep = Capture::Keep;
constexpr std::size_t kMost = 1 << 20;

Captured capture(const std::string& command, ChildProcess::Settings settings = {},
                 const Capture& how = {.most = kMost}) {
  return run_captured(shell_command(command), std::move(settings), how);
}

class ChildProcessTest : public ::testing::Test {
 protected:
  ChildProcessTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "pgweir-child-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~ChildProcessTest() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ / name; }

  /// Waits until `name` has a number, and returns it.
  pid_t number_in(const std::string& name) const {
    std::string line;
    for (;; ::usleep(1000)) {
      std::ifstream file(path(name));
      if (std::getline(file, line) && !file.eof()) return std::stoi(line);
    }
  }
  /// Waits until the process has ended. (It may be a zombie that its new parent has not reaped.)
  static void wait_for_end_of(pid_t process) {
    for (;;) {
      std::string stat;
      std::getline(std::ifstream("/proc/" + std::to_string(process) + "/stat"), stat);
      if (stat.empty() || stat.find(") Z ") != std::string::npos) return;
      ::usleep(1000);
    }
  }

  std::filesystem::path directory_;
};

TEST_F(ChildProcessTest, ReportsHowItEndedAsPostgresDoes) {
  const auto told = [](const Command& command) {
    return ChildProcess(command, {}).wait().to_string();
  };
  EXPECT_TRUE(ChildProcess(shell_command("exit 0"), {}).wait().success());
  EXPECT_FALSE(ChildProcess(shell_command("exit 7"), {}).wait().success());
  EXPECT_EQ(told(shell_command("exit 7")), "child process exited with exit code 7");
  EXPECT_EQ(told(shell_command("kill -KILL $$")),
            "child process was terminated by signal 9: Killed");
  EXPECT_EQ(told(shell_command("no-such-command-here 2>/dev/null")), "command not found");
  EXPECT_EQ(told({path("missing")}), "command not found");
  std::ofstream(path("plain")) << "no program\n";
  EXPECT_EQ(told({path("plain")}), "command not executable");
  EXPECT_EQ(told({directory_}), "command not executable");
}

TEST_F(ChildProcessTest, GetsItsArgumentsAndItsEnvironmentAsTheyAre) {
  const std::string odd = "it's \"$(touch pwned)\"\n\xff = ;";
  const auto done = run_captured({"/bin/sh", "-c", "printf '%s|%s' \"$0\" \"$ODD\"", odd},
                                 {.environment = {"ODD=" + odd}}, {.most = kMost});
  EXPECT_EQ(done.output, odd + "|" + odd);
  EXPECT_EQ(run_captured({"/usr/bin/env"}, {.environment = {"A=1", "B=2"}}, {.most = kMost}).output,
            "A=1\nB=2\n");
  ::setenv("PGWEIR_TEST_CHILD", "own", 1);
  const auto own = own_environment();
  const auto without = own_environment(
      [](std::string_view entry) { return entry.starts_with("PGWEIR_TEST_CHILD="); });
  ::unsetenv("PGWEIR_TEST_CHILD");
  EXPECT_EQ(std::count(own.begin(), own.end(), "PGWEIR_TEST_CHILD=own"), 1);
  EXPECT_EQ(own.size(), without.size() + 1);
}

TEST_F(ChildProcessTest, HasTheStreamsItIsGiven) {
  EXPECT_EQ(capture("! read line && echo empty").output, "empty\n");
  EXPECT_EQ(capture("echo out; echo err >&2", {.errors_to_output = true}).output, "out\nerr\n");
  // Ours, with a file in its place.
  std::ofstream(path("input")) << "from our input\n";
  const Descriptor before(::dup(STDIN_FILENO));
  const Descriptor file(::open(path("input").c_str(), O_RDONLY));
  ASSERT_EQ(::dup2(file.get(), STDIN_FILENO), STDIN_FILENO);
  const auto own = capture("read line; echo \"$line\"", {.own_input = true});
  ::dup2(before.get(), STDIN_FILENO);
  EXPECT_EQ(own.output, "from our input\n");
  const Descriptor output(::open(path("output").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_TRUE(ChildProcess(shell_command("echo out; echo err >&2"),
                           {.output = output.get(), .errors_to_output = true})
                  .wait()
                  .success());
  std::ifstream written(path("output"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(written), {}), "out\nerr\n");
}

TEST_F(ChildProcessTest, InheritsTheDescriptorsThatAreNamedOnly) {
  const Descriptor hidden(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Descriptor named(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto test = [](const Descriptor& each) {
    return "[ -e /proc/$$/fd/" + std::to_string(each.get()) + " ]";
  };
  EXPECT_TRUE(
      ChildProcess(shell_command(test(named) + " && ! " + test(hidden)), {.keep = {named.get()}})
          .wait()
          .success());
  // Neither is the pipe that its output is read from.
  std::set<int> expected = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
  for (int each = 0; each < 1024; ++each)
    if (const int flags = ::fcntl(each, F_GETFD); flags >= 0 && (flags & FD_CLOEXEC) == 0)
      expected.insert(each);
  const auto listed = run_captured({"/bin/ls", "/proc/self/fd"}, {}, {.most = kMost}).output;
  EXPECT_EQ(static_cast<std::size_t>(std::count(listed.begin(), listed.end(), '\n')),
            expected.size() + 1)  // of ls itself: the directory
      << listed;
}

TEST_F(ChildProcessTest, HasTheUsualSignals) {
  // As pgweir has them: one ignored, and one blocked for a thread that waits for it.
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  sigset_t mask;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &mask);
  EXPECT_EQ(ChildProcess(shell_command("kill -PIPE $$"), {}).wait().to_string(),
            "child process was terminated by signal 13: Broken pipe");
  EXPECT_EQ(ChildProcess(shell_command("kill -TERM $$; exit 3"), {}).wait().to_string(),
            "child process was terminated by signal 15: Terminated");
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, &mask, &now);
  EXPECT_EQ(::sigismember(&now, SIGTERM), 1) << "ours are as they were";
  std::signal(SIGPIPE, before);
  // nohup
  const auto hangup = std::signal(SIGHUP, SIG_IGN);
  EXPECT_TRUE(ChildProcess(shell_command("kill -HUP $$; exit 0"), {}).wait().success());
  std::signal(SIGHUP, hangup);
}

TEST_F(ChildProcessTest, IsWaitedForAndSignalled) {
  ChildProcess child({"/bin/sleep", "1000"}, {});
  EXPECT_FALSE(child.wait(1ms));
  EXPECT_FALSE(child.ended());
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait().to_string(), "child process was terminated by signal 15: Terminated");
  EXPECT_TRUE(child.ended());
  child.signal(SIGTERM);  // nobody gets it
}

TEST_F(ChildProcessTest, IsKilledWhenItsOwnerIsDestroyed) {
  pid_t process = 0;
  {
    const ChildProcess child(
        shell_command("trap '' TERM; echo $$ > " + path("pid") + "; while :; do sleep 1; done"),
        {});
    process = number_in("pid");
  }
  EXPECT_EQ(::kill(process, 0), -1);
  EXPECT_EQ(errno, ESRCH) << "it was reaped, too";
}

TEST_F(ChildProcessTest, GetsASignalWhenTheThreadThatStartedItEnds) {
  // A process between, which is killed; it prints the process ID of its own child.
  const auto between = ::fork();
  if (between == 0) {
    const ChildProcess child(
        shell_command("echo $$ > " + path("pid") + "; while :; do sleep 1; done"),
        {.on_our_death = SIGKILL});
    for (;;) ::pause();
  }
  const auto process = number_in("pid");
  ::kill(between, SIGKILL);
  ::waitpid(between, nullptr, 0);
  wait_for_end_of(process);
}

TEST_F(ChildProcessTest, CapturesItsOutputToTheEnd) {
  const auto done = capture("echo one; sleep 0.05; printf two; exit 3");
  EXPECT_EQ(done.output, "one\ntwo");
  EXPECT_EQ(done.end.to_string(), "child process exited with exit code 3");
  EXPECT_EQ(done.cut, Cut::none);
  // Its output is closed long before its end.
  EXPECT_EQ(capture("echo x; exec >/dev/null; sleep 0.1; exit 4").end.to_string(),
            "child process exited with exit code 4");
}

TEST_F(ChildProcessTest, KeepsABoundedPartOfItsOutput) {
  const auto front = capture("exec yes", {}, {.most = 10'000});
  EXPECT_EQ(front.end.to_string(), "child process was terminated by signal 13: Broken pipe");
  EXPECT_GT(front.output.size(), 10'000u);
  EXPECT_LE(front.output.size(), 10'000u + 8192u);
  const auto back = capture("seq 1 100000", {}, {.most = 1000, .keep = Keep::back});
  EXPECT_TRUE(back.end.success());
  EXPECT_EQ(back.output.size(), 1000u);
  EXPECT_TRUE(back.output.ends_with("99999\n100000\n"));
}

TEST_F(ChildProcessTest, ReportsEachLine) {
  std::vector<std::string> lines;
  const auto done =
      capture("printf 'one\\ntwo\\r\\n\\nth'; sleep 0.05; printf 'ree\\nlast'", {},
              {.most = kMost, .line = [&](std::string_view line) { lines.emplace_back(line); }});
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "three", "last"}));
  EXPECT_EQ(done.output, "one\ntwo\r\n\nthree\nlast");
}

/// With a grandchild, both of which ignore SIGTERM.
TEST_F(ChildProcessTest, ThatTakesTooLongIsKilledWithItsGroup) {
  const auto done =
      capture("trap '' TERM; sh -c 'echo $$ > " + path("pid") +
                  "; while :; do sleep 1; done' & while :; do sleep 1; done",
              {.own_group = true}, {.most = kMost, .time = 1ms, .stop = [&] {
                                      static_cast<void>(number_in("pid"));  // it has begun
                                      return false;
                                    }});
  EXPECT_EQ(done.cut, Cut::too_late);
  EXPECT_EQ(done.end.to_string(), "child process was terminated by signal 9: Killed");
  wait_for_end_of(number_in("pid"));
}

/// The program has ended, and a descendant keeps its output open.
TEST_F(ChildProcessTest, ThatHasEndedIsKilledWithItsGroup) {
  const auto done = capture("echo $$ > " + path("leader") + "; sh -c 'echo $$ > " + path("pid") +
                                "; exec sleep 1000' & exit 0",
                            {.own_group = true}, {.most = kMost, .stop = [&] {
                                                    wait_for_end_of(number_in("leader"));
                                                    return number_in("pid") > 0;
                                                  }});
  EXPECT_EQ(done.cut, Cut::stopped);
  EXPECT_TRUE(done.end.success());
  const pid_t left = number_in("pid");
  const auto until = std::chrono::steady_clock::now() + 60s;
  const auto is_gone = [&] {
    std::string stat;
    std::getline(std::ifstream("/proc/" + std::to_string(left) + "/stat"), stat);
    return stat.empty() || stat.find(") Z ") != std::string::npos;
  };
  while (!is_gone() && std::chrono::steady_clock::now() < until) ::usleep(1000);
  EXPECT_TRUE(is_gone());
  ::kill(left, SIGKILL);
}

TEST_F(ChildProcessTest, IsAskedToTerminateFirst) {
  const auto done = capture("trap 'echo cleaned > " + path("trace") + "; exit 5' TERM; echo $$ > " +
                                path("pid") + "; while :; do sleep 0.01; done",
                            {}, {.most = kMost, .stop = [&] { return number_in("pid") > 0; }});
  EXPECT_EQ(done.cut, Cut::stopped);
  // On a slow machine the second that it has may be over before.
  if (done.end.to_string() == "child process exited with exit code 5")
    EXPECT_TRUE(std::filesystem::exists(path("trace")));
  else
    EXPECT_EQ(done.end.to_string(), "child process was terminated by signal 9: Killed");
}

TEST_F(ChildProcessTest, IsEndedWhenItsReaderThrows) {
  pid_t process = 0;
  EXPECT_THROW(static_cast<void>(capture("echo $$; while :; do sleep 1; done", {},
                                         {.most = kMost,
                                          .line =
                                              [&](std::string_view line) {
                                                process = std::stoi(std::string(line));
                                                throw Error(ErrorKind::retry, "enough");
                                              }})),
               Error);
  EXPECT_EQ(::kill(process, 0), -1);
}

TEST_F(ChildProcessTest, WhoseStatusIsUnknownIsAnError) {
  const auto before = std::signal(SIGCHLD, SIG_IGN);  // the kernel reaps them
  ChildProcess child(shell_command("exit 0"), {});
  EXPECT_THROW(child.wait(), Error);
  std::signal(SIGCHLD, before);
}

}  // namespace
}  // namespace weir::io::child_process_test
