#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/descriptor.h"
#include "crypto/tls.h"
#include "net/stream.h"

namespace weir::relay {

/// The name of what is spoken inside (PG_ALPN_PROTOCOL in libpq/pqcomm.h, PostgreSQL 17).
inline constexpr std::string_view kTlsProtocol = "postgresql";

/// A TLS connection, server side. Data that was accepted and not sent yet is at most the encrypted
/// size of 64 kB.
class TlsStream : public net::Stream {
 public:
  /// `plain`: data to be sent unencrypted, before TLS starts. `begun`: TLS data already received.
  TlsStream(Descriptor socket, std::shared_ptr<const crypto::TlsServer> server, std::string plain,
            std::string_view begun);
  /// Announces the end of the data, if the socket accepts that at once.
  ~TlsStream() override;

  /// Before it is complete, only send_now("") and has_unsent() may be called.
  [[nodiscard]] crypto::TlsSession::Progress shake_hands();
  /// The other side's identity, and the error if it failed.
  [[nodiscard]] const crypto::TlsSession& session() const { return session_; }

  [[nodiscard]] std::optional<std::size_t> send_now(std::string_view bytes) override;
  [[nodiscard]] std::optional<std::size_t> send_parts(
      std::span<const std::string_view> parts) override;
  [[nodiscard]] std::optional<std::size_t> receive_now(std::span<char> bytes) override;
  [[nodiscard]] bool has_unsent() const override { return !unsent_.empty(); }
  [[nodiscard]] int fd() const override { return socket_.get(); }

 private:
  /// Returns false if the other side has disconnected, or forces us to reply without reading the
  /// replies.
  [[nodiscard]] bool flush();
  enum class Taken { nothing, something, gone };
  [[nodiscard]] Taken take_more();

  Descriptor socket_;
  crypto::TlsSession session_;
  std::string unsent_;
  std::string gathered_;  ///< of several parts; nothing outside of send_parts()
};

}  // namespace weir::relay
