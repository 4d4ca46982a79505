#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "crypto/tls_reader.h"
#include "pq/direct_copy.h"

namespace weir::pq {

/// Messages from a connection with TLS: decrypted piece by piece into the place where they are
/// wanted. One may be taken in several pieces at any time. What is not CopyData stays with the
/// session, for libpq: who goes on there has to know that TlsReader::holds() may be true.
class TlsCopy final : public DirectCopy {
 public:
  /// nullptr: libpq has given the session up.
  using Session = std::function<ssl_st*()>;

  TlsCopy(int socket, Session session, std::shared_ptr<crypto::TlsReader> reader,
          std::size_t largest);
  /// The next one who reads may poll the socket.
  ~TlsCopy() override;
  Found next(std::span<std::byte> place) override;

 private:
  [[nodiscard]] Found begin(ssl_st* session);
  [[nodiscard]] Found fill(ssl_st* session, std::span<std::byte> bytes);

  const Session session_;
  const std::shared_ptr<crypto::TlsReader> reader_;
};

}  // namespace weir::pq
