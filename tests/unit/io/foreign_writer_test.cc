#include "io/foreign_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

namespace weir::io::foreign_writer_test {
namespace {

/// A process that has opened something, until it goes.
class Other {
 public:
  explicit Other(const std::function<void()>& open) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    process_ = ::fork();
    if (process_ == 0) {
      open();
      static_cast<void>(::write(ready[1], "x", 1));
      for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Other() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;
  [[nodiscard]] pid_t process() const { return process_; }

 private:
  pid_t process_ = 0;
};

class ForeignWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-writer-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(place_); }
  std::optional<ForeignWriter> find() const {
    return find_foreign_writer(place_, [](std::string_view name) { return name == "segment"; });
  }
  void open(const char* name, int flags) const {
    static_cast<void>(::open((place_ + "/" + name).c_str(), flags | O_CREAT, 0600));
  }
  std::string place_;
};

TEST_F(ForeignWriterTest, IsWhoHasOneOfTheFilesOpenForWriting) {
  EXPECT_FALSE(find());
  {
    const Other writer([&] { open("segment", O_WRONLY); });
    ASSERT_TRUE(find());
    EXPECT_EQ(find()->process, writer.process());
    EXPECT_NE(find()->program, "");
    // By another name of the directory, too.
    const auto link = place_ + "-link";
    ASSERT_EQ(::symlink(place_.c_str(), link.c_str()), 0);
    EXPECT_TRUE(find_foreign_writer(link, [](std::string_view) { return true; }));
    ::unlink(link.c_str());
  }
  EXPECT_FALSE(find());
}

TEST_F(ForeignWriterTest, IsNotWhoReadsOrWritesSomethingElse) {
  const Other reader([&] { open("segment", O_RDONLY); });
  const Other elsewhere([&] { open("else", O_RDWR); });
  EXPECT_FALSE(find());
  open("segment", O_WRONLY);  // ourselves
  EXPECT_FALSE(find());
}

TEST_F(ForeignWriterTest, IsWhoHasTheDirectorysLock) {
  {
    const Other holder([&] {
      const int directory = ::open(place_.c_str(), O_RDONLY | O_DIRECTORY);
      if (::flock(directory, LOCK_EX | LOCK_NB) != 0) ::_exit(1);
    });
    ASSERT_TRUE(find());
    EXPECT_EQ(find()->process, holder.process());
  }
  EXPECT_FALSE(find());
  const int directory = ::open(place_.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(directory, LOCK_EX | LOCK_NB), 0) << "looking has locked nothing";
  EXPECT_FALSE(find());
  ::close(directory);
}

}  // namespace
}  // namespace weir::io::foreign_writer_test
