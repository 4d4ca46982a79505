#include "crypto/primitives.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "base/error.h"
#include "crypto/openssl.h"

namespace weir::crypto {

namespace {

[[noreturn]] void failed(const char* what) {
  throw Error(ErrorKind::io, std::string("OpenSSL failed: ") + what);
}

unsigned char* bytes_of(Sha256& digest) { return reinterpret_cast<unsigned char*>(digest.data()); }
const unsigned char* bytes_of(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

void load() { static_cast<void>(find_in_libcrypto("EVP_sha256")); }

Sha256 sha256(std::span<const std::byte> bytes) {
  PGWEIR_CRYPTO(SHA256);
  Sha256 digest{};
  if (call_SHA256(bytes_of(bytes), bytes.size(), bytes_of(digest)) == nullptr) failed("SHA-256");
  return digest;
}

Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view text) {
  PGWEIR_CRYPTO(EVP_sha256);
  PGWEIR_CRYPTO(HMAC);
  Sha256 digest{};
  unsigned size = 0;
  if (call_HMAC(call_EVP_sha256(), key.data(), static_cast<int>(key.size()),
                bytes_of(std::as_bytes(std::span(text))), text.size(), bytes_of(digest),
                &size) == nullptr ||
      size != kSha256Size)
    failed("HMAC");
  return digest;
}

bool equal(const Sha256& one, const Sha256& other) {
  PGWEIR_CRYPTO(CRYPTO_memcmp);
  return call_CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

void random_bytes(std::span<std::byte> bytes) {
  PGWEIR_CRYPTO(RAND_bytes);
  if (call_RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                      static_cast<int>(bytes.size())) != 1)
    failed("could not generate random bytes");
}

Sha256 pbkdf2_sha256(std::string_view password, std::span<const std::byte> salt,
                     unsigned iterations) {
  PGWEIR_CRYPTO(EVP_sha256);
  PGWEIR_CRYPTO(PKCS5_PBKDF2_HMAC);
  Sha256 digest{};
  if (call_PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), bytes_of(salt),
                             static_cast<int>(salt.size()), static_cast<int>(iterations),
                             call_EVP_sha256(), static_cast<int>(digest.size()),
                             bytes_of(digest)) != 1)
    failed("PBKDF2");
  return digest;
}

}  // namespace weir::crypto
