#include "io/posix_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "io/pages.h"
#include "support/bytes.h"
#include "support/error_of.h"

namespace weir::io::posix_directory_test {
namespace {

namespace fs = std::filesystem;
using test::as_bytes;
using test::Bytes;
using test::error_of;
using test::text_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using ::testing::UnorderedElementsAreArray;

class PosixDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "pgweir-io-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  static std::string read(File& file) {
    Bytes bytes(file.size());
    EXPECT_EQ(file.read_at(0, bytes), bytes.size());
    return text_of(bytes);
  }

  fs::path path_;
};

TEST_F(PosixDirectoryTest, WritesAndReadsAtAnyOffset) {
  const auto directory = open_directory(path_);
  const auto file = directory->create("a");
  file->write_at(4, as_bytes("WAL"));
  file->write_at(0, as_bytes("more"));
  file->sync();
  EXPECT_EQ(read(*file), "moreWAL");
  Bytes bytes(10);
  EXPECT_EQ(file->read_at(5, bytes), 2u);  // fewer only at the end
  EXPECT_EQ(file->read_at(100, bytes), 0u);
  file->close();
  directory->sync();
  EXPECT_EQ(read(*directory->open("a")), "moreWAL");
  EXPECT_EQ(read(*directory->open_for_reading("a")), "moreWAL");
}

TEST_F(PosixDirectoryTest, DoesNotCallAFileDurableThatSomebodyHasRemoved) {
  const auto directory = open_directory(path_.string(), 0600);
  const auto file = directory->create("segment");
  file->write_at(0, as_bytes("WAL"));
  file->sync();
  fs::remove(path_ / "segment");
  const auto error = error_of([&] { file->sync(); });
  EXPECT_EQ(error.kind(), ErrorKind::durability);
  EXPECT_THAT(error.what(), HasSubstr("removed"));
}

TEST_F(PosixDirectoryTest, SaysThatANameIsThereOrNotThere) {
  const auto directory = open_directory(path_);
  static_cast<void>(directory->create("a"));
  EXPECT_EQ(error_of([&] { static_cast<void>(directory->create("a")); }).kind(),
            ErrorKind::conflict);
  EXPECT_EQ(directory->open("b"), nullptr);
  EXPECT_EQ(directory->open_for_reading("b"), nullptr);
  EXPECT_EQ(directory->find("b"), std::nullopt);
  EXPECT_NO_THROW(directory->remove("b"));
  directory->remove("a");
  EXPECT_EQ(directory->find("a"), std::nullopt);
}

