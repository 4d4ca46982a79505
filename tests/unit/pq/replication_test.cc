#include "pq/replication.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

namespace weir::pq {
namespace {

using std::chrono::milliseconds;

std::string big_endian(std::uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift & 0xff);
  return bytes;
}

Decoded decode_text(const std::string& message) {
  return decode(std::as_bytes(std::span(message.data(), message.size())));
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
      {"status update", encode({}, 0), false},
      {"unknown type", "x" + big_endian(1), false},
      {"zero type", std::string(30, '\0'), false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const Decoded decoded = decode_text(each.message);
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
    const Decoded decoded = decode_text(message);
    if (const auto* data = std::get_if<XLogData>(&decoded)) {
      ASSERT_EQ(data->wal.size(), message.size() - 25);
      ASSERT_GE(data->start + data->wal.size(), data->start);
    }
    accepted += std::holds_alternative<Error>(decoded) ? 0 : 1;
  }
  EXPECT_GT(accepted, 0);
}

TEST(Encode, WritesAStatusUpdate) {
  const std::string message = encode({wal::Lsn(1), wal::Lsn(2), wal::Lsn(3), true}, -1);
  EXPECT_EQ(message, "r" + big_endian(1) + big_endian(2) + big_endian(3) +
                         big_endian(~std::uint64_t{0}) + '\1');
  EXPECT_EQ(encode({}, 0).size(), 34u);
  EXPECT_EQ(encode({}, 0).back(), '\0');
}

TEST(ParseGucTime, ReadsWhatShowPrints) {
  const struct {
    const char* text;
    const char* base_unit;
    std::optional<milliseconds> time;
  } cases[] = {
      {"0", "ms", milliseconds(0)},
      {"1min", "ms", milliseconds(60'000)},
      {"2min", "s", milliseconds(120'000)},
      {"500ms", "ms", milliseconds(500)},
      {"30s", "ms", milliseconds(30'000)},
      {"1h", "ms", milliseconds(3'600'000)},
      {"1d", "ms", milliseconds(86'400'000)},
      {"1500", "ms", milliseconds(1500)},
      {"15", "s", milliseconds(15'000)},
      {"15", "min", milliseconds(900'000)},
      {"1us", "ms", milliseconds(1)},
      {"2000us", "ms", milliseconds(2)},
      {"2001us", "ms", milliseconds(3)},
      {"2147483647", "ms", milliseconds(2147483647)},
      {"", "ms", std::nullopt},
      {"-1", "ms", std::nullopt},
      {"+1", "ms", std::nullopt},
      {"min", "ms", std::nullopt},
      {"1 min", "ms", std::nullopt},
      {"1.5h", "ms", std::nullopt},
      {"1MIN", "ms", std::nullopt},
      {"1week", "ms", std::nullopt},
      {"1", "", std::nullopt},
      {"18446744073709551615d", "ms", std::nullopt},
      {"18446744073709551616", "ms", std::nullopt},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    EXPECT_EQ(parse_guc_time(each.text, each.base_unit), each.time);
  }
}

TEST(ParseSegmentSize, ReadsWhatShowPrints) {
  const struct {
    const char* text;
    std::uint64_t bytes;  // 0: refused
  } cases[] = {
      {"16MB", 16 << 20},
      {"1MB", 1 << 20},
      {"1GB", 1 << 30},
      {"1024kB", 1 << 20},
      {"1048576", 1 << 20},
      {"1048576B", 1 << 20},
      {"2GB", 0},
      {"512kB", 0},
      {"3MB", 0},
      {"", 0},
      {"MB", 0},
      {"16 MB", 0},
      {"16mb", 0},
      {"-16MB", 0},
      {"17179869184GB", 0},
      {"18446744073709551616", 0},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const auto size = parse_segment_size(each.text);
    EXPECT_EQ(size ? size->bytes() : 0, each.bytes);
  }
}

}  // namespace
}  // namespace weir::pq
