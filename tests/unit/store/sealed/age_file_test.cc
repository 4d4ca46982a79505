#include "store/sealed/age_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>  // mkdtemp

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/base64.h"
#include "base/error.h"
#include "store/memory_bytes.h"
#include "support/bytes.h"
#include "support/error_of.h"

namespace weir::store::age_file_test {
namespace {

using test::Bytes;
using test::error_of;

constexpr std::size_t kChunk = 64 * 1024;
constexpr std::size_t kSealedChunk = kChunk + 16;

/// Made by age-keygen for this test.
constexpr const char* kSecret =
    "AGE-SECRET-KEY-1V3AKM28U0Q9ZSR7MSA9445LPP0JJCKFHVFL99Q58NMFHGC9TLUKSXUHQQK";
constexpr const char* kPublic = "age1usv92wp8ynawp2q0z0nnxc8vvz0kdnhp85nzxjagnae99lqrrqaqm545cg";
/// "hello", encrypted by age 1.1.1 to that recipient and another one.
constexpr const char* kByAge =
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSAyOGtlV3hBV2dacHlXQUhsUENjQzlrb1pWc21LbmN6VEZr"
    "WFh1T0xsd0VvCmo4am0zTG5ERGpybEF5bkgxUk5veVAzbExYdjJSUDF6ZEF5SjFaNS9HMm8KLT4gWDI1NTE5IEJo"
    "elllbWpjdU8vOGpOcmxBc2JxbDIrd1VEbXlSNEd2VUlSNW1KMXlWZzAKdmZRNjBwd0Fjejl2bWN5LzF5VFhZb2pW"
    "bGMyRjF1cGZRU3Y0dHo1cWlhMAotLS0gdEVUQjFRQ2h0ZWJDYUFYaWpHVkJLeUNraUQ5VEMvWjRpanJVcGJMWWJU"
    "dwrxV27piTEEYDibuyxiVBMsYEall2pBNxDbQyichQ4AVTb0wZcz";

Bytes text_of(std::size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes text(size);
  for (auto& byte : text) byte = static_cast<std::byte>(random() & 0xff);
  return text;
}

Bytes read_all(io::Bytes& bytes, std::size_t step = 1 << 20) {
  Bytes all(bytes.size());
  for (std::size_t at = 0; at < all.size(); at += step)
    EXPECT_EQ(bytes.read_at(at, std::span(all).subspan(at, std::min(step, all.size() - at))),
              std::min(step, all.size() - at));
  return all;
}

class Owned final : public io::Bytes {
 public:
  explicit Owned(test::Bytes bytes) : owned_(std::move(bytes)), bytes_(owned_) {}
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
    return bytes_.read_at(offset, into);
  }
  std::uint64_t size() override { return bytes_.size(); }

 private:
  test::Bytes owned_;
  MemoryBytes bytes_;
};

const AgeIdentity kIdentity = *AgeIdentity::parse(kSecret);
const AgeRecipient kRecipient = *AgeRecipient::parse(kPublic);

Bytes seal(const Bytes& text, std::vector<AgeRecipient> recipients = {kRecipient}) {
  MemoryBytes content{std::span<const std::byte>(text)};
  AgeSealed sealed(content, recipients);
  return read_all(sealed, 10'007);
}
Bytes open(Bytes sealed, std::vector<AgeIdentity> identities = {kIdentity}) {
  AgeOpened opened(std::make_unique<Owned>(std::move(sealed)), identities, "file");
  return read_all(opened, 7'001);
}

TEST(AgeKeys, AreReadAsAgeWritesThem) {
  EXPECT_EQ(kIdentity.recipient(), kRecipient);
  const std::string recipient = kPublic;
  for (std::size_t at = 0; at < recipient.size(); ++at) {
    auto other = recipient;
    other[at] = other[at] == 'q' ? 'p' : 'q';
    EXPECT_FALSE(AgeRecipient::parse(other)) << other;
  }
  for (const char* wrong : {"", "age1", "age", "hello", "ssh-ed25519 AAAA"}) {
    EXPECT_FALSE(AgeRecipient::parse(wrong)) << wrong;
    EXPECT_FALSE(AgeIdentity::parse(wrong)) << wrong;
  }
  EXPECT_FALSE(AgeRecipient::parse(kSecret));
  EXPECT_FALSE(AgeIdentity::parse(kPublic));
  auto mixed = recipient;
  mixed.back() = static_cast<char>(std::toupper(mixed.back()));
  EXPECT_TRUE(mixed == recipient || !AgeRecipient::parse(mixed));
  EXPECT_EQ(parse_recipients("# operations\n\n" + recipient + "\n" + recipient, "f").size(), 2u);
  EXPECT_EQ(parse_identities(std::string("# created: …\n") + kSecret + "\r\n", "f").size(), 1u);
  const auto error = error_of([] { static_cast<void>(parse_identities("\nsecret", "file")); });
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos) << error.what();
  EXPECT_EQ(error_of([] { static_cast<void>(parse_recipients("# none\n", "file")); }).kind(),
            ErrorKind::usage);
}

TEST(AgeFile, OpensWhatAgeHasSealed) {
  const auto file = from_base64(kByAge);
  ASSERT_TRUE(file);
  const auto bytes = test::as_bytes(*file);
  const auto opened = open({bytes.begin(), bytes.end()});
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(opened.data()), opened.size()), "hello");
}

