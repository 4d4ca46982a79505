#include "crypto/primitives.h"

#include <gtest/gtest.h>

#include <array>

#include "support/bytes.h"

namespace weir::crypto::primitives_test {
namespace {

std::string hex(const Sha256& digest) {
  std::string text;
  for (const auto byte : digest) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

TEST(Crypto, IsThatOfTheStandards) {
  EXPECT_EQ(hex(sha256(test::as_bytes("abc"))),  // FIPS 180-2
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(hmac_sha256(test::as_bytes("Jefe"), "what do ya want for nothing?")),  // RFC 4231
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(pbkdf2_sha256("passwd", test::as_bytes("salt"), 1)).substr(0, 32),  // RFC 7914
            "55ac046e56e3089fec1691c22544b605");
}

TEST(Crypto, ComparesAllBytes) {
  const auto one = sha256(test::as_bytes("abc"));
  EXPECT_TRUE(equal(one, one));
  for (std::size_t at = 0; at < one.size(); ++at) {
    auto other = one;
    other[at] ^= std::byte{1};
    EXPECT_FALSE(equal(one, other));
  }
}

TEST(Crypto, ChanceIsNotTheSameTwice) {
  std::array<std::byte, 16> one{};
  std::array<std::byte, 16> other{};
  random_bytes(one);
  random_bytes(other);
  EXPECT_NE(one, other);
}

}  // namespace
}  // namespace weir::crypto::primitives_test
