#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "relay/outgoing.h"
#include "support/bytes.h"
#include "wire/bytes.h"
#include "wire/client_messages.h"

namespace weir::relay {

// What a client says, and what it hears.

inline std::string say(char type, const std::string& body) {
  std::string bytes(1, type);
  wire::append_u32(bytes, static_cast<std::uint32_t>(body.size() + 4));
  return bytes + body;
}
inline std::string query(const std::string& text) { return say('Q', text + '\0'); }

inline std::string startup(const std::vector<std::pair<std::string, std::string>>& parameters,
                           std::uint32_t version = wire::kProtocolVersion) {
  std::string body;
  for (const auto& [name, value] : parameters) body += name + '\0' + value + '\0';
  body += '\0';
  std::string bytes;
  wire::append_u32(bytes, static_cast<std::uint32_t>(body.size() + 8));
  wire::append_u32(bytes, version);
  return bytes + body;
}
inline std::string request(std::uint32_t code) {
  std::string bytes;
  wire::append_u32(bytes, 8);
  wire::append_u32(bytes, code);
  return bytes;
}

struct Heard {
  char type;
  std::string body;
};
/// Takes all whole messages off; what is left is not one.
inline std::vector<Heard> hear(std::string& bytes) {
  std::vector<Heard> heard;
  for (;;) {
    const auto read = wire::read_client_message(test::as_bytes(bytes), std::size_t{1} << 30);
    const auto* message = std::get_if<wire::ClientMessage>(&read);
    if (message == nullptr) return heard;
    heard.push_back({message->type, std::string(message->text())});
    bytes.erase(0, message->size);
  }
}
inline std::vector<Heard> hear(Outgoing& outgoing) {
  auto bytes = outgoing.all();
  auto heard = hear(bytes);
  outgoing.drop(outgoing.size() - bytes.size());
  return heard;
}
inline void drop_all(Outgoing& outgoing) { outgoing.drop(outgoing.size()); }
/// A piece of WAL with these bytes.
inline WalPiece piece_of(test::Bytes bytes) {
  auto memory = std::make_shared<const test::Bytes>(std::move(bytes));
  return {*memory, memory};
}
inline std::string types(const std::vector<Heard>& heard) {
  std::string types;
  for (const auto& each : heard) types += each.type;
  return types;
}
/// A field of an ErrorResponse: 'C' is the SQLSTATE.
inline std::string field(const Heard& error, char which) {
  for (std::size_t at = 0; at < error.body.size() && error.body[at] != '\0';) {
    const auto end = error.body.find('\0', at);
    if (error.body[at] == which) return error.body.substr(at + 1, end - at - 1);
    at = end + 1;
  }
  return {};
}
/// The values of a DataRow, "NULL" for NULL.
inline std::vector<std::string> values(const Heard& row) {
  std::vector<std::string> values;
  const auto bytes = test::as_bytes(row.body);
  std::size_t at = 2;
  for (unsigned left = wire::read_u16(bytes); left > 0; --left) {
    const auto size = wire::read_u32(bytes.subspan(at));
    at += 4;
    if (size == 0xffffffff) {
      values.emplace_back("NULL");
      continue;
    }
    values.push_back(row.body.substr(at, size));
    at += size;
  }
  return values;
}

}  // namespace weir::relay
