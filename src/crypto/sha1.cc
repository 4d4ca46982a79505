#include "crypto/sha1.h"

#include <openssl/evp.h>

#include <vector>

#include "crypto/digest.h"
#include "crypto/library.h"
#include "crypto/openssl_error.h"

namespace weir::crypto {

void Sha1::Free::operator()(evp_md_ctx_st* context) const noexcept {
  PGWEIR_CRYPTO(EVP_MD_CTX_free);
  call_EVP_MD_CTX_free(context);
}

Sha1::Sha1() {
  PGWEIR_CRYPTO(EVP_MD_CTX_new);
  PGWEIR_CRYPTO(EVP_sha1);
  PGWEIR_CRYPTO(EVP_DigestInit_ex);
  context_.reset(call_EVP_MD_CTX_new());
  if (context_ == nullptr || call_EVP_DigestInit_ex(context_.get(), call_EVP_sha1(), nullptr) != 1)
    throw openssl_error("could not begin a digest");
}

Sha1::~Sha1() = default;

void Sha1::add(std::span<const std::byte> bytes) {
  PGWEIR_CRYPTO(EVP_DigestUpdate);
  if (call_EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1)
    throw openssl_error("could not go on with a digest");
}

std::string Sha1::finish() {
  PGWEIR_CRYPTO(EVP_DigestFinal_ex);
  std::vector<std::byte> digest(EVP_MAX_MD_SIZE);
  unsigned size = 0;
  if (call_EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                              &size) != 1)
    throw openssl_error("could not end a digest");
  digest.resize(size);
  return to_hex(digest);
}

}  // namespace weir::crypto
