#include "wire/copy_messages.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "wire/bytes.h"

namespace weir::wire {

namespace {

constexpr std::size_t kKeepaliveSize = 1 + 8 + 8 + 1;
constexpr std::size_t kStandbyStatusSize = 1 + 8 + 8 + 8 + 8 + 1;
constexpr std::size_t kHotStandbyFeedbackSize = 1 + 8 + 4 + 4 + 4 + 4;

Error wrong(std::string_view what, std::size_t bytes) {
  return Error(ErrorKind::protocol, std::string(what)).with("bytes", bytes);
}

Error unknown_type(std::string_view what, unsigned type, std::size_t bytes) {
  return wrong(what, bytes).with("type", fmt::format("0x{:02x}", type));
}

}  // namespace

FromServer decode_from_server(std::span<const std::byte> message, StreamKind kind) {
  const auto head = message.first(std::min(message.size(), kXLogDataHead));
  return decode_from_server(head, message.subspan(head.size()), kind);
}

FromServer decode_from_server(std::span<const std::byte> head, std::span<const std::byte> rest,
                              StreamKind kind) {
  const auto bytes = head.size() + rest.size();
  if (head.empty()) return wrong("the server sent an empty message in the stream", bytes);
  const auto field = [&head](std::size_t offset) { return read_u64(head.subspan(offset)); };
  const auto type = std::to_integer<unsigned>(head[0]);
  switch (type) {
    case 'w': {
      if (head.size() < kXLogDataHead)
        return wrong("the server sent a WAL message too short", bytes);
      XLogData data;
      data.start = wal::Lsn(field(1));
      data.server_end = wal::Lsn(field(9));
      data.server_clock = static_cast<std::int64_t>(field(17));
      data.wal = rest;
      if (kind == StreamKind::logical) return data;  // `start` is not an address of these bytes
      if (data.wal.size() > kMaxXLogData)
        return wrong("the server sent a WAL message too large", bytes);
      if (data.start.byte() > std::numeric_limits<std::uint64_t>::max() - data.wal.size())
        return wrong("the server sent WAL beyond the end of all WAL", bytes)
            .with("position", data.start);
      return data;
    }
    case 'k': {
      if (head.size() < kKeepaliveSize)
        return wrong("the server sent a keepalive too short", bytes);
      Keepalive keepalive;
      keepalive.server_end = wal::Lsn(field(1));
      keepalive.server_clock = static_cast<std::int64_t>(field(9));
      keepalive.reply_requested = head[17] != std::byte{0};
      return keepalive;
    }
    default:
      return unknown_type("the server sent a message of unknown type in the stream", type, bytes);
  }
}

std::string encode_head(const XLogData& data) {
  std::string message;
  message.reserve(kXLogDataHead);
  message.push_back('w');
  append_u64(message, data.start.byte());
  append_u64(message, data.server_end.byte());
  append_u64(message, static_cast<std::uint64_t>(data.server_clock));
  return message;
}

std::string encode(const Keepalive& keepalive) {
  std::string message;
  message.reserve(kKeepaliveSize);
  message.push_back('k');
  append_u64(message, keepalive.server_end.byte());
  append_u64(message, static_cast<std::uint64_t>(keepalive.server_clock));
  message.push_back(keepalive.reply_requested ? '\1' : '\0');
  return message;
}

FromClient decode_from_client(std::span<const std::byte> message) {
  const auto bytes = message.size();
  if (message.empty()) return wrong("the client sent an empty message in the stream", bytes);
  const auto type = std::to_integer<unsigned>(message[0]);
  switch (type) {
    case 'r': {
      if (bytes < kStandbyStatusSize) return wrong("the client sent a status too short", bytes);
      const auto field = [&](std::size_t offset) {
        return wal::Lsn(read_u64(message.subspan(offset)));
      };
      return StandbyStatus{field(1), field(9), field(17), message[33] != std::byte{0}};
    }
    case 'h': {
      if (bytes < kHotStandbyFeedbackSize)
        return wrong("the client sent a hot standby feedback too short", bytes);
      const auto field = [&](std::size_t offset) { return read_u32(message.subspan(offset)); };
      return HotStandbyFeedback{field(9), field(13), field(17), field(21)};
    }
    default:
      return unknown_type("the client sent a message of unknown type in the stream", type, bytes);
  }
}

std::string encode(const StandbyStatus& status, std::int64_t clock) {
  std::string message;
  message.reserve(kStandbyStatusSize);
  message.push_back('r');
  append_u64(message, status.write.byte());
  append_u64(message, status.flush.byte());
  append_u64(message, status.apply.byte());
  append_u64(message, static_cast<std::uint64_t>(clock));
  message.push_back(status.reply_requested ? '\1' : '\0');
  return message;
}

std::string encode(const HotStandbyFeedback& feedback, std::int64_t clock) {
  std::string message;
  message.reserve(kHotStandbyFeedbackSize);
  message.push_back('h');
  append_u64(message, static_cast<std::uint64_t>(clock));
  append_u32(message, feedback.xmin);
  append_u32(message, feedback.xmin_epoch);
  append_u32(message, feedback.catalog_xmin);
  append_u32(message, feedback.catalog_xmin_epoch);
  return message;
}

}  // namespace weir::wire
