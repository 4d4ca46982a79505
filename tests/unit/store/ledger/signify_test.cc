#include "store/ledger/signify.h"

#include <gtest/gtest.h>

#include <string>

#include "crypto/digest.h"
#include "support/error_of.h"

namespace weir::store::signify_test {
namespace {

using test::error_of;

// Made by Debian's signify-openbsd 31 for this test: -G -n, and -S -e of the text.
const std::string kPublic =
    "untrusted comment: made for a test public key\n"
    "RWRs5bZVYrKrkR6aw16xtfaL2UK+4s523iNLZDwFwtNyLi7cFwaEKJOT\n";
const std::string kSecret =
    "untrusted comment: made for a test secret key\n"
    "RWRCSwAAAABRfUjAEWgLfbwrquG0DWnG4qdSCYThjeZs5bZVYrKrker8/QZng0BrHZjNo+i2jUocKLqNcot4Vq/"
    "wm5MSw6L6"
    "HprDXrG19ovZQr7iznbeI0tkPAXC03IuLtwXBoQok5M=\n";
const std::string kText = "pgweir-manifest 1 0123 0\nhello\n";
const std::string kSignature =
    "RWRs5bZVYrKrkb3tiYIcol9tDd8x6Li18/eUA8QH1/6ovZIb/2xN5jX0geKfhZbIb0l+ZbbtvWnm9L3UDNN4iT/"
    "06NDGsm41"
    "HwE=\n";
const std::string kSigned = "untrusted comment: verify with k.pub\n" + kSignature + kText;

TEST(Ed25519, DoesWhatItsDocumentSays) {
  // RFC 8032, 7.1, test 1.
  const auto bytes = [](const std::string& hex) {
    crypto::Ed25519Seed seed{};
    for (std::size_t i = 0; i < seed.size(); ++i)
      seed[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
    return seed;
  };
  const auto seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
  const auto key = crypto::ed25519_public(seed);
  EXPECT_EQ(crypto::to_hex(key),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const auto signature = crypto::ed25519_sign(seed, {});
  EXPECT_EQ(
      crypto::to_hex(signature),
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
      "b46bd25bf5f0595bbe24655141438e7a100b");
  EXPECT_TRUE(crypto::ed25519_verify(key, {}, signature));
  auto other = signature;
  other[3] ^= std::byte{1};
  EXPECT_FALSE(crypto::ed25519_verify(key, {}, other));
}

TEST(Signify, ReadsItsKeysAndSignsAsItDoes) {
  const auto key = SignifyKey::parse(kSecret, "k.sec");
  const auto proof = SignifyPublic::parse(kPublic);
  ASSERT_TRUE(proof);
  EXPECT_EQ(key.public_key(), *proof);
  EXPECT_EQ(to_string(proof->number), "6ce5b65562b2ab91");
  const auto ours = key.sign(kText);
  EXPECT_EQ(ours.substr(ours.find('\n') + 1), kSignature + kText);
}

TEST(Signify, ProvesWhatItHasSigned) {
  const auto proof = SignifyPublic::parse(kPublic);
  const auto found = SignedText::parse(kSigned);
  ASSERT_TRUE(proof && found);
  EXPECT_EQ(found->text, kText);
  EXPECT_TRUE(found->is_by(*proof));
  for (std::size_t at = kSigned.size() - kText.size(); at < kSigned.size(); ++at) {
    auto changed = kSigned;
    changed[at] ^= 1;
    EXPECT_FALSE(SignedText::parse(changed)->is_by(*proof)) << at;
  }
  EXPECT_FALSE(SignedText::parse(kSigned + "more\n")->is_by(*proof));
  EXPECT_FALSE(found->is_by(SignifyKey::make().public_key()));
  // Another key that says it is this one.
  auto forged = SignifyKey::make().public_key();
  forged.number = proof->number;
  EXPECT_FALSE(found->is_by(forged));
  EXPECT_FALSE(SignedText::parse(kText));
  EXPECT_FALSE(SignedText::parse(kPublic + kText)) << "a key is no signature";
}

TEST(Signify, WritesKeysThatItReads) {
  const auto key = SignifyKey::make();
  const auto again = SignifyKey::parse(key.to_text(), "key");
  EXPECT_EQ(again.public_key(), key.public_key());
  EXPECT_EQ(SignifyPublic::parse(key.public_key().to_text()), key.public_key());
  EXPECT_NE(SignifyKey::make().public_key(), key.public_key());
}

TEST(Signify, RefusesWhatIsNoKey) {
  auto damaged = kSecret;
  damaged[120] = damaged[120] == 'A' ? 'B' : 'A';
  auto locked = kSecret;  // rounds of bcrypt: a passphrase
  locked.replace(locked.find("RWRCSwAAAAB"), 11, "RWRCSwAAACp");
  for (const auto& [key, said] :
       {std::pair(kPublic, "not a key"), std::pair(std::string("nonsense"), "not a key"),
        std::pair(damaged, "not a key"), std::pair(kSecret + "more\n", "not a key"),
        std::pair(locked, "passphrase")}) {
    const auto& text = key;  // the name of a part cannot be captured by every compiler
    const auto error = error_of([&] { static_cast<void>(SignifyKey::parse(text, "k")); });
    EXPECT_EQ(error.kind(), ErrorKind::usage) << text;
    EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("RWRC"), std::string::npos) << "a secret";
  }
  EXPECT_FALSE(SignifyPublic::parse(kSecret));
  EXPECT_FALSE(SignifyPublic::parse(""));
}

}  // namespace
}  // namespace weir::store::signify_test