TEST(AgeFile, OpensWhatWasSealedWhateverItsSize) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kChunk - 1, kChunk, kChunk + 1,
                                 2 * kChunk - 1, 2 * kChunk, 2 * kChunk + 1, 5 * kChunk + 100}) {
    const auto text = text_of(size);
    EXPECT_EQ(open(seal(text)), text) << size;
  }
  // Anywhere in it.
  const auto text = text_of(5 * kChunk + 100);
  AgeOpened opened(std::make_unique<Owned>(seal(text)), std::vector{kIdentity}, "file");
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    const auto at = random() % (text.size() + 100);
    Bytes piece(random() % (2 * kChunk));
    piece.resize(opened.read_at(at, piece));
    const auto from = std::min<std::size_t>(at, text.size());
    ASSERT_LE(from + piece.size(), text.size());
    EXPECT_TRUE(std::equal(piece.begin(), piece.end(), text.begin() + static_cast<long>(from)));
  }
}

/// A file in a directory that goes with it.
class Files {
 public:
  Files() { EXPECT_NE(::mkdtemp(directory_.data()), nullptr); }
  ~Files() { static_cast<void>(std::system(("rm -r " + directory_).c_str())); }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
  }
  [[nodiscard]] Bytes read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const auto bytes = test::as_bytes(text);
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] static bool run(const std::string& command) {
    return std::system(command.c_str()) == 0;
  }

 private:
  std::string directory_ = "/tmp/pgweir-age-XXXXXX";
};

/// In both directions, at every size around the borders of chunks.
TEST(AgeFile, IsThatOfDebiansAge) {
  if (!Files::run("command -v age >/dev/null")) GTEST_SKIP() << "age is not installed";
  const Files files;
  const std::string key = kSecret;
  const auto key_bytes = test::as_bytes(key);
  files.write("key", {key_bytes.begin(), key_bytes.end()});
  for (const std::size_t border : {std::size_t{0}, kChunk, 2 * kChunk})
    for (const long by : {-17L, -16L, -1L, 0L, 1L, 15L, 16L, 17L}) {
      if (border == 0 && by < 0) continue;
      const auto text = text_of(static_cast<std::size_t>(static_cast<long>(border) + by));
      files.write("sealed", seal(text));
      ASSERT_TRUE(Files::run("age -d -i " + files.path("key") + " -o " + files.path("opened") +
                             " " + files.path("sealed")));
      EXPECT_EQ(files.read("opened"), text) << text.size();
      files.write("text", text);
      ASSERT_TRUE(Files::run(std::string("age -r ") + kPublic + " -o " + files.path("by-age") +
                             " " + files.path("text")));
      EXPECT_EQ(open(files.read("by-age")), text) << text.size();
    }
}

TEST(AgeFile, IsReadByEachRecipientAndNobodyElse) {
  crypto::X25519 key{};
  std::vector<AgeIdentity> identities;
  std::vector<AgeRecipient> recipients;
  for (int i = 0; i < 3; ++i) {
    crypto::random_bytes(key);
    identities.emplace_back(key);
    recipients.push_back(identities.back().recipient());
  }
  const auto text = text_of(1000);
  const auto sealed = seal(text, recipients);
  for (const auto& identity : identities) EXPECT_EQ(open(sealed, {kIdentity, identity}), text);
  EXPECT_EQ(error_of([&] { static_cast<void>(open(sealed)); }).kind(), ErrorKind::refused);
  EXPECT_EQ(error_of([&] { static_cast<void>(open(sealed, {})); }).kind(), ErrorKind::refused);
  EXPECT_NE(seal(text), seal(text)) << "a key of its own each time";
}

/// What is given out of a file that was changed, up to where that is seen.
Bytes given_out(const Bytes& sealed, bool& refused) {
  Bytes given;
  refused = false;
  try {
    AgeOpened opened(std::make_unique<Owned>(sealed), std::vector{kIdentity}, "file");
    Bytes piece(1000);
    for (std::uint64_t at = 0; at < opened.size();) {
      const auto count = opened.read_at(at, piece);
      given.insert(given.end(), piece.begin(), piece.begin() + static_cast<long>(count));
      at += count;
    }
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::damage || error.kind() == ErrorKind::refused)
        << error.what();
    refused = true;
  }
  return given;
}

