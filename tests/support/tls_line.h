#pragma once

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "crypto/openssl.h"
#include "crypto/tls.h"
#include "support/tls_client.h"

namespace weir::test {

/// A client that has shaken hands with a TlsSession, and reads from a socket from there on, as
/// libpq's do. What the server encrypts is given out, to be sent to that socket in whatever pieces.
class TlsLine {
 public:
  TlsLine(const crypto::TlsServer::Files& files, int socket,
          const TlsClient::Options& options = {.alpn = {}, .certificate = {}, .key = {}},
          const char* ciphers = nullptr)
      : client_(options), server_(std::make_shared<crypto::TlsServer>(files, "postgresql")) {
    PGWEIR_SSL(SSL_set_cipher_list);
    PGWEIR_SSL(SSL_set0_rbio);
    PGWEIR_CRYPTO(BIO_new_socket);
    if (ciphers != nullptr) call_SSL_set_cipher_list(client_.session(), ciphers);
    for (int turn = 0; turn < 4; ++turn) {
      static_cast<void>(client_.shake_hands());
      server_.give(client_.take());
      static_cast<void>(server_.shake_hands());
      client_.give(take());
    }
    client_.read();  // what the server sends behind a handshake
    if (server_.shake_hands() != crypto::TlsSession::Progress::done)
      throw std::runtime_error("no handshake: " + server_.why());
    if (::fcntl(socket, F_SETFL, O_NONBLOCK) != 0) throw std::runtime_error("fcntl failed");
    call_SSL_set0_rbio(session(), call_BIO_new_socket(socket, BIO_NOCLOSE));
  }
  [[nodiscard]] SSL* session() const { return client_.session(); }
  [[nodiscard]] std::string cipher() const { return server_.cipher(); }

  /// One record of so much, if it is not more than a record takes.
  [[nodiscard]] std::string encrypted(std::string_view text) {
    if (!server_.write(text)) throw std::runtime_error("could not encrypt: " + server_.why());
    return take();
  }
  /// What libpq would read next: all there is.
  [[nodiscard]] std::string rest() { return client_.read(); }

 private:
  std::string take() {
    std::string bytes;
    bytes.swap(server_.output());
    return bytes;
  }

  TlsClient client_;
  crypto::TlsSession server_;
};

}  // namespace weir::test
