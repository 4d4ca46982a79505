#include "store/write_once.h"

#include <gtest/gtest.h>

#include <array>

#include "store/digests.h"
#include "store/memory_bytes.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::write_once_test {
namespace {

using Put = ObjectStore::Put;

/// A bucket that keeps versions and heeds no conditions, in which the object was once.
class WriteOnceTest : public ::testing::Test {
 protected:
  WriteOnceTest() {
    store_.versions_kept = true;
    store_.place("k", test::bytes_of("before"));
    store_.older["k"] = test::bytes_of("before");
    static_cast<void>(store_.remove(std::array{std::string("k")}));
  }
  Put put(const std::string& text) {
    const auto bytes = test::bytes_of(text);
    MemoryBytes content(bytes);
    return put_once(store_, Conditions::ignored, "k", content_of(content));
  }
  Error error(const std::string& text) {
    return test::error_of([&] { static_cast<void>(put(text)); });
  }
  test::MemoryStore store_;
};

TEST_F(WriteOnceTest, AnotherWriterAtTheSameMomentIsTold) {
  EXPECT_EQ(error("before").message(), "two writers have stored an object under the same key");
}

TEST_F(WriteOnceTest, WhatWasRemovedAndIsStoredAgainHasOneWriter) {
  store_.removed_before.insert("k");
  EXPECT_EQ(put("before"), Put::stored);
}

TEST_F(WriteOnceTest, AFormerVersionThatIsAnotherOneIsTold) {
  store_.removed_before.insert("k");
  EXPECT_EQ(error("now").message(), "an object was removed, and its previous version differs");
}

/// The object is stored by then.
TEST_F(WriteOnceTest, NeedsNoRightToListOrReadVersions) {
  store_.removed_before.insert("k");
  store_.versions_readable = false;
  EXPECT_EQ(put("now"), Put::stored);
  using Fault = test::MemoryStore::Fault;
  auto answer = Fault::refused;
  store_.fault = [&](const test::MemoryStore::Call& call) {
    return call.what == "versions" ? answer : Fault::none;
  };
  store_.objects.clear();
  EXPECT_EQ(put("now"), Put::stored);
  store_.objects.clear();
  answer = Fault::throttled;
  EXPECT_THROW(static_cast<void>(put("now")), StoreError);
}

TEST(PutOver, ReplacesOnlyWhatWasSeenWithAndWithoutConditions) {
  const auto bytes = test::bytes_of("new");
  MemoryBytes content(bytes);
  for (const auto conditions :
       {test::MemoryStore::Conditions::heeded, test::MemoryStore::Conditions::refused}) {
    test::MemoryStore store;
    store.conditions = conditions;
    store.place("k", test::bytes_of("seen"));
    const auto seen = store.objects.at("k").etag;
    store.place("k", test::bytes_of("another"));
    EXPECT_EQ(put_over(store, "k", content_of(content), seen), Put::taken);
    EXPECT_EQ(put_over(store, "absent", content_of(content), seen), Put::taken);
    EXPECT_EQ(store.objects.at("k").bytes, test::bytes_of("another"));
    EXPECT_EQ(put_over(store, "k", content_of(content), store.objects.at("k").etag), Put::stored);
    EXPECT_EQ(store.objects.at("k").bytes, bytes);
  }
}

TEST(PutOver, TakesNoOtherErrorForAStoreWithoutConditions) {
  const auto bytes = test::bytes_of("new");
  MemoryBytes content(bytes);
  test::MemoryStore store;
  store.place("k", test::bytes_of("seen"));
  store.fault = [](const test::MemoryStore::Call& call) {
    return call.what == "put" ? test::MemoryStore::Fault::throttled
                              : test::MemoryStore::Fault::none;
  };
  EXPECT_THROW(static_cast<void>(put_over(store, "k", content_of(content), "")), StoreError);
  EXPECT_EQ(store.count("head"), 0u);
}

TEST(ProbeConditions, LeavesOneObjectWhereNothingMayBeRemoved) {
  test::MemoryStore store;
  store.locked = {"random1", "random2"};
  EXPECT_EQ(probe_conditions(store, "random1", "kept"), Conditions::heeded);
  EXPECT_TRUE(store.objects.contains("kept"));
  EXPECT_EQ(probe_conditions(store, "random2", "kept"), Conditions::heeded);
  EXPECT_FALSE(store.objects.contains("random2"));
  store.conditions = test::MemoryStore::Conditions::ignored;
  EXPECT_EQ(probe_conditions(store, "random2", "kept"), Conditions::ignored);
}

}  // namespace
}  // namespace weir::store::write_once_test