TEST(AgeFile, GivesNothingOutThatWasNotSealed) {
  const auto text = text_of(3 * kChunk + 500);
  const auto sealed = seal(text);
  const auto payload = sealed.size() - text.size() - 4 * 16;
  const auto expect_refused = [&](const Bytes& other, const std::string& what) {
    bool refused = false;
    const auto given = given_out(other, refused);
    EXPECT_TRUE(refused) << what;
    ASSERT_LE(given.size(), text.size()) << what;
    EXPECT_TRUE(std::equal(given.begin(), given.end(), text.begin())) << what;
  };
  const auto chunk = [&](std::size_t number) {
    return std::pair(
        sealed.begin() + static_cast<long>(payload + number * kSealedChunk),
        number == 3 ? sealed.end()
                    : sealed.begin() + static_cast<long>(payload + (number + 1) * kSealedChunk));
  };
  const auto of_chunks = [&](std::initializer_list<std::size_t> numbers) {
    Bytes other(sealed.begin(), sealed.begin() + static_cast<long>(payload));
    for (const auto number : numbers)
      other.insert(other.end(), chunk(number).first, chunk(number).second);
    return other;
  };
  EXPECT_EQ(open(of_chunks({0, 1, 2, 3})), text);
  expect_refused(of_chunks({1, 0, 2, 3}), "swapped");
  expect_refused(of_chunks({0, 1, 1, 3}), "repeated in another's place");
  expect_refused(of_chunks({0, 1, 1, 2, 3}), "repeated");
  expect_refused(of_chunks({0, 2, 3}), "left out");
  expect_refused(of_chunks({1, 2, 3}), "the first one left out");
  expect_refused(of_chunks({0, 1, 2}), "the last one left out");
  expect_refused(of_chunks({0, 1, 2, 3, 3}), "the last one twice");
  expect_refused(of_chunks({3}), "only the last one");
  expect_refused(of_chunks({}), "none");

  std::mt19937 random(3);
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < payload + 40; ++at) places.push_back(at);  // all of the header
  for (std::size_t number = 1; number <= 3; ++number)
    for (const long by : {-17L, -16L, -1L, 0L, 1L, 15L, 16L})
      places.push_back(
          static_cast<std::size_t>(static_cast<long>(payload + number * kSealedChunk) + by));
  for (int i = 0; i < 100; ++i) places.push_back(random() % sealed.size());
  places.push_back(sealed.size() - 1);
  for (const auto at : places) {
    auto flipped = sealed;
    flipped[at] ^= static_cast<std::byte>(1u << (random() % 8));
    expect_refused(flipped, "flipped at " + std::to_string(at));
    expect_refused({sealed.begin(), sealed.begin() + static_cast<long>(at)},
                   "cut off at " + std::to_string(at));
  }
  auto longer = sealed;
  longer.push_back(std::byte{0});
  expect_refused(longer, "longer");
  // The tag of nothing behind a full chunk is what a cut could leave room for.
  const auto full = seal(text_of(kChunk));
  auto more = full;
  more.insert(more.end(), 16, std::byte{0});
  bool refused = false;
  static_cast<void>(given_out(more, refused));
  EXPECT_TRUE(refused);
}

TEST(AgeFile, TakesNoHeaderThatTheFormatDoesNotKnow) {
  const auto sealed = seal(text_of(10));
  const std::string file(reinterpret_cast<const char*>(sealed.data()), sealed.size());
  const auto refused = [&](std::string other) {
    const auto bytes = test::as_bytes(other);
    bool is_refused = false;
    static_cast<void>(given_out({bytes.begin(), bytes.end()}, is_refused));
    return is_refused;
  };
  const auto with = [&](const std::string& from, const std::string& to) {
    auto other = file;
    const auto at = other.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return other.replace(at, from.size(), to);
  };
  EXPECT_FALSE(refused(file));
  EXPECT_TRUE(refused(with("/v1\n", "/v2\n")));
  EXPECT_TRUE(refused(with("/v1\n", "/v1\r\n")));
  EXPECT_TRUE(refused(with("-> X25519 ", "-> X25519  ")));
  EXPECT_TRUE(refused(with("-> X25519 ", "->  X25519 ")));
  EXPECT_TRUE(refused(with("-> X25519 ", "-> grease\n\n-> X25519 "))) << "the header is signed";
  EXPECT_TRUE(refused(with("\n--- ", "=\n--- ")));
  EXPECT_TRUE(refused(with("\n--- ", "\n---  ")));
  EXPECT_TRUE(refused(with("\n--- ", "\n-- ")));
}

}  // namespace
}  // namespace weir::store::age_file_test
