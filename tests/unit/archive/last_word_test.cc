#include "archive/last_word.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/compress.h"
#include "archive/listing.h"
#include "io/posix_directory.h"
#include "support/backup_builder.h"

namespace weir::archive::last_word_test {
namespace {

TEST(LastWord, IsReadAsItWasLeftUntilItIsRemoved) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  EXPECT_EQ(read_last_word(*directory), std::nullopt);
  const LastWord first{.time = "2026-11-24 10:00:00.000 UTC", .status = 4, .message = "one"};
  leave_last_word(*directory, first);
  const LastWord word{.time = "2026-11-24 10:00:01.000 UTC",
                      .status = 3,
                      .message = "a \"name\", and\nanother line",
                      .hint = "Look there."};
  leave_last_word(*directory, word);
  EXPECT_EQ(read_last_word(*directory), word);
  EXPECT_EQ(word.text(),
            "the last one ended on 2026-11-24 10:00:01.000 UTC with status 3: " + word.message);
  remove_last_word(*directory);
  remove_last_word(*directory);
  EXPECT_EQ(read_last_word(*directory), std::nullopt);
}

TEST(LastWord, OfWhichAFaultLeftAPieceIsTidiedUpByTheNextStart) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  place.write(".pgweir-last-word", "{");
  place.write(".pgweir-last-word.tmp", "{");
  clean_up(*directory, list_archive(*directory));
  EXPECT_TRUE(directory->find(".pgweir-last-word"));
  EXPECT_FALSE(directory->find(".pgweir-last-word.tmp"));
}

TEST(LastWord, ThatCannotBeReadIsNone) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  for (const auto* text : {"", "{", "[]", "{}", R"({"version":1,"time":1})", R"({"version":2})"}) {
    place.write(".pgweir-last-word", text);
    EXPECT_EQ(read_last_word(*directory), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace weir::archive::last_word_test
