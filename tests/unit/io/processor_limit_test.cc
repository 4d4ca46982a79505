#include "io/processor_limit.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace weir::io::processor_limit_test {
namespace {

TEST(UsableProcessors, AreThoseThatTheProcessMayRunOn) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(usable_processors(), static_cast<unsigned>(CPU_COUNT(&before)));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_processors(), 1u);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

/// A machine of which only the files are there.
class ProcessorLimitOf : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "pgweir-machine-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
  }
  void TearDown() override { std::filesystem::remove_all(root); }

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root + path).substr(0, (root + path).rfind('/')));
    std::ofstream(root + path) << text;
  }
  [[nodiscard]] double limit() const { return processor_limit(root).value_or(0); }

  std::string root;
};

TEST_F(ProcessorLimitOf, TheSecondVersionIsTheLowestOnTheWayUp) {
  write("/proc/self/cgroup", "0::/kubepods/pod\n");
  write("/proc/self/mountinfo",
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  EXPECT_EQ(limit(), 0) << "no file is no limit";
  EXPECT_EQ(worthwhile_threads(root), usable_processors());
  write("/sys/fs/cgroup/kubepods/pod/cpu.max", "max 100000\n");
  EXPECT_EQ(limit(), 0);
  write("/sys/fs/cgroup/kubepods/pod/cpu.max", "150000 100000\n");
  EXPECT_EQ(limit(), 1.5);
  EXPECT_EQ(worthwhile_threads(root), std::min(2u, usable_processors()));
  write("/sys/fs/cgroup/kubepods/cpu.max", "50000 100000\n");
  EXPECT_EQ(limit(), 0.5);
  EXPECT_EQ(worthwhile_threads(root), 1u);
  write("/sys/fs/cgroup/kubepods/cpu.max", "6400000 100000\n");
  write("/sys/fs/cgroup/kubepods/pod/cpu.max", "max 100000\n");
  EXPECT_EQ(worthwhile_threads(root), std::min(64u, usable_processors()));
}

TEST_F(ProcessorLimitOf, TheFirstVersionIsLikewise) {
  write("/proc/self/cgroup", "9:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n");
  write("/proc/self/mountinfo",
        "31 1 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit(), 0) << "that is what it has for none";
  write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "25000\n");
  EXPECT_EQ(limit(), 0.25);
}

TEST_F(ProcessorLimitOf, WhatCannotBeReadIsNoLimit) {
  write("/proc/self/cgroup", "0::/a\n");
  write("/proc/self/mountinfo", "30 22 0:26 / /c rw shared:9 - cgroup2 cgroup2 rw\n");
  for (const auto* rubbish : {"", "\n", "many 100000\n", "100000\n", "100000 0\n", "0 100000\n"}) {
    write("/c/a/cpu.max", rubbish);
    EXPECT_EQ(limit(), 0) << rubbish;
  }
  static_cast<void>(worthwhile_threads());  // of this machine, whatever it is
}

/// Two processes on one CPU: each waits while the other one runs.
TEST(RunDelay, GrowsWhileAnotherProcessHasTheCpu) {
  if (::access("/proc/thread-self/schedstat", R_OK) != 0) GTEST_SKIP() << "no schedstat";
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  const auto other = ::fork();
  if (other == 0)
    for (;;) ::getppid();
  const auto begin = run_delay();
  while (run_delay() <= begin) ::getppid();
  ::kill(other, SIGKILL);
  EXPECT_EQ(::waitpid(other, nullptr, 0), other);
  EXPECT_EQ(::sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace weir::io::processor_limit_test
