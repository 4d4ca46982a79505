#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <utility>

#include "crypto/openssl.h"
#include "crypto/pem.h"
#include "crypto/tls.h"

namespace weir::crypto {

namespace {

std::optional<std::string> hash_of(X509* certificate) {
  PGWEIR_CRYPTO(X509_get_signature_info);
  PGWEIR_CRYPTO(EVP_sha256);
  PGWEIR_CRYPTO(EVP_get_digestbyname);
  PGWEIR_CRYPTO(OBJ_nid2sn);
  PGWEIR_CRYPTO(X509_digest);
  PGWEIR_CRYPTO(ERR_clear_error);
  int digest = NID_undef;
  if (call_X509_get_signature_info(certificate, &digest, nullptr, nullptr, nullptr) != 1 ||
      digest == NID_undef) {
    call_ERR_clear_error();
    return std::nullopt;
  }
  // RFC 5929, 4.1: the digest of the signature, and SHA-256 instead of broken ones.
  const auto* const name = call_OBJ_nid2sn(digest);
  const auto* const algorithm =
      digest == NID_md5 || digest == NID_sha1 ? call_EVP_sha256() : call_EVP_get_digestbyname(name);
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned size = 0;
  if (algorithm == nullptr || call_X509_digest(certificate, algorithm, hash.data(), &size) != 1) {
    call_ERR_clear_error();
    return std::nullopt;
  }
  return std::string(reinterpret_cast<const char*>(hash.data()), size);
}

/// The client offers a list of names, each preceded by its length.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void* own) noexcept {
  const auto& protocol = *static_cast<const std::string*>(own);
  const std::string_view list(reinterpret_cast<const char*>(offered), offered_size);
  for (std::size_t at = 0; at < list.size();) {
    const auto size = static_cast<unsigned char>(list[at]);
    const auto name = list.substr(at + 1, size);
    if (name == protocol) {
      *chosen = offered + at + 1;
      *chosen_size = size;
      return SSL_TLSEXT_ERR_OK;
    }
    at += 1u + size;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/// The same options as PostgreSQL's (be_tls_init() in libpq/be-secure-openssl.c).
void set_options(SSL_CTX* context) {
  PGWEIR_SSL(SSL_CTX_ctrl);
  PGWEIR_SSL(SSL_CTX_set_options);
  PGWEIR_SSL(SSL_CTX_set_num_tickets);
  if (call_SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, nullptr) != 1)
    throw openssl_error("could not set the minimum protocol version TLS 1.2");
  call_SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                        SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // On a resumed session the client would not have to present its certificate again.
  call_SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, nullptr);
  if (call_SSL_CTX_set_num_tickets(context, 0) != 1)
    throw openssl_error("could not disable TLS session tickets");
  // Clients wait for WAL most of the time: this saves the 34 kB of a record buffer in each
  // direction.
  call_SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, nullptr);
}

}  // namespace

void TlsServer::Free::operator()(ssl_ctx_st* context) const noexcept {
  PGWEIR_SSL(SSL_CTX_free);
  call_SSL_CTX_free(context);
}

TlsServer::TlsServer(const Files& files, std::string protocol) : protocol_(std::move(protocol)) {
  PGWEIR_SSL(TLS_server_method);
  PGWEIR_SSL(SSL_CTX_new);
  PGWEIR_SSL(SSL_CTX_ctrl);
  PGWEIR_SSL(SSL_CTX_use_certificate);
  PGWEIR_SSL(SSL_CTX_use_PrivateKey);
  PGWEIR_SSL(SSL_CTX_check_private_key);
  PGWEIR_SSL(SSL_CTX_set_alpn_select_cb);
  PGWEIR_SSL(SSL_CTX_get_cert_store);
  PGWEIR_SSL(SSL_CTX_add_client_CA);
  PGWEIR_SSL(SSL_CTX_set_verify);
  PGWEIR_CRYPTO(X509_STORE_add_cert);

  context_.reset(call_SSL_CTX_new(call_TLS_server_method()));
  if (context_ == nullptr) throw openssl_error("could not initialize TLS");
  set_options(context_.get());
  call_SSL_CTX_set_alpn_select_cb(context_.get(), choose_protocol,
                                  const_cast<std::string*>(&protocol_));

  const auto certificates = read_certificates(files.certificate, "could not read the certificate");
  auto* const own = certificates.front().get();
  if (call_SSL_CTX_use_certificate(context_.get(), own) != 1)
    throw pem_error(files.certificate, "the certificate cannot be used: " + openssl_reason());
  for (std::size_t i = 1; i < certificates.size(); ++i)
    if (call_SSL_CTX_ctrl(context_.get(), SSL_CTRL_CHAIN_CERT, 1, certificates[i].get()) != 1)
      throw pem_error(files.certificate, "a certificate cannot be used: " + openssl_reason());
  const auto key = read_key(files.key);
  if (key == nullptr)
    throw pem_error(files.key, "the private key is protected by a passphrase")
        .hint(
            "Remove the passphrase (openssl pkey -in … -out …), and restrict the file's "
            "permissions.");
  if (call_SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1 ||
      call_SSL_CTX_check_private_key(context_.get()) != 1)
    throw pem_error(files.key,
                    "the private key does not match the certificate: " + openssl_reason())
        .with("certificate", files.certificate.path);
  end_point_ = hash_of(own);
  expires_ = expiry_of(own);

  if (!files.authorities) return;
  for (const auto& authority :
       read_certificates(*files.authorities, "could not read the CA certificates"))
    if (call_X509_STORE_add_cert(call_SSL_CTX_get_cert_store(context_.get()), authority.get()) !=
            1 ||
        call_SSL_CTX_add_client_CA(context_.get(), authority.get()) != 1)
      throw pem_error(*files.authorities, "a certificate cannot be used: " + openssl_reason());
  // A certificate that is presented must be valid; a rule may require one.
  call_SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, nullptr);
}

TlsServer::~TlsServer() = default;

}  // namespace weir::crypto
