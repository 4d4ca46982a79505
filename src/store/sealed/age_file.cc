// Encryption uses age's format and OpenSSL's primitives (`store/sealed/age_file`,
// `crypto/sealing`), no construction of its own. Both sides are io::Bytes. `AgeSealed` encrypts a
// chunk when it is read, so a segment is encrypted twice, for its digests and for the request, and
// nothing of it is kept. `AgeOpened` opens the last chunk first, which proves the length, and
// returns no chunk that was not authenticated. Readers of an archive see the plain name:
// `Layout::file_of()` removes `.age`, a NearShelf decrypts it.

#include "store/sealed/age_file.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/error.h"
#include "store/sealed/age_header.h"

namespace weir::store {

namespace {

using crypto::ChaCha20Poly1305;

constexpr std::size_t kNonceSize = 16;
constexpr std::uint64_t kChunk = 64 * 1024;
constexpr std::uint64_t kSealedChunk = kChunk + ChaCha20Poly1305::kTagSize;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

ChaCha20Poly1305::Nonce nonce_of(std::uint64_t chunk, bool last) {
  ChaCha20Poly1305::Nonce nonce{};
  for (std::size_t i = 0; i < sizeof chunk; ++i)
    nonce[nonce.size() - 2 - i] = static_cast<std::byte>(chunk >> (8 * i) & 0xff);
  nonce.back() = static_cast<std::byte>(last ? 1 : 0);
  return nonce;
}

std::unique_ptr<ChaCha20Poly1305> payload_cipher(std::span<const std::byte> file_key,
                                                 std::span<const std::byte> nonce) {
  return std::make_unique<ChaCha20Poly1305>(crypto::hkdf_sha256(file_key, nonce, "payload"));
}

}  // namespace

// ---- sealing

AgeSealed::AgeSealed(io::Bytes& content, std::span<const AgeRecipient> recipients)
    : content_(content), plain_size_(content.size()) {
  std::array<std::byte, kAgeFileKeySize> file_key{};
  crypto::random_bytes(file_key);
  const auto header = age_header(file_key, recipients);
  std::array<std::byte, kNonceSize> nonce{};
  crypto::random_bytes(nonce);
  const auto text = bytes_of(header);
  front_.assign(text.begin(), text.end());
  front_.insert(front_.end(), nonce.begin(), nonce.end());
  cipher_ = payload_cipher(file_key, nonce);
  crypto::wipe(file_key);
}

std::uint64_t AgeSealed::size() {
  const auto chunks = plain_size_ == 0 ? 1 : (plain_size_ + kChunk - 1) / kChunk;
  return front_.size() + plain_size_ + chunks * ChaCha20Poly1305::kTagSize;
}

void AgeSealed::seal(std::uint64_t chunk) {
  const auto begin = chunk * kChunk;
  std::vector<std::byte> text(
      static_cast<std::size_t>(std::min(kChunk, plain_size_ - std::min(begin, plain_size_))));
  if (content_.read_at(begin, text) != text.size())
    throw Error(ErrorKind::io, "a file ended while it was encrypted");
  chunk_ = cipher_->seal(nonce_of(chunk, begin + kChunk >= plain_size_), text);
  sealed_ = chunk;
}

std::size_t AgeSealed::read_at(std::uint64_t offset, std::span<std::byte> bytes) {
  std::size_t done = 0;
  const auto whole = size();
  while (done < bytes.size() && offset + done < whole) {
    const auto at = offset + done;
    std::span<const std::byte> rest;
    if (at < front_.size()) {
      rest = std::span(front_).subspan(static_cast<std::size_t>(at));
    } else {
      const auto number = (at - front_.size()) / kSealedChunk;
      if (sealed_ != number) seal(number);
      rest =
          std::span(chunk_).subspan(static_cast<std::size_t>((at - front_.size()) % kSealedChunk));
    }
    const auto count = std::min(rest.size(), bytes.size() - done);
    std::copy_n(rest.begin(), count, bytes.begin() + static_cast<std::ptrdiff_t>(done));
    done += count;
  }
  return done;
}

// ---- opening

AgeOpened::AgeOpened(std::unique_ptr<io::Bytes> file, std::span<const AgeIdentity> identities,
                     std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  const auto file_size = file_->size();
  std::string front(static_cast<std::size_t>(std::min<std::uint64_t>(file_size, kLargestAgeHeader)),
                    '\0');
  front.resize(file_->read_at(0, std::as_writable_bytes(std::span(front))));
  auto header = open_age_header(front, identities, name_);
  if (header.size + kNonceSize > front.size())
    throw damaged_age_file("the file is not a complete age file", name_);

  payload_ = header.size + kNonceSize;
  constexpr auto kTag = std::uint64_t{ChaCha20Poly1305::kTagSize};
  if (file_size < payload_ + kTag) throw damaged_age_file("an encrypted file is cut off", name_);
  cipher_ = payload_cipher(header.file_key, bytes_of(front).subspan(header.size, kNonceSize));
  crypto::wipe(header.file_key);
  const auto sealed = file_size - payload_;
  last_ = (sealed - 1) / kSealedChunk;
  const auto rest = sealed - last_ * kSealedChunk;
  // Only an empty content is sealed as an empty chunk.
  if (rest < kTag || (rest == kTag && last_ > 0))
    throw damaged_age_file("an encrypted file is cut off", name_);
  size_ = sealed - (last_ + 1) * kTag;
  open(last_);
}

std::uint64_t AgeOpened::place_of(std::uint64_t chunk) const {
  return payload_ + chunk * kSealedChunk;
}

void AgeOpened::open(std::uint64_t chunk) {
  opened_.reset();
  const auto begin = place_of(chunk);
  const auto end = std::min(begin + kSealedChunk, file_->size());
  std::vector<std::byte> sealed(static_cast<std::size_t>(end - begin));
  if (file_->read_at(begin, sealed) != sealed.size())
    throw damaged_age_file("an encrypted file became shorter while it was read", name_);
  auto text = cipher_->open(nonce_of(chunk, chunk == last_), sealed);
  if (!text)
    throw damaged_age_file("an encrypted file was modified or is incomplete", name_)
        .with("at", begin);
  chunk_ = std::move(*text);
  opened_ = chunk;
}

std::size_t AgeOpened::read_at(std::uint64_t offset, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size() && offset + done < size_) {
    const auto at = offset + done;
    const auto number = at / kChunk;
    if (opened_ != number) open(number);
    const auto rest = std::span(chunk_).subspan(static_cast<std::size_t>(at % kChunk));
    const auto count = std::min(rest.size(), bytes.size() - done);
    std::copy_n(rest.begin(), count, bytes.begin() + static_cast<std::ptrdiff_t>(done));
    done += count;
  }
  return done;
}

}  // namespace weir::store
