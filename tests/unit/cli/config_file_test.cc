#include "cli/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cli/commands.h"

namespace weir::cli::config_file_test {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

TEST(ConfigFile, FindsALineWithAPassword) {
  const struct {
    const char* name;
    const char* text;
    int line;
  } cases[] = {
      {"none", "dbname = host=db1\n", 0},
      {"a key and value", "slot = x\ndbname = host=db1 password=secret\n", 2},
      {"a URI", "dbname = postgresql://me:secret@db1/", 1},
      {"a URI's parameter", "dbname = postgresql://db1/?password=secret", 1},
      {"of the other connection", "monitor-conninfo = sslpassword = 'x y'", 1},
      {"a comment", "# dbname = host=db1 password=secret", 0},
      {"a switch of that name", "no-password = on", 0},
      {"a password file", "dbname = host=db1 passfile=/etc/pgweir/pass", 0},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(line_with_password(each.text), each.line);
  }
}

class ConfigFileTest : public ::testing::Test {
 protected:
  ConfigFileTest() {
    std::string pattern = fs::temp_directory_path() / "pgweir-config-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/weir.conf";
  }
  ~ConfigFileTest() override { fs::remove_all(directory_); }

  void write(const std::string& text, mode_t mode, uid_t owner) {
    std::ofstream(path_) << text;
    EXPECT_EQ(::chown(path_.c_str(), owner, static_cast<gid_t>(-1)), 0);
    EXPECT_EQ(::chmod(path_.c_str(), mode), 0);
  }
  std::string directory_;
  std::string path_;
};

TEST_F(ConfigFileTest, RefusesAPasswordThatOthersCanRead) {
  const bool root = ::getuid() == 0;
  const uid_t somebody = root ? 1000 : ::getuid();
  const struct {
    const char* name;
    const char* text;
    mode_t mode;
    bool of_root;
    bool taken;
  } cases[] = {
      {"no password, open", "dbname = host=db1", 0644, false, true},
      {"closed", "dbname = password=secret", 0600, false, true},
      {"closed and read-only", "dbname = password=secret", 0400, false, true},
      {"open", "dbname = password=secret", 0644, false, false},
      {"open to the group", "dbname = password=secret", 0640, false, false},
      {"root's, open to the group", "dbname = password=secret", 0640, true, true},
      {"root's, open", "dbname = password=secret", 0644, true, false},
      {"root's, the group may write", "dbname = password=secret", 0660, true, false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    if (each.of_root && !root) continue;
    write(each.text, each.mode, each.of_root ? 0 : somebody);
    if (each.taken) {
      EXPECT_EQ(read_config_file(path_), each.text);
      continue;
    }
    try {
      static_cast<void>(read_config_file(path_));
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("others can read it (file " + path_ + ", line 1, mode 0"));
      EXPECT_THAT(error.hint(), HasSubstr("chmod 600"));
      EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
    }
  }
}

TEST(Commands, HaveConfigAndHelpForTheCommandLineOnly) {
  for (const auto* command : commands()) {
    SCOPED_TRACE(command->name);
    const auto* help = command->find("help");
    ASSERT_NE(help, nullptr);
    EXPECT_FALSE(help->in_file);
    const auto* config = command->find("config");
    ASSERT_TRUE(config != nullptr || !command->takes_file);
    EXPECT_TRUE(config == nullptr || !config->in_file);
  }
}

}  // namespace
}  // namespace weir::cli::config_file_test
