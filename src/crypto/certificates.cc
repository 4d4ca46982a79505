#include "crypto/certificates.h"

#include <openssl/ssl.h>

#include "crypto/openssl.h"
#include "crypto/pem.h"

namespace weir::crypto {

std::chrono::sys_seconds expiry_of_certificate(const PemFile& file) {
  return expiry_of(read_certificates(file, "could not read the certificate").front().get());
}

void check_authorities(const PemFile& file) {
  static_cast<void>(read_certificates(file, "could not read the CA certificates"));
}

void check_pair(const PemFile& certificate, const PemFile& key) {
  const auto own = read_certificates(certificate, "could not read the certificate");
  const auto its = read_key(key);
  if (its != nullptr && !belong_together(own.front().get(), its.get()))
    throw pem_error(key, "the private key does not match the certificate")
        .with("certificate", certificate.path);
}

std::optional<std::chrono::sys_seconds> expiry_of_other_side(ssl_st* session) {
  PGWEIR_SSL(SSL_get1_peer_certificate);
  const Certificate certificate(call_SSL_get1_peer_certificate(session));
  if (certificate == nullptr) return std::nullopt;
  return expiry_of(certificate.get());
}

}  // namespace weir::crypto
