#include "logical/borders.h"

#include <gtest/gtest.h>

namespace weir::logical::borders_test {
namespace {

using namespace std::string_literals;

struct Case {
  const char* name;
  const char* plugin;
  pq::PluginOptions options;
  std::string message;
  std::optional<std::uint64_t> border;
};

constexpr wal::Lsn kAt(100);

TEST(Borders, AreBehindTheMessagesThatEndATransaction) {
  const Case cases[] = {
      {"commit", "test_decoding", {}, "COMMIT 735", 100},
      {"commit without xid", "test_decoding", {}, "COMMIT", 100},
      {"begin", "test_decoding", {}, "BEGIN 735", {}},
      {"a value like a commit",
       "test_decoding",
       {},
       "table public.t: INSERT: a[text]:'\nCOMMIT 7'",
       {}},
      {"a message like a commit",
       "test_decoding",
       {},
       "message: transactional: 1 prefix: COMMIT, sz: 1 content:C",
       {}},
      {"prepare", "test_decoding", {}, "PREPARE TRANSACTION 'g', txid 735", 100},
      {"commit prepared", "test_decoding", {}, "COMMIT PREPARED 'g', txid 735", 100},
      {"rollback prepared", "test_decoding", {}, "ROLLBACK PREPARED 'g', txid 735", 100},
      {"row of wal2json 2",
       "wal2json",
       {{"format-version", "2"}},
       R"({"action":"I","v":"{\"action\":\"C\"}"})",
       {}},
      {"commit of wal2json 2", "wal2json", {{"format-version", "2"}}, R"({"action":"C"})", 100},
      {"commit with more", "wal2json", {{"format-version", "2"}}, R"({"action":"C","xid":7})", 100},
      {"document without position", "wal2json", {}, R"({"change":[]})", {}},
      {"document with position",
       "wal2json",
       {{"include-lsn", "1"}},
       R"({"nextlsn":"0/C8","change":[]})",
       200},
      {"a value like a position",
       "wal2json",
       {},
       R"({"change":[{"v":"\"nextlsn\":\"0/C8\"","nextlsn":"0/C8"}]})",
       {}},
      {"pieces",
       "wal2json",
       {{"include-lsn", "1"}, {"write-in-chunks", "1"}},
       R"({"nextlsn":"0/C8","change":[]})",
       {}},
      {"commit of pgoutput", "pgoutput", {}, "C\0rest"s, 100},
      {"insert of pgoutput", "pgoutput", {}, "ICCCC", {}},
      {"nothing", "pgoutput", {}, "", {}},
      {"unknown plugin", "decoderbufs", {}, "COMMIT 735", {}},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    Borders borders(each.plugin, each.options);
    const auto border = borders.after_message(kAt, each.message);
    EXPECT_EQ(border.has_value(), each.border.has_value());
    if (border && each.border) {
      EXPECT_EQ(border->byte(), *each.border);
    }
  }
}

TEST(Borders, AreWhereAKeepaliveComesThatAsksForNothing) {
  Borders borders("whatever", {});
  EXPECT_EQ(borders.at_keepalive({wal::Lsn(7), 0, false}), wal::Lsn(7));
  // Such a one comes in the middle of a large transaction, too.
  EXPECT_EQ(borders.at_keepalive({wal::Lsn(7), 0, true}), std::nullopt);
  EXPECT_EQ(borders.at_keepalive({wal::Lsn(0), 0, false}), std::nullopt);
}

TEST(Borders, AreNotWhileAStreamedTransactionIsOpen) {
  Borders text("test_decoding", {{"stream-changes", "1"}});
  EXPECT_FALSE(text.after_message(kAt, "opening a streamed block for transaction TXN 7"));
  EXPECT_FALSE(text.after_message(kAt, "closing a streamed block for transaction TXN 7"));
  EXPECT_FALSE(text.after_message(kAt, "COMMIT 6"));
  EXPECT_FALSE(text.at_keepalive({wal::Lsn(7), 0, false}));
  EXPECT_FALSE(text.after_message(kAt, "aborting streamed (sub)transaction TXN 8"));  // a part of 7
  EXPECT_TRUE(text.after_message(kAt, "committing streamed transaction TXN 7"));
  EXPECT_TRUE(text.after_message(kAt, "COMMIT 9"));

  Borders binary("pgoutput", {});
  const auto start = [](char xid) { return "S\0\0\0"s + xid + '\1'; };
  EXPECT_FALSE(binary.after_message(kAt, start(7)));
  EXPECT_FALSE(binary.after_message(kAt, start(8)));
  EXPECT_FALSE(binary.after_message(kAt, "A\0\0\0\7\0\0\0\x9"s));  // of a subtransaction
  EXPECT_FALSE(binary.after_message(kAt, "A\0\0\0\7\0\0\0\7"s));
  EXPECT_FALSE(binary.after_message(kAt, "C"));
  EXPECT_TRUE(binary.after_message(kAt, "c\0\0\0\x8"s));
  EXPECT_FALSE(binary.after_message(kAt, start(7)));
  EXPECT_TRUE(binary.after_message(kAt, "p\0"s + std::string(24, 'x') + "\0\0\0\7"s));
  EXPECT_FALSE(binary.after_message(kAt, start(7)));
  binary.reset();
  EXPECT_TRUE(binary.after_message(kAt, "C"));
}

TEST(Borders, AreBackWhenAPreparedTransactionEndsThatWasStreamedAgain) {
  Borders text("test_decoding", {{"stream-changes", "1"}});
  for (const auto* const end :
       {"preparing streamed transaction TXN 'a', txid 7", "COMMIT PREPARED 'a, txid 8', txid 7",
        "ROLLBACK PREPARED 'a', txid 7 (at 2026-11-21 00:53:04.3+00)"}) {
    EXPECT_FALSE(text.after_message(kAt, "opening a streamed block for transaction TXN 7"));
    EXPECT_FALSE(text.after_message(kAt, "COMMIT PREPARED 'a', txid 70"));
    EXPECT_TRUE(text.after_message(kAt, end)) << end;
  }

  Borders binary("pgoutput", {});
  const std::string commit = "K\0"s + std::string(24, 'x');
  const std::string rollback = "r\0"s + std::string(32, 'x');
  for (const auto& end : {commit, rollback}) {
    EXPECT_FALSE(binary.after_message(kAt, "S\0\0\0\7\1"s));
    EXPECT_FALSE(binary.after_message(kAt, end + "\0\0\0\x8g\0"s));
    EXPECT_TRUE(binary.after_message(kAt, end + "\0\0\0\7g\0"s));
  }
}

TEST(Borders, RefuseOptionsThatHideThem) {
  EXPECT_THROW(Borders("test_decoding", {{"stream-changes", std::nullopt}, {"include-xids", "0"}}),
               Error);
  EXPECT_NO_THROW(Borders("test_decoding", {{"stream-changes", "0"}, {"include-xids", "0"}}));
  EXPECT_THROW(Borders("whatever", {{"streaming", "on"}}), Error);
  EXPECT_NO_THROW(Borders("whatever", {{"streaming", "off"}}));
}

}  // namespace
}  // namespace weir::logical::borders_test
