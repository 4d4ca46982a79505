#include "io/memory_limit.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace weir::io::memory_limit_test {
namespace {

/// A machine of which only the files are there.
class Machine : public ::testing::Test {
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
  [[nodiscard]] std::uint64_t bytes() const {
    const auto limit = memory_limit(root);
    return limit ? limit->bytes : 0;
  }

  std::string root;
};

using MemoryLimitOf = Machine;

TEST_F(MemoryLimitOf, TheSecondVersionIsTheLowestOnTheWayUp) {
  write("/proc/self/cgroup", "0::/system.slice/pgweir.service\n");
  write("/proc/self/mountinfo",
        "22 1 0:20 / /proc rw - proc proc rw\n"
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  EXPECT_EQ(bytes(), 0u) << "no file is no limit";
  write("/sys/fs/cgroup/system.slice/pgweir.service/memory.max", "max\n");
  EXPECT_EQ(bytes(), 0u);
  write("/sys/fs/cgroup/system.slice/pgweir.service/memory.max", "67108864\n");
  EXPECT_EQ(bytes(), 64u << 20);
  write("/sys/fs/cgroup/system.slice/memory.max", "134217728\n");
  EXPECT_EQ(bytes(), 64u << 20);
  write("/sys/fs/cgroup/system.slice/memory.high", "33554432\n");
  EXPECT_EQ(bytes(), 32u << 20);
  EXPECT_EQ(memory_limit(root)->from, "/sys/fs/cgroup/system.slice/memory.high");
}

TEST_F(MemoryLimitOf, TheFirstVersionIsLikewise) {
  write("/proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/abc/inner\n0::/\n");
  write("/proc/self/mountinfo",
        "31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  write("/sys/fs/cgroup/memory/docker/abc/inner/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(bytes(), 0u) << "that is what it has for none";
  write("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "104857600\n");
  EXPECT_EQ(bytes(), 100u << 20);
}

TEST_F(MemoryLimitOf, AContainerSeesAPartOfTheHierarchy) {
  write("/proc/self/cgroup", "4:memory:/docker/abc/inner\n");
  write("/proc/self/mountinfo",
        "32 1 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
  EXPECT_EQ(bytes(), 256u << 20);
  write("/sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "134217728\n");
  EXPECT_EQ(bytes(), 128u << 20);
}

TEST_F(MemoryLimitOf, WhatCannotBeReadIsNoLimit) {
  EXPECT_EQ(bytes(), 0u);
  write("/proc/self/cgroup", "rubbish\n::\n4:memory\n\n");
  write("/proc/self/mountinfo",
        " - \n1 2 3 - cgroup\n32 1 0:28 / /m ro - cgroup cgroup rw,memory\n");
  EXPECT_EQ(bytes(), 0u);
  write("/proc/self/cgroup", "4:memory:/a\n");
  write("/m/a/memory.limit_in_bytes", "many\n");
  EXPECT_EQ(bytes(), 0u);
  static_cast<void>(memory_limit());  // of this machine, whatever it is
}

}  // namespace
}  // namespace weir::io::memory_limit_test
