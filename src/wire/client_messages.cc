#include "wire/client_messages.h"

#include <fmt/format.h>

#include <optional>

#include "wire/bytes.h"

namespace weir::wire {

namespace {

constexpr std::uint32_t kCancelRequest = 80877102;
constexpr std::uint32_t kSslRequest = 80877103;
constexpr std::uint32_t kGssRequest = 80877104;
constexpr std::size_t kCancelRequestSize = 12;
constexpr std::string_view kProtocolOption = "_pq_.";

ErrorReport wrong_length() { return {"", "invalid length of startup packet"}; }

/// After the version: names and values, each terminated by a zero byte, and one more at the end.
StartupPacket read_parameters(std::uint32_t version, std::string_view body) {
  Startup startup{version, {}};
  std::size_t at = 0;
  const auto next = [&]() -> std::optional<std::string_view> {
    const auto end = body.find('\0', at);
    if (end == std::string_view::npos) return std::nullopt;
    const auto text = body.substr(at, end - at);
    at = end + 1;
    return text;
  };
  for (;;) {
    const auto name = next();
    if (name && name->empty() && at == body.size()) return startup;
    const auto value = name && !name->empty() ? next() : std::nullopt;
    if (!value)
      return ErrorReport{"08P01",
                         "invalid startup packet layout: expected terminator as last byte"};
    startup.parameters.emplace_back(*name, *value);
  }
}

}  // namespace

std::string_view Startup::parameter(std::string_view name) const {
  std::string_view value;
  for (const auto& [each, text] : parameters)
    if (each == name) value = text;
  return value;
}

std::vector<std::string> Startup::protocol_options() const {
  std::vector<std::string> options;
  for (const auto& [name, value] : parameters)
    if (name.starts_with(kProtocolOption)) options.push_back(name);
  return options;
}

StartupRead read_startup(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return {Incomplete{}};
  const std::size_t length = read_u32(bytes);
  if (length < 8 || length > kMaxStartupPacket + 4) return {wrong_length(), bytes.size()};
  if (bytes.size() < 8) return {Incomplete{}};
  const auto code = read_u32(bytes.subspan(4));
  // These have exactly this size; a packet of another length is not waited for.
  if (code == kCancelRequest && length - 4 != kCancelRequestSize)
    return {wrong_length(), bytes.size()};
  if (bytes.size() < length) return {Incomplete{}};
  switch (code) {
    case kCancelRequest:
      return {CancelRequest{read_u32(bytes.subspan(8)), read_u32(bytes.subspan(12))}, length};
    case kSslRequest:
      return {SslRequest{}, length};
    case kGssRequest:
      return {GssRequest{}, length};
    default:
      break;
  }
  const auto major = code >> 16;
  if (major != kProtocolVersion >> 16)
    return {ErrorReport{"0A000",
                        fmt::format("unsupported frontend protocol {}.{}: server supports 3.0 to "
                                    "3.0",
                                    major, code & 0xffff)},
            length};
  const auto body = bytes.subspan(8, length - 8);
  return {read_parameters(code, {reinterpret_cast<const char*>(body.data()), body.size()}), length};
}

ClientMessageRead read_client_message(std::span<const std::byte> bytes, std::size_t most) {
  if (bytes.size() < 5) return Incomplete{};
  const std::size_t length = read_u32(bytes.subspan(1));
  if (length < 4 || length - 4 > most) return ErrorReport{"08P01", "invalid message length"};
  if (bytes.size() < length + 1) return Incomplete{};
  return ClientMessage{static_cast<char>(bytes[0]), bytes.subspan(5, length - 4), length + 1};
}

}  // namespace weir::wire
