#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

#include "crypto/openssl.h"
#include "crypto/tls.h"

namespace weir::test {

/// The client's side of TLS, bytes in and bytes out. It believes any server.
class TlsClient {
 public:
  struct Options {
    std::string alpn;  ///< as it goes over the wire; empty: it does not ask
    int oldest = TLS1_2_VERSION;
    int newest = 0;                    ///< 0: any
    crypto::PemFile certificate, key;  ///< none where the path is empty
  };
  explicit TlsClient(const Options& options) {
    PGWEIR_SSL(SSL_CTX_new);
    PGWEIR_SSL(TLS_client_method);
    PGWEIR_SSL(SSL_CTX_ctrl);
    PGWEIR_SSL(SSL_CTX_set_cipher_list);
    PGWEIR_SSL(SSL_CTX_use_certificate_file);
    PGWEIR_SSL(SSL_CTX_use_PrivateKey_file);
    PGWEIR_SSL(SSL_new);
    PGWEIR_SSL(SSL_set_bio);
    PGWEIR_SSL(SSL_set_alpn_protos);
    PGWEIR_SSL(SSL_set_connect_state);
    PGWEIR_CRYPTO(BIO_new);
    PGWEIR_CRYPTO(BIO_s_mem);
    context_ = call_SSL_CTX_new(call_TLS_client_method());
    // Old versions are not to fail because of what this machine thinks of them.
    call_SSL_CTX_set_cipher_list(context_, "DEFAULT:@SECLEVEL=0");
    call_SSL_CTX_ctrl(context_, SSL_CTRL_SET_MIN_PROTO_VERSION, options.oldest, nullptr);
    call_SSL_CTX_ctrl(context_, SSL_CTRL_SET_MAX_PROTO_VERSION, options.newest, nullptr);
    if (!options.certificate.path.empty() &&
        (call_SSL_CTX_use_certificate_file(context_, options.certificate.path.c_str(),
                                           SSL_FILETYPE_PEM) != 1 ||
         call_SSL_CTX_use_PrivateKey_file(context_, options.key.path.c_str(), SSL_FILETYPE_PEM) !=
             1))
      throw std::runtime_error("the client's certificate cannot be used");
    session_ = call_SSL_new(context_);
    in_ = call_BIO_new(call_BIO_s_mem());
    out_ = call_BIO_new(call_BIO_s_mem());
    call_SSL_set_bio(session_, in_, out_);
    if (!options.alpn.empty())
      call_SSL_set_alpn_protos(session_,
                               reinterpret_cast<const unsigned char*>(options.alpn.data()),
                               static_cast<unsigned>(options.alpn.size()));
    call_SSL_set_connect_state(session_);
  }
  ~TlsClient() {
    PGWEIR_SSL(SSL_free);
    PGWEIR_SSL(SSL_CTX_free);
    call_SSL_free(session_);
    call_SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  void give(std::string_view bytes) {
    PGWEIR_CRYPTO(BIO_write);
    if (!bytes.empty()) call_BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
  }
  /// To be sent.
  std::string take() {
    PGWEIR_CRYPTO(BIO_read);
    std::string bytes;
    std::array<char, 4096> piece;
    for (int count = 0; (count = call_BIO_read(out_, piece.data(), piece.size())) > 0;)
      bytes.append(piece.data(), static_cast<std::size_t>(count));
    return bytes;
  }
  /// Done?
  bool shake_hands() {
    PGWEIR_SSL(SSL_do_handshake);
    PGWEIR_CRYPTO(ERR_clear_error);
    call_ERR_clear_error();
    return call_SSL_do_handshake(session_) == 1;
  }
  void write(std::string_view bytes) {
    PGWEIR_SSL(SSL_write);
    call_SSL_write(session_, bytes.data(), static_cast<int>(bytes.size()));
  }
  std::string read() {
    PGWEIR_SSL(SSL_read);
    std::string bytes;
    std::array<char, 4096> piece;
    for (int count = 0; (count = call_SSL_read(session_, piece.data(), piece.size())) > 0;)
      bytes.append(piece.data(), static_cast<std::size_t>(count));
    return bytes;
  }
  SSL* session() const { return session_; }

 private:
  SSL_CTX* context_ = nullptr;
  SSL* session_ = nullptr;
  BIO* in_ = nullptr;
  BIO* out_ = nullptr;
};

}  // namespace weir::test
