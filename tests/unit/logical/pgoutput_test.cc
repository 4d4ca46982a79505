#include "logical/pgoutput.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"

namespace weir::logical::pgoutput_test {
namespace {

using namespace std::string_literals;

std::string number(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::string value(const std::string& text, char form = 't') {
  return form + number(text.size(), 4) + text;
}

// A relation 16 of columns k (key) and v.
const std::string kRelation = "R"s + number(16, 4) + "public\0t\0d"s + number(2, 2) + "\1k\0"s +
                              number(23, 4) + number(~0u, 4) + "\0v\0"s + number(25, 4) +
                              number(~0u, 4);

std::string decode(Pgoutput& decoder, const std::string& message) {
  std::string out;
  decoder.decode(wal::Lsn(0x16), message, out);
  return out;
}

TEST(Pgoutput, TellsATransaction) {
  Pgoutput decoder;
  EXPECT_EQ(
      decode(decoder, "B" + number(0x1'00000002, 8) + number(1'500'000, 8) + number(7, 4)),
      R"({"lsn":"0/16","kind":"begin","commit_lsn":"1/2","time":"2000-01-01T00:00:01.500000Z","xid":7})");
  EXPECT_EQ(nlohmann::json::parse(decode(decoder, kRelation))["columns"][0],
            nlohmann::json::parse(R"({"name":"k","type_oid":23,"type_modifier":-1,"key":true})"));
  EXPECT_EQ(
      decode(decoder, "I" + number(16, 4) + "N" + number(2, 2) + value("1") + "n"),
      R"({"lsn":"0/16","kind":"insert","xid":7,"schema":"public","table":"t","new":{"k":"1","v":null}})");
  EXPECT_EQ(
      decode(decoder, "U" + number(16, 4) + "K" + number(2, 2) + value("1") + "nN" + number(2, 2) +
                          value("2") + "u"),
      R"({"lsn":"0/16","kind":"update","xid":7,"schema":"public","table":"t","key":{"k":"1"},"new":{"k":"2"},"new_unchanged":["v"]})");
  EXPECT_EQ(
      decode(decoder,
             "D" + number(16, 4) + "O" + number(2, 2) + value("\xff") + value("\1\2", 'b')),
      R"({"lsn":"0/16","kind":"delete","xid":7,"schema":"public","table":"t","old":{"k":{"base64":"/w=="},"v":{"binary":"AQI="}}})");
  EXPECT_EQ(
      decode(decoder, "T" + number(1, 4) + "\1"s + number(16, 4)),
      R"({"lsn":"0/16","kind":"truncate","xid":7,"cascade":true,"restart_identity":false,"tables":[{"schema":"public","table":"t"}]})");
  EXPECT_EQ(
      decode(decoder, "C\0"s + number(2, 8) + number(3, 8) + number(0, 8)),
      R"({"lsn":"0/16","kind":"commit","xid":7,"commit_lsn":"0/2","end_lsn":"0/3","time":"2000-01-01T00:00:00.000000Z"})");
}

TEST(Pgoutput, NamesTheSubtransactionInAStreamedBlock) {
  Pgoutput decoder;
  decode(decoder, "S" + number(7, 4) + "\1");
  auto relation = kRelation;
  decode(decoder, relation.insert(1, number(7, 4)));
  const auto insert = [&](std::uint32_t xid) {
    return decode(decoder, "I" + number(xid, 4) + number(16, 4) + "N" + number(2, 2) + "nn");
  };
  EXPECT_NE(insert(8).find(R"("xid":7,"subxid":8)"), std::string::npos);
  EXPECT_EQ(insert(7).find("subxid"), std::string::npos);
  EXPECT_EQ(decode(decoder, "E"), R"({"lsn":"0/16","kind":"stream_stop","xid":7})");
  EXPECT_EQ(decode(decoder, "A" + number(7, 4) + number(8, 4)),
            R"({"lsn":"0/16","kind":"stream_abort","xid":7,"subxid":8})");
}

TEST(Pgoutput, RefusesWhatIsNoMessage) {
  const struct {
    const char* name;
    std::string message;
  } cases[] = {
      {"nothing", ""},
      {"unknown type", "Z"},
      {"cut begin", "B" + number(1, 8)},
      {"begin that goes on", "B" + number(1, 8) + number(1, 8) + number(1, 4) + "x"},
      {"commit with flags", "C\1"s + number(2, 8) + number(3, 8) + number(0, 8)},
      {"unannounced relation", "I" + number(17, 4) + "N" + number(0, 2)},
      {"row of another width", "I" + number(16, 4) + "N" + number(1, 2) + "n"},
      {"value longer than the message",
       "I" + number(16, 4) + "N" + number(2, 2) + "t" + number(~0u, 4)},
      {"unknown form", "I" + number(16, 4) + "N" + number(2, 2) + "zz"},
      {"old row in an insert", "I" + number(16, 4) + "O" + number(2, 2) + "nn"},
      {"name without end", "R" + number(1, 4) + "public"},
      {"more tables than there are", "T" + number(~0u, 4) + "\0"s + number(16, 4)},
  };
  Pgoutput decoder;
  decode(decoder, kRelation);
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    std::string out = "kept";
    try {
      decoder.decode(wal::Lsn(1), each.message, out);
      ADD_FAILURE() << out;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::protocol);
    }
    EXPECT_EQ(out, "kept");
  }
}

TEST(Pgoutput, GivesJsonOrAnErrorForAnyBytes) {
  const char* given = std::getenv("PGWEIR_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  std::cout << "PGWEIR_SEED=" << seed << "\n";
  std::mt19937_64 random(seed);
  const std::string seeds[] = {
      kRelation,
      "I" + number(16, 4) + "N" + number(2, 2) + value("1") + value("text"),
      "U" + number(16, 4) + "O" + number(2, 2) + value("1") + "uN" + number(2, 2) + value("2") +
          "n",
      "B" + number(2, 8) + number(~0ull >> 1, 8) + number(7, 4),
      "M\1"s + number(2, 8) + "pre\0"s + number(3, 4) + "con",
      "K\0"s + number(2, 8) + number(3, 8) + number(0, 8) + number(7, 4) + "gid\0"s,
  };
  Pgoutput decoder;
  for (int i = 0; i < 20'000; ++i) {
    auto message = seeds[random() % std::size(seeds)];
    for (auto changes = random() % 4; changes > 0 && !message.empty(); --changes)
      message[random() % message.size()] = static_cast<char>(random());
    if (random() % 4 == 0) message.resize(random() % (message.size() + 1));
    std::string out;
    try {
      decoder.decode(wal::Lsn(random()), message, out);
    } catch (const Error&) {
      ASSERT_TRUE(out.empty());
      continue;
    }
    ASSERT_TRUE(nlohmann::json::accept(out)) << out;
  }
}

}  // namespace
}  // namespace weir::logical::pgoutput_test
