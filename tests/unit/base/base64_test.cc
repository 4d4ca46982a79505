#include "base/base64.h"

#include <gtest/gtest.h>

#include "support/bytes.h"

namespace weir::base64_test {
namespace {

TEST(Base64, IsThatOfTheRfc) {
  const struct {
    const char* bytes;
    const char* text;
  } cases[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
      {"n,,", "biws"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    EXPECT_EQ(to_base64(test::as_bytes(each.bytes)), each.text);
    EXPECT_EQ(from_base64(each.text), each.bytes);
  }
}

TEST(Base64, KeepsAnyBytes) {
  const auto bytes = test::pattern(1000, test::seed_or(7));
  for (std::size_t size = 0; size < 40; ++size) {
    const auto piece = std::span(bytes).first(size);
    EXPECT_EQ(from_base64(to_base64(piece)), test::text_of(piece));
  }
}

TEST(Base64, TakesOneTextForEachValueOnly) {
  for (const auto* text : {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==",
                           "Zm9v\n", " Zm9", "Zm-v", "Zm9v=", "Z=9v"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(from_base64(text), std::nullopt);
  }
}

}  // namespace
}  // namespace weir::base64_test
