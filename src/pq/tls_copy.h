#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "crypto/tls_reader.h"
#include "pq/direct_copy.h"

namespace weir::pq {

/// Reads messages from a TLS connection, decrypted piece by piece into their destination. A message
/// may be read in several pieces. Everything except CopyData stays in the session, for libpq: its
/// reader must know that TlsReader::holds() may be true.
class TlsCopy final : public DirectCopy {
 public:
  /// nullptr: libpq has closed the session.
  using Session = std::function<ssl_st*()>;

  TlsCopy(int socket, Session session, std::shared_ptr<crypto::TlsReader> reader,
          std::size_t largest);
  /// The next reader can poll the socket.
  ~TlsCopy() override;
  Found next(std::span<std::byte> place) override;

 private:
  [[nodiscard]] Found begin(ssl_st* session);
  [[nodiscard]] Found fill(ssl_st* session, std::span<std::byte> bytes);

  const Session session_;
  const std::shared_ptr<crypto::TlsReader> reader_;
};

}  // namespace weir::pq
