#include "crypto/ed25519.h"

#include <openssl/evp.h>

#include <memory>

#include "crypto/openssl.h"
#include "crypto/pem.h"

namespace weir::crypto {

namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const noexcept {
    PGWEIR_CRYPTO(EVP_MD_CTX_free);
    call_EVP_MD_CTX_free(context);
  }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

Key signing_key_of(const Ed25519Seed& seed) {
  PGWEIR_CRYPTO(EVP_PKEY_new_raw_private_key);
  Key key(call_EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw(seed), seed.size()));
  if (!key) throw openssl_error("could not use a key for signatures");
  return key;
}

Context new_context() {
  PGWEIR_CRYPTO(EVP_MD_CTX_new);
  Context context(call_EVP_MD_CTX_new());
  if (!context) throw openssl_error("could not initialize a signature");
  return context;
}

}  // namespace

Ed25519Public ed25519_public(const Ed25519Seed& seed) {
  PGWEIR_CRYPTO(EVP_PKEY_get_raw_public_key);
  const auto key = signing_key_of(seed);
  Ed25519Public made{};
  auto size = made.size();
  if (call_EVP_PKEY_get_raw_public_key(key.get(), room(made), &size) != 1 || size != made.size())
    throw openssl_error("could not create a public key");
  return made;
}

Ed25519Signature ed25519_sign(const Ed25519Seed& seed, std::span<const std::byte> message) {
  PGWEIR_CRYPTO(EVP_DigestSignInit);
  PGWEIR_CRYPTO(EVP_DigestSign);
  const auto key = signing_key_of(seed);
  const auto context = new_context();
  Ed25519Signature signature{};
  auto size = signature.size();
  if (call_EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      call_EVP_DigestSign(context.get(), room(signature), &size, raw(message), message.size()) !=
          1 ||
      size != signature.size())
    throw openssl_error("could not sign");
  return signature;
}

bool ed25519_verify(const Ed25519Public& key, std::span<const std::byte> message,
                    const Ed25519Signature& signature) {
  PGWEIR_CRYPTO(EVP_PKEY_new_raw_public_key);
  PGWEIR_CRYPTO(EVP_DigestVerifyInit);
  PGWEIR_CRYPTO(EVP_DigestVerify);
  const Key theirs(
      call_EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(key), key.size()));
  const auto context = new_context();
  if (!theirs ||
      call_EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, theirs.get()) != 1)
    throw openssl_error("could not initialize the verification of a signature");
  if (call_EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(message),
                            message.size()) == 1)
    return true;
  static_cast<void>(openssl_reason());
  return false;
}

}  // namespace weir::crypto
