#include "relay/scram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/base64.h"
#include "base/text.h"

namespace weir::relay {

namespace {

constexpr std::size_t kSaltSize = 16;  // SCRAM_DEFAULT_SALT_LEN
/// The one kind of binding there is (RFC 5929).
constexpr std::string_view kEndPoint = "tls-server-end-point";

/// Thrown and caught in this file only: an invalid message.
struct Malformed {
  wire::ErrorReport report;
};

[[noreturn]] void malformed(std::string detail) {
  throw Malformed{{"08P01", "malformed SCRAM message", std::move(detail)}};
}

std::string printable(std::string_view text) {
  if (text.empty()) return "0x00";
  const char c = text.front();
  return c >= 0x21 && c <= 0x7e ? fmt::format("'{}'", c)
                                : fmt::format("0x{:02x}", static_cast<unsigned char>(c));
}

/// sanitize_str() of auth-scram.c: what a stranger sent, for a message.
std::string printable_name(std::string_view text) {
  std::string result(text.substr(0, 30));
  for (char& c : result)
    if (c < 0x21 || c > 0x7e) c = '?';
  return result;
}

/// Takes the text up to the next comma, which is removed, too.
std::string_view take_value(std::string_view& rest) {
  const auto comma = rest.find(',');
  const auto value = rest.substr(0, comma);
  rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  return value;
}

/// "r=value"
std::string_view take(std::string_view& rest, char attribute) {
  if (!rest.starts_with(attribute))
    malformed(
        fmt::format("Expected attribute \"{}\" but found \"{}\".", attribute, printable(rest)));
  rest.remove_prefix(1);
  if (!rest.starts_with('='))
    malformed(fmt::format("Expected character \"=\" for attribute \"{}\".", attribute));
  rest.remove_prefix(1);
  return take_value(rest);
}

/// An attribute of any name, which it returns first.
std::pair<char, std::string_view> take_any(std::string_view& rest) {
  if (rest.empty()) malformed("Attribute expected, but found end of string.");
  const char name = rest.front();
  if (!((name >= 'a' && name <= 'z') || (name >= 'A' && name <= 'Z')))
    malformed(
        fmt::format("Attribute expected, but found invalid character \"{}\".", printable(rest)));
  return {name, take(rest, name)};
}

void take_comma(std::string_view& rest) {
  if (!rest.starts_with(','))
    malformed(fmt::format("Comma expected, but found character \"{}\".", printable(rest)));
  rest.remove_prefix(1);
}

std::optional<crypto::Sha256> key_of(std::string_view base64) {
  const auto bytes = from_base64(base64);
  if (!bytes || bytes->size() != crypto::kSha256Size) return std::nullopt;
  crypto::Sha256 key{};
  std::memcpy(key.data(), bytes->data(), key.size());
  return key;
}

}  // namespace

std::optional<ScramSecret> ScramSecret::parse(std::string_view text) {
  const auto part = [&](char end) -> std::optional<std::string_view> {
    const auto at = text.find(end);
    if (at == std::string_view::npos) return std::nullopt;
    const auto value = text.substr(0, at);
    text.remove_prefix(at + 1);
    return value;
  };
  const auto scheme = part('$');
  const auto iterations = part(':');
  const auto salt = part('$');
  const auto stored = part(':');
  if (!scheme || !iterations || !salt || !stored || *scheme != kScramMechanism) return std::nullopt;
  const auto count = parse_number<unsigned>(*iterations);
  const auto salt_bytes = from_base64(*salt);
  const auto stored_key = key_of(*stored);
  const auto server_key = key_of(text);
  if (!count || *count == 0 || !salt_bytes || salt_bytes->empty() || !stored_key || !server_key)
    return std::nullopt;
  return ScramSecret{*count, std::string(*salt), *stored_key, *server_key};
}

ScramExchange::Answer ScramExchange::on_message(std::string_view message) {
  try {
    if (message.empty()) malformed("The message is empty.");
    if (message.find('\0') != std::string_view::npos)
      malformed("Message length does not match input length.");
    switch (state_) {
      case State::begun:
        return first(message);
      case State::challenged:
        state_ = State::over;
        return last(message);
      case State::over:
        break;
    }
    malformed("The exchange is over.");
  } catch (const Malformed& error) {
    state_ = State::over;
    return error.report;
  }
}

ScramExchange::Answer ScramExchange::first(std::string_view message) {
  auto rest = message;
  binding_flag_ = rest.front();
  switch (binding_flag_) {
    case 'n':
    case 'y':  // it could bind to a channel, and thinks that we cannot
      if (bound_)
        malformed(
            "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include "
            "channel binding data.");
      // A man in the middle has removed our offer.
      if (binding_flag_ == 'y' && can_bind())
        throw Malformed{{"28000", "SCRAM channel binding negotiation error",
                         "The client supports SCRAM channel binding but thinks the server does "
                         "not.  However, this server does support channel binding."}};
      rest.remove_prefix(1);
      take_comma(rest);
      break;
    case 'p': {
      if (!bound_)
        malformed(
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message "
            "includes channel binding data.");
      if (const auto type = take(rest, 'p'); type != kEndPoint)
        throw Malformed{{"08P01", fmt::format("unsupported SCRAM channel-binding type \"{}\"",
                                              printable_name(type))}};
      break;
    }
    default:
      malformed(fmt::format("Unexpected channel-binding flag \"{}\".", printable(rest)));
  }
  if (rest.starts_with('a'))
    throw Malformed{{"0A000", "client uses authorization identity, but it is not supported"}};
  if (!rest.starts_with(','))
    malformed(fmt::format("Unexpected attribute \"{}\" in client-first-message.", printable(rest)));
  rest.remove_prefix(1);
  client_first_bare_ = rest;
  if (rest.starts_with('m'))
    throw Malformed{{"0A000", "client requires an unsupported SCRAM extension"}};
  static_cast<void>(take(rest, 'n'));  // the name of the startup packet counts
  const auto nonce = take(rest, 'r');
  if (!std::all_of(nonce.begin(), nonce.end(), [](char c) { return c >= 0x21 && c <= 0x7e; }))
    throw Malformed{{"08P01", "non-printable characters in SCRAM nonce"}};
  while (!rest.empty()) static_cast<void>(take_any(rest));

  nonce_ = std::string(nonce) + server_nonce_;
  server_first_ = fmt::format("r={},s={},i={}", nonce_, secret_.salt, secret_.iterations);
  state_ = State::challenged;
  return Challenge{server_first_};
}

ScramExchange::Answer ScramExchange::last(std::string_view message) {
  auto rest = message;
  check_binding(take(rest, 'c'));
  const auto nonce = take(rest, 'r');
  std::size_t proof_at = 0;
  std::pair<char, std::string_view> attribute;
  do {
    proof_at = message.size() - rest.size();
    attribute = take_any(rest);
  } while (attribute.first != 'p');
  if (!key_of(attribute.second)) malformed("Malformed proof in client-final-message.");
  if (!rest.empty()) malformed("Garbage found at the end of client-final-message.");
  if (nonce != nonce_)
    throw Malformed{{"08P01", "invalid SCRAM response", "Nonce does not match."}};

  const auto without_proof = message.substr(0, proof_at - 1);
  const auto auth_message =
      fmt::format("{},{},{}", client_first_bare_, server_first_, without_proof);
  // In this order, so that both take the same time.
  if (!proves(auth_message, attribute.second) || doomed_) return Refused{};
  return Proved{"v=" + to_base64(crypto::hmac_sha256(secret_.server_key, auth_message))};
}

/// In base64, as at the start: "n,," or "y,,"; or the channel binding data.
void ScramExchange::check_binding(std::string_view data) const {
  if (bound_) {
    const auto expected = fmt::format("p={},,{}", kEndPoint, *end_point_);
    if (data != to_base64(std::as_bytes(std::span(expected))))
      throw Malformed{{"28000", "SCRAM channel binding check failed"}};
  } else if (data != (binding_flag_ == 'n' ? "biws" : "eSws")) {
    throw Malformed{
        {"08P01", "unexpected SCRAM channel-binding attribute in client-final-message"}};
  }
}

/// ClientKey is the proof without the signature; its hash is stored.
bool ScramExchange::proves(std::string_view auth_message, std::string_view proof) const {
  auto client_key = *key_of(proof);
  const auto signature = crypto::hmac_sha256(secret_.stored_key, auth_message);
  for (std::size_t i = 0; i < client_key.size(); ++i) client_key[i] ^= signature[i];
  return crypto::equal(crypto::sha256(client_key), secret_.stored_key);
}

ScramSecret made_up_secret(std::string_view user, const crypto::Sha256& key, unsigned iterations) {
  const auto salt = crypto::hmac_sha256(key, user);
  return {iterations, to_base64(std::span(salt).first(kSaltSize)), {}, {}};
}

}  // namespace weir::relay
