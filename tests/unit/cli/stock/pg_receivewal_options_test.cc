#include "cli/stock/pg_receivewal_options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "pq/conninfo.h"

namespace weir::cli::pg_receivewal_options_test {
namespace {

PgReceivewalRequest parse(std::vector<std::string> words) {
  words.insert(words.begin(), "pg_receivewal");
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return parse_pg_receivewal(static_cast<int>(words.size()), pointers.data());
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const StockRefusal& refused) {
    return refused.message;
  }
  ADD_FAILURE() << "taken";
  return {};
}

using Action = PgReceivewalRequest::Action;

TEST(PgReceivewalOptions, ReadsThemInAnyFormAndOrder) {
  const auto request = parse({"-nvS", "weir", "--dir=/srv/wal", "-E1/2A", "-s", "0", "-Z", "lz4",
                              "--synchronous", "-w", "-v"});
  EXPECT_EQ(request.action, Action::receive);
  EXPECT_FALSE(request.loop);
  EXPECT_EQ(request.verbose, 2);
  EXPECT_EQ(request.slot, "weir");
  EXPECT_EQ(request.directory, "/srv/wal");
  EXPECT_EQ(request.endpos, wal::Lsn((1ULL << 32) | 0x2A));
  EXPECT_EQ(request.status_interval, 0);
  EXPECT_EQ(request.compression.method, codec::Method::lz4);
  EXPECT_TRUE(request.synchronous);
  EXPECT_EQ(request.password, StockPassword::never);
}

TEST(PgReceivewalOptions, AnEmptySlotIsNotNone) {
  EXPECT_EQ(parse({"-D", "d", "-S", ""}).slot, "");  // rejected by the server
  EXPECT_EQ(parse({"-D", "d"}).slot, std::nullopt);
}

TEST(PgReceivewalOptions, HelpAndVersionCountInFrontOnly) {
  EXPECT_EQ(parse({"--help", "whatever"}).action, Action::help);
  EXPECT_EQ(parse({"-?"}).action, Action::help);
  EXPECT_EQ(parse({"-V"}).action, Action::version);
  EXPECT_EQ(refusal({"-n", "--version"}), "");
}

TEST(PgReceivewalOptions, TheOtherConnectionOptionsWinOverTheConnectionString) {
  const auto request = parse(
      {"-D", "d", "-d", "host=a port=1 user=u application_name='a b'", "-h", "/run/pg", "-p", "2"});
  const auto values = pq::parse_conninfo(request.conninfo);
  EXPECT_EQ(values.at("host"), "/run/pg");
  EXPECT_EQ(values.at("port"), "2");
  EXPECT_EQ(values.at("user"), "u");
  EXPECT_EQ(values.at("application_name"), "a b");
}

TEST(PgReceivewalOptions, AnEndPositionOfZeroIsNone) {
  EXPECT_FALSE(parse({"-D", "d", "-E", "0/0"}).endpos);
}

TEST(PgReceivewalOptions, ReadsNumbersAsTheOriginal) {
  for (const char* none : {"0", "", " ", "-0"})
    EXPECT_EQ(parse({"-D", "d", "-s", none}).status_interval, 0) << none;
  EXPECT_EQ(parse({"-D", "d", "-s", " 5 "}).status_interval, 5);
  for (const char* wrong : {"x", " x", "5x", "0x5", "-"})
    EXPECT_EQ(refusal({"-D", "d", "-s", wrong}),
              fmt::format("invalid value \"{}\" for option -s/--status-interval", wrong));
}

TEST(PgReceivewalOptions, RefusesWhatDoesNotGoTogether) {
  EXPECT_EQ(refusal({}), "no target directory specified");
  EXPECT_EQ(refusal({"--create-slot"}), "--create-slot needs a slot to be specified using --slot");
  EXPECT_EQ(refusal({"-S", "s", "--create-slot", "--drop-slot"}),
            "cannot use --create-slot together with --drop-slot");
  EXPECT_EQ(refusal({"-D", "d", "--synchronous", "--no-sync"}),
            "cannot use --synchronous together with --no-sync");
  EXPECT_EQ(refusal({"-D", "d", "e"}), "too many command-line arguments (first is \"e\")");
  EXPECT_EQ(refusal({"-D", "d", "-s", "2147484"}),
            "-s/--status-interval must be in range 0..2147483");
}

TEST(PgReceivewalOptions, ReadsCompressionAsTheOriginal) {
  const struct {
    const char* text;
    codec::Method method;
    int level;
  } cases[] = {
      {"none", codec::Method::none, 0},
      {"0", codec::Method::none, 0},
      {"", codec::Method::none, 0},
      {"none:0", codec::Method::none, 0},
      {"gzip", codec::Method::gzip, 6},
      {"gzip:1", codec::Method::gzip, 1},
      {"9", codec::Method::gzip, 9},
      {"-1", codec::Method::gzip, 6},
      {"gzip:level=5", codec::Method::gzip, 5},
      {"gzip:level=5,level=7", codec::Method::gzip, 7},
      {"lz4", codec::Method::lz4, 0},
      {"lz4:12", codec::Method::lz4, 12},
      {"zstd", codec::Method::zstd, 3},
      {"zstd:19", codec::Method::zstd, 19},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const auto compression = parse_stock_compression(each.text);
    EXPECT_EQ(compression.method, each.method);
    EXPECT_EQ(compression.level, each.level);
  }
}

}  // namespace
}  // namespace weir::cli::pg_receivewal_options_test
