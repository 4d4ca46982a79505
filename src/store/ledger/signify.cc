#include "store/ledger/signify.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"

namespace weir::store {

namespace {

// signify.c, struct enckey, pubkey and sig: all start with the key's algorithm.
constexpr std::string_view kAlgorithm = "Ed";
constexpr std::string_view kPassphrase = "BK";  // bcrypt_pbkdf; 0 rounds: no passphrase
constexpr std::size_t kRounds = 4;
constexpr std::size_t kSalt = 16;
constexpr std::size_t kChecksum = 8;
constexpr std::string_view kComment = "untrusted comment: ";

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

template <std::size_t size>
std::string text_of(const std::array<std::byte, size>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

/// Removes the first bytes.
template <typename Array>
Array take(std::string_view& bytes) {
  Array taken{};
  const auto front = bytes_of(bytes.substr(0, taken.size()));
  std::copy(front.begin(), front.end(), taken.begin());
  bytes.remove_prefix(taken.size());
  return taken;
}

std::string file(std::string_view comment, std::string_view bytes) {
  return std::string(kComment) + std::string(comment) + "\n" + to_base64(bytes_of(bytes)) + "\n";
}

/// Removes the two lines and returns the content of the second one; nullopt: invalid.
std::optional<std::string> take_file(std::string_view& text, std::size_t size) {
  if (!text.starts_with(kComment)) return std::nullopt;
  const auto comment = text.find('\n');
  if (comment == std::string_view::npos) return std::nullopt;
  auto rest = text.substr(comment + 1);
  const auto end = rest.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  auto bytes = from_base64(trimmed(rest.substr(0, end)));
  if (!bytes || bytes->size() != size || !bytes->starts_with(kAlgorithm)) return std::nullopt;
  text = rest.substr(end + 1);
  return bytes->substr(kAlgorithm.size());
}

std::string checksum_of(std::string_view key) {
  crypto::Digest digest(crypto::Digest::Kind::sha512);
  digest.add(bytes_of(key));
  const auto whole = digest.finish();
  return {reinterpret_cast<const char*>(whole.data()), kChecksum};
}

}  // namespace

std::string to_string(const SignifyNumber& number) { return crypto::to_hex(number); }

std::optional<SignifyPublic> SignifyPublic::parse(std::string_view text) {
  const auto bytes = take_file(text, kAlgorithm.size() + sizeof(number) + sizeof(key));
  if (!bytes || !trimmed(text).empty()) return std::nullopt;
  std::string_view rest(*bytes);
  const auto number = take<SignifyNumber>(rest);
  return SignifyPublic{number, take<crypto::Ed25519Public>(rest)};
}

std::string SignifyPublic::to_text() const {
  return file("pgweir manifest public key",
              std::string(kAlgorithm) + text_of(number) + text_of(key));
}

SignifyKey SignifyKey::make() {
  SignifyNumber number{};
  crypto::Ed25519Seed seed{};
  crypto::random_bytes(number);
  crypto::random_bytes(seed);
  SignifyKey key(number, seed);
  crypto::wipe(seed);
  return key;
}

SignifyKey SignifyKey::parse(std::string_view text, const std::string& source) {
  constexpr std::size_t kSecret = 64;  // the seed, followed by the public key
  auto bytes = take_file(text, kAlgorithm.size() + kPassphrase.size() + kRounds + kSalt +
                                   kChecksum + sizeof(SignifyNumber) + kSecret);
  const auto wrong = [&] {
    return Error(ErrorKind::usage, "the file is not a key that signs manifests")
        .with("file", source)
        .hint("Create one with \"pgweir store keygen FILE\" or signify -G -n.");
  };
  if (!bytes || !trimmed(text).empty() || !bytes->starts_with(kPassphrase)) throw wrong();
  std::string_view rest(*bytes);
  rest.remove_prefix(kPassphrase.size());
  if (rest.substr(0, kRounds) != std::string_view("\0\0\0\0", kRounds))
    throw Error(ErrorKind::usage, "the key that signs a manifest has a passphrase")
        .with("file", source)
        .hint("pgweir cannot prompt for it. Create a key without a passphrase (signify -G -n).");
  rest.remove_prefix(kRounds + kSalt);
  const auto checksum = rest.substr(0, kChecksum);
  rest.remove_prefix(kChecksum);
  const auto number = take<SignifyNumber>(rest);
  if (checksum_of(rest) != checksum) throw wrong();
  auto seed = take<crypto::Ed25519Seed>(rest);
  SignifyKey key(number, seed);
  const bool fits = text_of(crypto::ed25519_public(seed)) == rest;
  crypto::wipe(seed);
  crypto::wipe(std::as_writable_bytes(std::span(*bytes)));
  if (!fits) throw wrong();
  return key;
}

std::string SignifyKey::to_text() const {
  auto secret = text_of(seed_) + text_of(crypto::ed25519_public(seed_));
  std::array<std::byte, kSalt> salt{};
  crypto::random_bytes(salt);
  auto bytes = std::string(kAlgorithm) + std::string(kPassphrase) + std::string(kRounds, '\0') +
               text_of(salt) + checksum_of(secret) + text_of(number_) + secret;
  auto text = file("pgweir manifest secret key", bytes);
  crypto::wipe(std::as_writable_bytes(std::span(secret)));
  crypto::wipe(std::as_writable_bytes(std::span(bytes)));
  return text;
}

std::string SignifyKey::sign(std::string_view text) const {
  const auto signature = crypto::ed25519_sign(seed_, bytes_of(text));
  return file("signed by pgweir's manifest key " + to_string(number_),
              std::string(kAlgorithm) + text_of(number_) + text_of(signature)) +
         std::string(text);
}

std::vector<SignifyPublic> proofs_of(const std::shared_ptr<const SignifyKey>& key,
                                     std::span<const SignifyPublic> former) {
  if (!key) return {};
  std::vector<SignifyPublic> keys(former.begin(), former.end());
  keys.push_back(key->public_key());
  return keys;
}

std::optional<SignedText> SignedText::parse(std::string_view content) {
  const auto bytes =
      take_file(content, kAlgorithm.size() + sizeof(number) + sizeof(SignedText::signature));
  if (!bytes) return std::nullopt;
  std::string_view rest(*bytes);
  const auto number = take<SignifyNumber>(rest);
  return SignedText{number, take<crypto::Ed25519Signature>(rest), content};
}

bool SignedText::is_by(const SignifyPublic& key) const {
  return number == key.number && crypto::ed25519_verify(key.key, bytes_of(text), signature);
}

}  // namespace weir::store
