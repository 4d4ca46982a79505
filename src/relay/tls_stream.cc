#include "relay/tls_stream.h"

#include <array>
#include <utility>

namespace weir::relay {

namespace {

using Handshake = crypto::TlsSession::Progress;

/// Number of bytes encrypted before the socket has taken the previous ones: four records.
constexpr std::size_t kPiece = 64 * 1024;
/// One record and its header.
constexpr std::size_t kReadAtOnce = 16 * 1024 + 512;
/// After a piece only TLS's own replies follow, to a client that does not read.
constexpr std::size_t kMostUnsent = 2 * kPiece;

}  // namespace

TlsStream::TlsStream(Descriptor socket, std::shared_ptr<const crypto::TlsServer> server,
                     std::string plain, std::string_view begun)
    : socket_(std::move(socket)), session_(std::move(server)), unsent_(std::move(plain)) {
  session_.give(begun);
}

TlsStream::~TlsStream() {
  session_.close();
  static_cast<void>(flush());
}

/// One piece of input at a time, so that a client that sends without end does not block others: the
/// socket remains readable then.
Handshake TlsStream::shake_hands() {
  auto progress = session_.shake_hands();
  if (progress == Handshake::more) {
    switch (take_more()) {
      case Taken::gone:
        return Handshake::failed;
      case Taken::nothing:
        break;
      case Taken::something:
        progress = session_.shake_hands();
        break;
    }
  }
  // If it failed, the other side gets the reason.
  return flush() ? progress : Handshake::failed;
}

std::optional<std::size_t> TlsStream::send_now(std::string_view bytes) {
  std::size_t taken = 0;
  if (!flush()) return std::nullopt;
  while (unsent_.empty() && taken < bytes.size()) {
    const auto piece = bytes.substr(taken, kPiece);
    if (!session_.write(piece)) return std::nullopt;
    taken += piece.size();
    if (!flush()) return std::nullopt;
  }
  return taken;
}

/// Small parts share a record with the following ones.
std::optional<std::size_t> TlsStream::send_parts(std::span<const std::string_view> parts) {
  std::size_t taken = 0;
  if (!flush()) return std::nullopt;
  std::size_t at = 0;  // in the first part
  while (unsent_.empty() && !parts.empty()) {
    gathered_.clear();
    while (!parts.empty() && gathered_.size() < kPiece) {
      const auto piece = parts.front().substr(at, kPiece - gathered_.size());
      gathered_ += piece;
      at += piece.size();
      if (at < parts.front().size()) continue;
      parts = parts.subspan(1);
      at = 0;
    }
    if (gathered_.empty()) break;
    if (!session_.write(gathered_)) return std::nullopt;
    taken += gathered_.size();
    if (!flush()) return std::nullopt;
  }
  return taken;
}

std::optional<std::size_t> TlsStream::receive_now(std::span<char> bytes) {
  auto count = session_.read(bytes);
  if (count == 0) {
    switch (take_more()) {
      case Taken::gone:
        return std::nullopt;
      case Taken::nothing:
        break;
      case Taken::something:
        count = session_.read(bytes);
        break;
    }
  }
  if (!flush()) return std::nullopt;
  return count;
}

TlsStream::Taken TlsStream::take_more() {
  std::array<char, kReadAtOnce> bytes;
  const auto count = net::receive_now(socket_.get(), bytes);
  if (!count) return Taken::gone;
  if (*count == 0) return Taken::nothing;
  session_.give({bytes.data(), *count});
  return Taken::something;
}

bool TlsStream::flush() {
  // Both keep their memory.
  if (unsent_.empty())
    unsent_.swap(session_.output());
  else
    unsent_ += session_.output();
  session_.output().clear();
  if (unsent_.empty()) return true;
  const auto sent = net::send_now(socket_.get(), unsent_);
  if (!sent) return false;
  unsent_.erase(0, *sent);
  return unsent_.size() <= kMostUnsent;
}

}  // namespace weir::relay
