#include "store/sealed/age_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/text.h"

namespace weir::store {

namespace {

constexpr std::string_view kRecipient = "age";
constexpr std::string_view kIdentity = "age-secret-key-";

/// BIP 173's checksum, over values of five bits.
std::uint32_t add_to_checksum(std::uint32_t sum, std::uint32_t value) {
  constexpr std::array<std::uint32_t, 5> kGenerators = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa,
                                                        0x3d4233dd, 0x2a1462b3};
  const auto top = sum >> 25;
  sum = (sum & 0x1ffffff) << 5 ^ value;
  for (std::size_t i = 0; i < kGenerators.size(); ++i)
    if ((top >> i & 1) != 0) sum ^= kGenerators[i];
  return sum;
}

/// Decodes a Bech32 key of this kind, in one case. Returns nullopt for anything else.
std::optional<crypto::X25519> decode(std::string_view text, std::string_view kind) {
  constexpr std::string_view kDigits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
  constexpr std::size_t kChecksum = 6;
  const bool upper =
      std::any_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  const bool lower =
      std::any_of(text.begin(), text.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  if (upper && lower) return std::nullopt;
  std::string small(text);
  for (auto& c : small)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (!small.starts_with(kind) || small.size() <= kind.size() || small[kind.size()] != '1')
    return std::nullopt;
  const std::string_view data = std::string_view(small).substr(kind.size() + 1);
  if (data.size() < kChecksum) return std::nullopt;

  std::uint32_t sum = 1;
  for (const char c : kind) sum = add_to_checksum(sum, static_cast<unsigned char>(c) >> 5);
  sum = add_to_checksum(sum, 0);
  for (const char c : kind) sum = add_to_checksum(sum, static_cast<unsigned char>(c) & 31);
  crypto::X25519 key{};
  std::size_t filled = 0;
  std::uint32_t bits = 0;
  int count = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto value = kDigits.find(data[i]);
    if (value == std::string_view::npos) return std::nullopt;
    sum = add_to_checksum(sum, static_cast<std::uint32_t>(value));
    if (i + kChecksum >= data.size()) continue;
    bits = bits << 5 | static_cast<std::uint32_t>(value);
    count += 5;
    if (count < 8) continue;
    count -= 8;
    if (filled == key.size()) return std::nullopt;
    key[filled++] = static_cast<std::byte>(bits >> count & 0xff);
  }
  const bool rest = count >= 5 || (bits & ((1u << count) - 1)) != 0;
  if (sum != 1 || filled != key.size() || rest) return std::nullopt;
  crypto::wipe(std::as_writable_bytes(std::span(small)));
  return key;
}

template <typename Key>
std::vector<Key> parse_lines(std::string_view text, const std::string& source,
                             std::string_view what) {
  std::vector<Key> keys;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    auto key = Key::parse(line);
    if (!key)
      throw Error(ErrorKind::usage, fmt::format("line {} is not an age {}", number, what))
          .with("file", source)
          .hint(
              "Create keys with age-keygen: recipients start with age1, identities with "
              "AGE-SECRET-KEY-1. Plugins, SSH keys and passphrases are not supported.");
    keys.push_back(std::move(*key));
  }
  if (keys.empty())
    throw Error(ErrorKind::usage, fmt::format("no age {} found", what)).with("file", source);
  return keys;
}

}  // namespace

std::optional<AgeRecipient> AgeRecipient::parse(std::string_view text) {
  const auto point = decode(text, kRecipient);
  return point ? std::optional(AgeRecipient{*point}) : std::nullopt;
}

std::optional<AgeIdentity> AgeIdentity::parse(std::string_view text) {
  const auto key = decode(text, kIdentity);
  return key ? std::optional(AgeIdentity(*key)) : std::nullopt;
}

std::vector<AgeRecipient> parse_recipients(std::string_view text, const std::string& source) {
  return parse_lines<AgeRecipient>(text, source, "recipient");
}

std::vector<AgeIdentity> parse_identities(std::string_view text, const std::string& source) {
  return parse_lines<AgeIdentity>(text, source, "identity");
}

}  // namespace weir::store
