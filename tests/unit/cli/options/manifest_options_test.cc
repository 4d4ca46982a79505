#include "cli/options/manifest_options.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"

namespace weir::cli::manifest_options_test {
namespace {

/// As a container's volume of secrets has it, for a program that does not run as root.
TEST(ManifestKey, MayBelongToRootAndBeReadableByAGroup) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has files of root";
  std::string place = "/tmp/pgweir-key-XXXXXX";
  ASSERT_NE(::mkdtemp(place.data()), nullptr);
  ASSERT_EQ(::chmod(place.c_str(), 0755), 0);
  const auto file = place + "/manifest.key";
  make_manifest_key(file);
  const std::vector<std::string> words{"-D", "/a", "--manifest-key", file};
  const auto arguments = Arguments::parse(kReceiveCommand, words);
  const auto complaint = [&](mode_t mode) {
    constexpr uid_t kOther = 65534;
    EXPECT_EQ(::chmod(file.c_str(), mode), 0);
    EXPECT_EQ(::seteuid(kOther), 0);
    std::string text;
    try {
      if (manifest_key_of(arguments) == nullptr) text = "no key";
    } catch (const Error& error) {
      text = error.what();
    }
    EXPECT_EQ(::seteuid(0), 0);
    return text;
  };
  EXPECT_EQ(complaint(0640), "");
  EXPECT_NE(complaint(0644).find("others have access to the key"), std::string::npos);
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace weir::cli::manifest_options_test
