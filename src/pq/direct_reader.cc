#include "pq/direct_reader.h"

#include <utility>

#include "pq/tcp_copy.h"
#include "pq/tcp_count.h"

namespace weir::pq {

namespace {

/// The server's answer to START_REPLICATION, with its envelope (StartReplication() in walsender.c).
constexpr std::size_t kCopyBothResponse = 1 + 4 + 1 + 2;
/// After this many failed checks libpq keeps reading.
constexpr int kMostLooks = 1000;

}  // namespace

void DirectReader::on_command_sent(TlsCopy::Session session,
                                   std::shared_ptr<crypto::TlsReader> reader) {
  session_ = std::move(session);
  tls_ = std::move(reader);
  consumed_ = 0;
}

void DirectReader::on_copy_began() {
  if (consumed_) *consumed_ += kCopyBothResponse;
}

void DirectReader::on_libpq_message(std::size_t bytes) {
  last_body_ = {};
  if (consumed_) *consumed_ += DirectCopy::kEnvelope + bytes;
}

void DirectReader::gather(std::size_t bytes) {
  if (std::exchange(gathered_, bytes) == bytes || !copy_) return;
  copy_->gather(bytes);
  if (!wanted() && !copy_->within_message()) stop();
}

void DirectReader::retire() {
  retired_ = true;
  gather(1);
  if (copy_ && !copy_->within_message()) stop();
}

bool DirectReader::take_over(int socket, std::size_t largest) {
  if (!wanted() || !consumed_ || looks_ >= kMostLooks) return false;
  ++looks_;
  if ((tls_ ? tls_->counted() : bytes_read_at_most(socket)) != consumed_) return false;
  looks_ = 0;
  last_body_ = {};
  if (tls_)
    copy_ = std::make_unique<TlsCopy>(socket, session_, tls_, largest);
  else
    copy_ = std::make_unique<TcpCopy>(socket, largest);
  copy_->gather(gathered_);
  return true;
}

DirectCopy::Found DirectReader::next(std::span<std::byte> place) {
  const auto found = copy_->next(place);
  if (found == DirectCopy::Found::message) *consumed_ += copy_->size();
  if (found == DirectCopy::Found::other) consumed_.reset();  // from here on libpq reads
  return found;
}

std::uint64_t DirectReader::mark() const {
  ssl_st* const session = tls_ ? session_() : nullptr;
  return session != nullptr ? tls_->bytes_read_at_most(session) : 0;
}

bool DirectReader::holds() const {
  ssl_st* const session = tls_ ? session_() : nullptr;
  return session != nullptr && tls_->holds(session);
}

std::vector<std::byte> DirectReader::release_body() {
  if (!copy_) return std::exchange(last_body_, {});
  if (copy_->within_message()) return {};
  return copy_->release_body();
}

void DirectReader::stop() {
  copy_->gather(1);
  last_body_ = copy_->release_body();
  copy_.reset();
}

}  // namespace weir::pq
