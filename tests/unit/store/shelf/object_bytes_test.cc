#include "store/shelf/object_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::object_bytes_test {
namespace {

using test::error_of;
using test::MemoryStore;

TEST(ObjectBytes, AreThoseOfTheOldestVersion) {
  MemoryStore store;
  EXPECT_FALSE(find_object(store, "k", kOnce));
  store.place("k", test::as_bytes("first"));
  auto which = find_object(store, "k", kOnce);
  ASSERT_TRUE(which);
  EXPECT_EQ(which->size, 5U);
  EXPECT_EQ(which->version, "") << "the bucket keeps none";

  store.versions_kept = true;
  store.place("k", test::as_bytes("another one"));
  const auto oldest = test::as_bytes("first");
  store.older["k"] = {oldest.begin(), oldest.end()};
  which = find_object(store, "k", kOnce);
  ASSERT_TRUE(which);
  EXPECT_EQ(which->version, "v0");
  EXPECT_EQ(which->size, 5U) << "HEAD tells the size of the newest";
  ObjectBytes bytes(store, *which, kOnce);
  test::Bytes read(20);
  read.resize(bytes.read_at(0, read));
  EXPECT_EQ(test::text_of(read), "first");
}

TEST(ObjectBytes, AreNotReadWhereTheStoreGivesAnotherPart) {
  MemoryStore store;
  store.place("k", test::as_bytes("short"));
  const auto error = error_of([&] {
    static_cast<void>(read_part(store, {.key = "k", .size = 100}, {0, 100}, kOnce));
  });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_THAT(error.what(),
              ::testing::HasSubstr("the store returned a different range of an object"));
  const auto gone = error_of([&] {
    static_cast<void>(read_part(store, {.key = "none", .size = 1}, {0, 1}, kOnce));
  });
  EXPECT_EQ(gone.kind(), ErrorKind::io);
}

TEST(ObjectBytes, AreNotReadWholeWhereTheyAreMoreThanTheyMayBe) {
  MemoryStore store;
  store.place("k", test::as_bytes("0123456789"));
  EXPECT_EQ(test::text_of(*read_whole(store, "k", 10, kOnce)), "0123456789");
  const auto error = error_of([&] { static_cast<void>(read_whole(store, "k", 9, kOnce)); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("is too large"));
  EXPECT_FALSE(read_whole(store, "none", 10, kOnce));
}

}  // namespace
}  // namespace weir::store::object_bytes_test
