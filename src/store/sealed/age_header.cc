#include "store/sealed/age_header.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/base64.h"
#include "base/error.h"

namespace weir::store {

namespace {

using crypto::ChaCha20Poly1305;

constexpr std::string_view kX25519 = "X25519";
constexpr std::string_view kX25519Info = "age-encryption.org/v1/X25519";
constexpr std::size_t kLine = 64;

/// Without padding.
std::string encoded(std::span<const std::byte> bytes) {
  auto text = to_base64(bytes);
  while (text.ends_with('=')) text.pop_back();
  return text;
}

/// As age requires: no padding, and only what encoded() would write.
std::optional<std::vector<std::byte>> decoded(std::string_view text) {
  if (text.find('=') != std::string_view::npos) return std::nullopt;
  std::string padded(text);
  while (padded.size() % 4 != 0) padded += '=';
  const auto raw = from_base64(padded);
  if (!raw) return std::nullopt;
  const auto view = std::as_bytes(std::span(*raw));
  return std::vector<std::byte>(view.begin(), view.end());
}

crypto::Sha256 wrapping_key(const crypto::X25519& shared, const crypto::X25519& share,
                            const crypto::X25519& recipient) {
  std::vector<std::byte> salt(share.begin(), share.end());
  salt.insert(salt.end(), recipient.begin(), recipient.end());
  return crypto::hkdf_sha256(shared, salt, kX25519Info);
}

/// MAC of the header up to and including "---".
crypto::Sha256 header_mac(std::span<const std::byte> file_key, std::string_view header) {
  return crypto::hmac_sha256(crypto::hkdf_sha256(file_key, {}, "header"), header);
}

struct Stanza {
  std::vector<std::string> arguments{};
  std::vector<std::byte> body{};
};
struct Header {
  std::vector<Stanza> stanzas{};
  std::string_view signed_part{};
  crypto::Sha256 mac{};
  std::size_t size = 0;
};

/// Reads lines strictly as the format requires.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}

  std::optional<Header> read() {
    if (!text_.starts_with(kAgeIntroduction)) return std::nullopt;
    at_ = kAgeIntroduction.size();
    Header header;
    for (;;) {
      const auto begin = at_;
      const auto line = next_line();
      if (!line) return std::nullopt;
      if (line->starts_with("--- ")) {
        const auto mac = decoded(line->substr(4));
        if (header.stanzas.empty() || !mac || mac->size() != header.mac.size()) return std::nullopt;
        std::copy(mac->begin(), mac->end(), header.mac.begin());
        header.signed_part = text_.substr(0, begin + 3);
        header.size = at_;
        return header;
      }
      auto stanza = read_stanza(*line);
      if (!stanza) return std::nullopt;
      header.stanzas.push_back(std::move(*stanza));
    }
  }

 private:
  std::optional<std::string_view> next_line() {
    const auto end = text_.find('\n', at_);
    if (end == std::string_view::npos) return std::nullopt;
    const auto line = text_.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }

  std::optional<Stanza> read_stanza(std::string_view line) {
    if (!line.starts_with("-> ")) return std::nullopt;
    line.remove_prefix(3);
    Stanza stanza;
    for (;;) {
      const auto space = line.find(' ');
      const auto word = line.substr(0, space);
      const bool printable =
          std::all_of(word.begin(), word.end(), [](char c) { return c >= 33 && c <= 126; });
      if (word.empty() || !printable) return std::nullopt;
      stanza.arguments.emplace_back(word);
      if (space == std::string_view::npos) break;
      line.remove_prefix(space + 1);
    }
    // Full lines, and a last one that is shorter, possibly empty.
    std::string body;
    for (bool more = true; more;) {
      const auto part = next_line();
      if (!part || part->size() > kLine) return std::nullopt;
      body += *part;
      more = part->size() == kLine;
    }
    auto bytes = decoded(body);
    if (!bytes) return std::nullopt;
    stanza.body = std::move(*bytes);
    return stanza;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

std::optional<crypto::X25519> point_of(std::string_view text) {
  const auto bytes = decoded(text);
  crypto::X25519 point{};
  if (!bytes || bytes->size() != point.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), point.begin());
  return point;
}

enum class Unwrapped { yes, no, malformed };

/// The file key, if this stanza is for that identity.
Unwrapped unwrap(const Stanza& stanza, const AgeIdentity& identity,
                 std::vector<std::byte>& file_key) {
  if (stanza.arguments.front() != kX25519) return Unwrapped::no;
  const auto share = stanza.arguments.size() == 2 ? point_of(stanza.arguments[1]) : std::nullopt;
  if (!share || stanza.body.size() != kAgeFileKeySize + ChaCha20Poly1305::kTagSize)
    return Unwrapped::malformed;
  auto shared = crypto::x25519_shared(identity.key(), *share);
  if (!shared) return Unwrapped::malformed;
  auto key = wrapping_key(*shared, *share, identity.recipient().point);
  auto opened = ChaCha20Poly1305(key).open({}, stanza.body);
  crypto::wipe(*shared);
  crypto::wipe(key);
  if (!opened) return Unwrapped::no;
  file_key = std::move(*opened);
  return Unwrapped::yes;
}

}  // namespace

Error damaged_age_file(const std::string& what, const std::string& name) {
  return Error(ErrorKind::damage, what).with("file", name);
}

std::string age_header(std::span<const std::byte> file_key,
                       std::span<const AgeRecipient> recipients) {
  PGWEIR_CHECK(!recipients.empty());
  std::string header(kAgeIntroduction);
  for (const auto& recipient : recipients) {
    crypto::X25519 secret{};
    crypto::random_bytes(secret);
    const auto share = crypto::x25519_public(secret);
    auto shared = crypto::x25519_shared(secret, recipient.point);
    crypto::wipe(secret);
    if (!shared) throw Error(ErrorKind::usage, "invalid age recipient");
    auto key = wrapping_key(*shared, share, recipient.point);
    header += "-> " + std::string(kX25519) + " " + encoded(share) + "\n" +
              encoded(ChaCha20Poly1305(key).seal({}, file_key)) + "\n";
    crypto::wipe(*shared);
    crypto::wipe(key);
  }
  header += "---";
  return header + " " + encoded(header_mac(file_key, header)) + "\n";
}

AgeHeader open_age_header(std::string_view front, std::span<const AgeIdentity> identities,
                          const std::string& name) {
  const auto header = HeaderReader(front).read();
  if (!header) throw damaged_age_file("the file is not a complete age file", name);
  std::vector<std::byte> file_key;
  for (const auto& stanza : header->stanzas)
    for (const auto& identity : identities) {
      const auto unwrapped = file_key.empty() ? unwrap(stanza, identity, file_key) : Unwrapped::no;
      if (unwrapped == Unwrapped::malformed)
        throw damaged_age_file("the header of an encrypted file is damaged", name);
    }
  if (file_key.empty())
    throw Error(ErrorKind::refused, "the file is encrypted for other recipients")
        .with("file", name)
        .hint(identities.empty()
                  ? "Give the private key with --identity FILE or --identity-command; to prune, "
                    "specify the archive directory with -D instead."
                  : "None of the given identities can decrypt it. Give the private key of one of "
                    "its recipients.");
  if (!crypto::equal(header_mac(file_key, header->signed_part), header->mac))
    throw damaged_age_file("the header of an encrypted file was modified", name);
  return {std::move(file_key), header->size};
}

}  // namespace weir::store
