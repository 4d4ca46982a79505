#include "base/library.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>

namespace weir::library_test {
namespace {

std::string failure_of(const Library& library, const char* symbol) {
  try {
    static_cast<void>(library.find(symbol));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_EQ(error.hint(), "Install the package.");
    return error.what();
  }
  return "";
}

TEST(Library, FindsAFunction) {
  const Library library("libc.so.6", "Install the package.");
  const auto length = reinterpret_cast<std::size_t (*)(const char*)>(library.find("strlen"));
  EXPECT_EQ(length("four"), 4u);
  const auto reason = failure_of(library, "no_such_function");
  EXPECT_TRUE(reason.starts_with("could not load libc.so.6: ")) << reason;
  EXPECT_NE(reason.find("no_such_function"), std::string::npos) << reason;
}

TEST(Library, ThatDoesNotExistIsReportedWithItsPackage) {
  const auto reason = failure_of({"libno-such.so.5", "Install the package."}, "any");
  EXPECT_TRUE(reason.starts_with("could not load libno-such.so.5: ")) << reason;
  EXPECT_NE(reason.find("cannot open shared object file"), std::string::npos) << reason;
  EXPECT_EQ(failure_of(Library::module("libno-such.so", "Install the package."), "any"),
            "could not load libno-such.so: it is not installed");
}

TEST(Library, OfAnotherVersionIsRefused) {
  struct Interface {
    int interface_number;
  };
  const Library library("libc.so.6", "Install the package.");
  // (An address of sixteen zeros.)
  EXPECT_EQ(interface_of<Interface>(library, "in6addr_any", 0).interface_number, 0);
  try {
    static_cast<void>(interface_of<Interface>(library, "in6addr_any", 1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "could not load libc.so.6: it belongs to another version of pgweir");
  }
}

}  // namespace
}  // namespace weir::library_test
