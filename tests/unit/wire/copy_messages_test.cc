#include "wire/copy_messages.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

namespace weir::wire::copy_messages_test {
namespace {

std::string big_endian(std::uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 0xff);
  return bytes;
}

FromServer decode_text(const std::string& message) {
  return decode_from_server(std::as_bytes(std::span(message.data(), message.size())));
}

TEST(Decode, ReadsWal) {
  const std::string message = "w" + big_endian(0x1'02000000) + big_endian(0x1'03000000) +
                              big_endian(static_cast<std::uint64_t>(-5)) + "bytes";
  const auto data = std::get<XLogData>(decode_text(message));
  EXPECT_EQ(data.start.to_string(), "1/2000000");
  EXPECT_EQ(data.server_end.to_string(), "1/3000000");
  EXPECT_EQ(data.server_clock, -5);
  ASSERT_EQ(data.wal.size(), 5u);
  EXPECT_EQ(reinterpret_cast<const char*>(data.wal.data()), message.data() + 25);
}

TEST(Decode, ReadsKeepalives) {
  const std::string message = "k" + big_endian(7) + big_endian(8);
  EXPECT_FALSE(std::get<Keepalive>(decode_text(message + '\0')).reply_requested);
  const auto keepalive = std::get<Keepalive>(decode_text(message + '\1'));
  EXPECT_TRUE(keepalive.reply_requested);
  EXPECT_EQ(keepalive.server_end, wal::Lsn(7));
  EXPECT_EQ(keepalive.server_clock, 8);
}

TEST(Decode, RefusesWhatCannotBe) {
  const std::string header = "w" + big_endian(1) + big_endian(2) + big_endian(3);
  const struct {
    const char* name;
    std::string message;
    bool accepted;
  } cases[] = {
      {"empty", "", false},
      {"only a type", "w", false},
      {"WAL header cut", header.substr(0, 24), false},
      {"WAL without WAL", header, true},
      {"the largest WAL", header + std::string(kMaxXLogData, 'x'), true},
      {"larger", header + std::string(kMaxXLogData + 1, 'x'), false},
      {"up to the last position",
       "w" + big_endian(~std::uint64_t{4}) + big_endian(2) + big_endian(3) + "1234", true},
      {"past the last position",
       "w" + big_endian(~std::uint64_t{4}) + big_endian(2) + big_endian(3) + "12345", false},
      {"keepalive cut", "k" + big_endian(1) + big_endian(2), false},
      {"status update", encode(StandbyStatus{}, 0), false},
      {"unknown type", "x" + big_endian(1), false},
      {"zero type", std::string(30, '\0'), false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const FromServer decoded = decode_text(each.message);
    const Error* error = std::get_if<Error>(&decoded);
    EXPECT_EQ(error == nullptr, each.accepted);
    if (error != nullptr) {
      EXPECT_EQ(error->kind(), ErrorKind::protocol);
    }
  }
}

TEST(Decode, TakesAnyBytes) {
  const char* given = std::getenv("PGWEIR_SEED");
  const unsigned long seed = given != nullptr ? std::strtoul(given, nullptr, 10) : 1;
  std::cout << "PGWEIR_SEED=" << seed << "\n";
  std::mt19937_64 random(seed);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string message(random() % 64, '\0');
    for (char& c : message) c = static_cast<char>(random());
    if (!message.empty() && round % 2 == 0) message[0] = round % 4 == 0 ? 'w' : 'k';
    const FromServer decoded = decode_text(message);
    if (const auto* data = std::get_if<XLogData>(&decoded)) {
      ASSERT_EQ(data->wal.size(), message.size() - 25);
      ASSERT_GE(data->start + data->wal.size(), data->start);
    }
    accepted += std::holds_alternative<Error>(decoded) ? 0 : 1;
  }
  EXPECT_GT(accepted, 0);
}

TEST(Encode, WritesAStatusUpdate) {
  const std::string message =
      encode(StandbyStatus{wal::Lsn(1), wal::Lsn(2), wal::Lsn(3), true}, -1);
  EXPECT_EQ(message, "r" + big_endian(1) + big_endian(2) + big_endian(3) +
                         big_endian(~std::uint64_t{0}) + '\1');
  EXPECT_EQ(encode(StandbyStatus{}, 0).size(), 34u);
  EXPECT_EQ(encode(StandbyStatus{}, 0).back(), '\0');
}

TEST(CopyMessages, OfTheServerAreReadAsTheyWereWritten) {
  const std::string wal = "bytes of WAL";
  XLogData data{wal::Lsn(0x1'02000000), wal::Lsn(0x1'03000000), -5, {}};
  const auto message = encode_head(data) + wal;
  const auto read = std::get<XLogData>(decode_text(message));
  EXPECT_EQ(read.start, data.start);
  EXPECT_EQ(read.server_end, data.server_end);
  EXPECT_EQ(read.server_clock, data.server_clock);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(read.wal.data()), read.wal.size()), wal);
  EXPECT_EQ(encode_head(data).size(), kXLogDataHead);
  for (const bool asked : {false, true}) {
    const Keepalive keepalive{wal::Lsn(7), 8, asked};
    EXPECT_EQ(std::get<Keepalive>(decode_text(encode(keepalive))), keepalive);
  }
}

FromClient decode_client_text(const std::string& message) {
  return decode_from_client(std::as_bytes(std::span(message.data(), message.size())));
}

TEST(CopyMessages, OfTheClientAreReadAsTheyWereWritten) {
  for (const bool asked : {false, true}) {
    const StandbyStatus status{wal::Lsn(0x1'00000001), wal::Lsn(2), wal::Lsn(3), asked};
    EXPECT_EQ(std::get<StandbyStatus>(decode_client_text(encode(status, 4))), status);
  }
  const HotStandbyFeedback feedback{0x80000001u, 2, 3, 4};
  EXPECT_EQ(std::get<HotStandbyFeedback>(decode_client_text(encode(feedback, 5))), feedback);
  // xmin, its epoch, catalog_xmin, its epoch (XLogWalRcvSendHSFeedback in walreceiver.c).
  EXPECT_EQ(encode(feedback, 5), "h" + big_endian(5) +
                                     std::string("\x80\0\0\1\0\0\0\2"
                                                 "\0\0\0\3\0\0\0\4",
                                                 16));
}

TEST(CopyMessages, OfTheClientThatAreCutOrUnknownAreRefused) {
  for (const auto& whole : {encode(StandbyStatus{}, 1), encode(HotStandbyFeedback{}, 1)}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      SCOPED_TRACE(size);
      EXPECT_TRUE(std::holds_alternative<Error>(decode_client_text(whole.substr(0, size))));
    }
  }
  for (const char* type : {"w", "k", "x", "d"})
    EXPECT_TRUE(std::holds_alternative<Error>(decode_client_text(type + std::string(64, '\0'))));
}

}  // namespace
}  // namespace weir::wire::copy_messages_test