TEST_F(PosixDirectoryTest, GivesFilesTheirModeWhateverTheUmask) {
  const mode_t old = ::umask(077);
  for (const mode_t mode : {mode_t{0600}, mode_t{0640}}) {
    const auto directory = open_directory(path_, mode);
    static_cast<void>(directory->create("a"));
    struct stat status {};
    ASSERT_EQ(::stat((path_ / "a").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, mode);
    directory->remove("a");
  }
  ::umask(old);
}

TEST_F(PosixDirectoryTest, ReservesBlocksThatReadAsZerosAndKeepsWhatIsThere) {
  const auto directory = open_directory(path_);
  const auto file = directory->create("a");
  file->write_at(0, as_bytes("WAL"));
  file->allocate(1 << 20);
  EXPECT_EQ(file->size(), 1u << 20);
  EXPECT_GE(directory->find("a")->allocated, 1u << 20);
  EXPECT_EQ(read(*file), "WAL" + std::string((1 << 20) - 3, '\0'));
  file->allocate(10);  // never shortens
  EXPECT_EQ(file->size(), 1u << 20);
}

TEST_F(PosixDirectoryTest, RenamesWithoutReplacing) {
  const auto directory = open_directory(path_);
  directory->create("a")->write_at(0, as_bytes("a"));
  directory->create("b")->write_at(0, as_bytes("b"));
  const Error error = error_of([&] { directory->rename_no_replace("a", "b"); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), HasSubstr((path_ / "a").string()));
  EXPECT_EQ(read(*directory->open("a")), "a");
  EXPECT_EQ(read(*directory->open("b")), "b");
  directory->rename_no_replace("a", "c");
  EXPECT_EQ(directory->open("a"), nullptr);
  directory->rename_replace("c", "b");
  EXPECT_EQ(read(*directory->open("b")), "a");
  EXPECT_EQ(error_of([&] { directory->rename_no_replace("none", "x"); }).kind(), ErrorKind::io);
}

TEST_F(PosixDirectoryTest, ListsFilesDirectoriesAndTheRest) {
  const auto directory = open_directory(path_);
  directory->create("file")->allocate(8192);
  fs::create_directory(path_ / "sub");
  fs::create_symlink("nowhere", path_ / "dangling");
  fs::create_symlink("file", path_ / "link");
  ASSERT_EQ(::mkfifo((path_ / "fifo").c_str(), 0600), 0);
  std::vector<std::pair<std::string, DirectoryEntry::Type>> found;
  for (const auto& entry : directory->list()) found.emplace_back(entry.name, entry.type);
  using Type = DirectoryEntry::Type;
  EXPECT_THAT(
      found, UnorderedElementsAre(std::pair("file", Type::file), std::pair("sub", Type::directory),
                                  std::pair("dangling", Type::other), std::pair("link", Type::file),
                                  std::pair("fifo", Type::other)));
  EXPECT_EQ(directory->find("file")->size, 8192u);
  std::vector<std::pair<std::string, DirectoryEntry::Type>> names;
  for (const auto& entry : directory->names()) names.emplace_back(entry.name, entry.type);
  EXPECT_THAT(names, UnorderedElementsAreArray(found));
  // Opening what is no file ends in an error, not in waiting for the FIFO's other end.
  EXPECT_THAT(error_of([&] { static_cast<void>(directory->open_for_reading("fifo")); }).hint(),
              testing::HasSubstr("has the name of a file of pgweir"));
  EXPECT_EQ(error_of([&] { static_cast<void>(directory->open_for_reading("fifo")); }).kind(),
            ErrorKind::io);
  EXPECT_EQ(error_of([&] { static_cast<void>(directory->open_for_reading("sub")); }).kind(),
            ErrorKind::io);
}

TEST_F(PosixDirectoryTest, LocksTheDirectoryAgainstASecondHandle) {
  auto first = open_directory(path_);
  const auto second = open_directory(path_);
  EXPECT_TRUE(first->try_lock());
  EXPECT_TRUE(first->try_lock());
  EXPECT_FALSE(second->try_lock());
  static_cast<void>(first->list());
  EXPECT_FALSE(second->try_lock());  // listing has not let go of it
  first.reset();
  EXPECT_TRUE(second->try_lock());
}

TEST_F(PosixDirectoryTest, StaysOnADirectoryThatIsMoved) {
  const auto directory = open_directory(path_);
  const fs::path moved = path_.string() + "-moved";
  fs::rename(path_, moved);
  static_cast<void>(directory->create("a"));
  EXPECT_TRUE(fs::exists(moved / "a"));
  fs::rename(moved, path_);
}

TEST_F(PosixDirectoryTest, ExplainsWhyADirectoryCannotBeOpened) {
  std::ofstream(path_ / "file") << "x";
  struct Case {
    const char* name;
    fs::path path;
    const char* hint;
  };
  for (const Case& c : {Case{"missing", path_ / "none", "Create the directory"},
                        Case{"no directory", path_ / "file", "an archive is a directory"}}) {
    SCOPED_TRACE(c.name);
    const Error error = error_of([&] { static_cast<void>(open_directory(c.path)); });
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_THAT(error.what(), HasSubstr(c.path.string()));
    EXPECT_THAT(error.hint(), HasSubstr(c.hint));
  }
}

TEST_F(PosixDirectoryTest, TellsARemovedDirectoryFromAnEmptyOne) {
  const auto directory = open_directory(path_);
  EXPECT_THAT(directory->list(), IsEmpty());
  fs::remove(path_);
  for (const auto& action : std::initializer_list<std::function<void()>>{
           [&] { static_cast<void>(directory->list()); },
           [&] { static_cast<void>(directory->names()); },
           [&] { static_cast<void>(directory->create("a")); },
           [&] { static_cast<void>(directory->open("a")); }}) {
    const Error error = error_of(action);
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_THAT(error.hint(), HasSubstr("was removed"));
  }
}

TEST_F(PosixDirectoryTest, NamesThePathAndTheReasonOfARefusedCall) {
  if (::geteuid() == 0) {
    // Root is refused little; a child as nobody sees what a user sees.
    const auto directory = open_directory(path_);
    ASSERT_EQ(::chmod(path_.c_str(), 0755), 0);
    std::string told;
    std::thread([&] {  // the user of one thread only: a raw system call, not glibc's wrapper
      if (::syscall(SYS_setresuid, -1, 65534, -1) != 0) return;
      const Error error = error_of([&] { static_cast<void>(directory->create("a")); });
      told = std::string(error.what()) + " / " + error.hint();
    })
        .join();
    EXPECT_THAT(told, HasSubstr("could not create file: Permission denied"));
    EXPECT_THAT(told, HasSubstr((path_ / "a").string()));
    EXPECT_THAT(told, HasSubstr("Check owner and mode"));
    return;
  }
  ASSERT_EQ(::chmod(path_.c_str(), 0500), 0);
  const auto directory = open_directory(path_);
  const Error error = error_of([&] { static_cast<void>(directory->create("a")); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_THAT(error.what(), HasSubstr((path_ / "a").string()));
  EXPECT_THAT(error.hint(), HasSubstr("Check owner and mode"));
  ASSERT_EQ(::chmod(path_.c_str(), 0700), 0);
}

class SmallFileSystemTest : public PosixDirectoryTest {
 protected:
  void SetUp() override {
    PosixDirectoryTest::SetUp();
    mount_file_system("tmpfs", "size=1m,mode=0700");
  }
  void mount_file_system(const char* type, const char* options) {
    if (::geteuid() != 0 || ::mount(type, path_.c_str(), type, 0, options) != 0)
      GTEST_SKIP() << "needs the right to mount a file system";
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    PosixDirectoryTest::TearDown();
  }
  bool mounted_ = false;
};

TEST_F(SmallFileSystemTest, SaysThatTheDiskIsFullAndGoesOnWhenThereIsSpace) {
  const auto directory = open_directory(path_);
  const auto free = directory->free_bytes();
  EXPECT_LE(free, 1u << 20);
  const auto file = directory->create("a");
  const Error refused = error_of([&] { file->allocate(2 << 20); });
  EXPECT_EQ(refused.kind(), ErrorKind::disk_full);
  EXPECT_THAT(refused.what(), HasSubstr((path_ / "a").string()));
  EXPECT_THAT(refused.hint(), HasSubstr("Free space on the file system of this path"));
  file->allocate(512 << 10);
  const auto other = directory->create("b");
  EXPECT_EQ(error_of([&] { other->write_at(0, Bytes(1 << 20)); }).kind(), ErrorKind::disk_full);
  EXPECT_GT(other->size(), 0u);  // a front part was written
  other->close();
  directory->remove("b");
  EXPECT_NO_THROW(file->allocate(900 << 10));
}

TEST_F(SmallFileSystemTest, SaysThatTheFileSystemIsReadOnly) {
  const auto directory = open_directory(path_);
  ASSERT_EQ(::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const Error error = error_of([&] { static_cast<void>(directory->create("a")); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_THAT(error.hint(), HasSubstr("read-only"));
}

class NoFallocateTest : public SmallFileSystemTest {
 protected:
  void SetUp() override {
    PosixDirectoryTest::SetUp();
    mount_file_system("ramfs", "mode=0700");  // a file system that cannot reserve
  }
};

TEST_F(NoFallocateTest, WritesZerosBehindTheOldEndOnly) {
  const auto directory = open_directory(path_);
  const auto file = directory->create("a");
  file->write_at(0, as_bytes("WAL"));
  file->allocate(200'000);
  EXPECT_EQ(read(*file), "WAL" + std::string(200'000 - 3, '\0'));
  file->allocate(10);
  EXPECT_EQ(file->size(), 200'000u);
}

TEST_F(PosixDirectoryTest, WritesPastTheCacheWhatIsReadThroughIt) {
  const auto directory = open_directory(path_.string());
  const Pages pages(1 << 20);
  const auto content = test::pattern(1 << 20, 5);
  std::ranges::copy(content, pages.bytes().begin());
  const auto file = directory->create("segment");
  file->allocate(1 << 20);
  file->write_at(100, as_bytes("in the way"));  // in the cache
  file->direct_writes()->bypass_cache(true);
  file->write_at(0, pages.bytes());
  file->direct_writes()->bypass_cache(false);
  file->sync();
  EXPECT_EQ(read(*file), text_of(content));
  file->write_at(100, as_bytes("afterwards"));  // of any size and place
  EXPECT_EQ(read(*file).substr(100, 10), "afterwards");
}

TEST_F(PosixDirectoryTest, WritesThroughTheCacheWhatCannotGoPastIt) {
  const auto directory = open_directory(path_.string());
  const auto file = directory->create("odd");
  file->direct_writes()->bypass_cache(true);
  file->write_at(3, as_bytes("neither the place nor the size nor the memory is of whole pages"));
  EXPECT_EQ(read(*file).substr(3, 7), "neither");
}

}  // namespace
}  // namespace weir::io::posix_directory_test
