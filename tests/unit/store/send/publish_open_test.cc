#include "store/send/publish_open.h"

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/send/padded.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::publish_open_test {
namespace {

constexpr std::uint64_t kSegment = std::uint64_t{1} << 20;
constexpr std::uint64_t kWal = 4000;  ///< bytes of the open segment
const auto kSize = *wal::SegmentSize::of(kSegment);
const auto kName = *wal::SegmentName::parse("000000010000000000000003");
const Layout kLayout(Layout::Form::barman, {"bucket", "p"}, "main");
const std::string kKey = "p/main/wals/0000000100000000/000000010000000000000003";
const archive::Identity kCluster{4711, kSize, "file"};

PaddedSegment open_to(std::uint64_t bytes, std::byte content = std::byte{1}) {
  PaddedSegment padded{.segment = kName, .end = kName.start(kSize) + bytes};
  padded.wal.assign(bytes, content);
  padded.wal.resize(kSegment);
  return padded;
}

struct PublishOpen : ::testing::Test {
  test::MemoryStore store;
  std::vector<archive::PublishedOpen> kept;
  Sealing sealing;

  Publication publish(const PaddedSegment& padded, const char* form = "none") {
    return publish_open(
        {store, kLayout, Conditions::heeded, kCluster, codec::Compression::parse(form), sealing},
        padded, {.segment = kName, .end = {}, .object = {}, .time = "now"},
        [&](const archive::PublishedOpen& record) {
          EXPECT_FALSE(store.objects.contains(kKey) && kept.empty())
              << "recorded before it is there";
          kept.push_back(record);
        });
  }
};

TEST(SegmentToPublish, IsThatBehindEverythingFinished) {
  using Names = std::vector<const char*>;
  const struct {
    const char* what;
    Names names;
    const char* open;
  } cases[] = {
      {"nothing", {}, nullptr},
      {"all finished", {"000000010000000000000003"}, nullptr},
      {"one behind",
       {"000000010000000000000002.zst", "000000010000000000000003.partial"},
       "000000010000000000000003"},
      {"the first", {"000000010000000000000003.partial"}, "000000010000000000000003"},
      {"finished in another form",
       {"000000010000000000000003.gz", "000000010000000000000003.partial"},
       nullptr},
      {"left behind by a switch",
       {"000000010000000000000003.partial", "000000020000000000000003"},
       nullptr},
      {"of the newest timeline",
       {"000000010000000000000003.partial", "000000020000000000000003",
        "000000020000000000000004.partial"},
       "000000020000000000000004"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    archive::Listing listing;
    for (const auto* name : each.names)
      listing.segments.push_back({*archive::SegmentFileName::parse(name), std::nullopt});
    const auto open = open_segment(listing, kSize);
    EXPECT_EQ(open ? open->to_string() : "", each.open == nullptr ? "" : each.open);
  }
}

TEST_F(PublishOpen, SaysOfItselfWhereItsZerosBegin) {
  const auto done = publish(open_to(kWal));
  EXPECT_EQ(done.what, Publication::What::stored);
  EXPECT_EQ(done.object, "s3://memory/" + kKey);
  EXPECT_EQ(store.objects.at(kKey).bytes, open_to(kWal).wal);
  EXPECT_EQ(padded_from(*store.head(kKey)), kName.start(kSize) + kWal);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].end, kName.start(kSize) + kWal);
  EXPECT_TRUE(store.objects.contains("p/main/weir/published-000000010000000000000003"));
}

TEST_F(PublishOpen, IsNotThereWithoutItsRecord) {
  EXPECT_THROW(
      static_cast<void>(publish_open(
          {store, kLayout, Conditions::heeded, kCluster, codec::Compression::parse("none")},
          open_to(kWal), {.segment = kName, .end = {}, .object = {}, .time = "now"},
          [](const archive::PublishedOpen&) { throw Error(ErrorKind::disk_full, "no space"); })),
      Error);
  EXPECT_FALSE(store.objects.contains(kKey));
}

TEST_F(PublishOpen, GoesOnWhereItWasLeft) {
  static_cast<void>(publish(open_to(kWal)));
  EXPECT_EQ(publish(open_to(kWal)).what, Publication::What::was_there);
  EXPECT_EQ(publish(open_to(kWal / 2)).what, Publication::What::was_there);
  EXPECT_EQ(publish(open_to(2 * kWal)).what, Publication::What::extended);
  EXPECT_EQ(store.objects.at(kKey).bytes, open_to(2 * kWal).wal);
  // In another form: one of both is there at each moment, and one in the end.
  EXPECT_EQ(publish(open_to(3 * kWal), "gzip").what, Publication::What::extended);
  EXPECT_TRUE(store.objects.contains(kKey + ".gz"));
  EXPECT_FALSE(store.objects.contains(kKey));
}

/// Readers would use the one that a process had not removed when it was killed.
TEST_F(PublishOpen, RemovesTheShorterOneThatIsLeft) {
  static_cast<void>(publish(open_to(kWal)));
  const auto left = store.objects.at(kKey);
  static_cast<void>(publish(open_to(3 * kWal), "gzip"));
  const auto longer = store.objects.at(kKey + ".gz");
  store.objects[kKey] = left;
  EXPECT_EQ(publish(open_to(3 * kWal), "gzip").what, Publication::What::was_there);
  EXPECT_FALSE(store.objects.contains(kKey));
  EXPECT_EQ(store.objects.at(kKey + ".gz").bytes, longer.bytes);
  // Both are shorter.
  store.objects[kKey] = left;
  EXPECT_EQ(publish(open_to(4 * kWal)).what, Publication::What::extended);
  EXPECT_EQ(store.objects.at(kKey).bytes, open_to(4 * kWal).wal);
  EXPECT_FALSE(store.objects.contains(kKey + ".gz"));
}

/// The segment was continued after all, and its archiver stores it just now.
TEST_F(PublishOpen, DoesNotReplaceTheCompleteSegmentThatIsStoredMeanwhile) {
  const test::MemoryStore::Object complete{
      std::vector<std::byte>(kSegment, std::byte{1}), {}, "etag"};
  for (const bool versions : {false, true}) {
    SCOPED_TRACE(versions);
    store.objects.clear();
    store.before_put = nullptr;
    store.versions_kept = versions;
    static_cast<void>(publish(open_to(kWal)));
    // Right before the request; with versions, before they are removed.
    store.before_put = [&](const std::string& key) {
      if ((key == kKey) != versions) store.objects[kKey] = complete;
    };
    const auto error = test::error_of([&] { static_cast<void>(publish(open_to(2 * kWal))); });
    EXPECT_EQ(error.kind(), ErrorKind::retry) << error.what();
    EXPECT_EQ(store.objects.at(kKey).bytes, complete.bytes);
  }
  // In another form.
  store.objects.clear();
  store.before_put = nullptr;
  store.versions_kept = false;
  static_cast<void>(publish(open_to(kWal)));
  store.before_put = [&](const std::string& key) {
    if (key == kKey + ".gz") store.objects[kKey] = complete;
  };
  const auto error = test::error_of([&] { static_cast<void>(publish(open_to(2 * kWal), "gzip")); });
  EXPECT_EQ(error.kind(), ErrorKind::retry) << error.what();
  EXPECT_EQ(store.objects.at(kKey).bytes, complete.bytes);
}

TEST_F(PublishOpen, SaysThatAStoreDoesNotLetAPaddedOneGo) {
  static_cast<void>(publish(open_to(kWal)));
  store.locked.insert(kKey);
  const auto error = test::error_of([&] { remove_padded(store, kKey); });
  EXPECT_EQ(error.kind(), ErrorKind::refused);
  EXPECT_NE(std::string(error.what()).find("does not allow replacing a padded segment"),
            std::string::npos);
  EXPECT_NE(std::string(error.what()).find("s3://memory/" + kKey), std::string::npos);
  EXPECT_NE(error.hint().find("Readers would use the padded segment."), std::string::npos);
  EXPECT_TRUE(store.objects.contains(kKey));
}

TEST_F(PublishOpen, LeavesTheFinishedSegmentAlone) {
  store.objects[kKey] = {std::vector<std::byte>(kSegment, std::byte{1}), {}, "etag"};
  EXPECT_EQ(publish(open_to(kWal)).what, Publication::What::true_there);
  EXPECT_TRUE(kept.empty());
  EXPECT_EQ(store.puts[kKey], 0u);
}

TEST_F(PublishOpen, IsAConflictWithOtherWal) {
  for (const bool padded : {false, true}) {
    SCOPED_TRACE(padded);
    store.objects[kKey] = {std::vector<std::byte>(kSegment, std::byte{2}), {}, "etag"};
    if (padded)
      store.objects[kKey].metadata[kPaddedMetadata] = (kName.start(kSize) + 10).to_string();
    const auto before = store.objects.at(kKey).bytes;
    try {
      static_cast<void>(publish(open_to(kWal)));
      ADD_FAILURE() << "no conflict";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::conflict);
    }
    EXPECT_EQ(store.objects.at(kKey).bytes, before);
    EXPECT_TRUE(kept.empty());
  }
}

struct EncryptedPublishOpen : PublishOpen {
  const AgeIdentity identity = AgeIdentity(a_key());
  const std::string key = kKey + ".age";

  static crypto::X25519 a_key() {
    crypto::X25519 made{};
    made.fill(std::byte{7});
    return made;
  }
  EncryptedPublishOpen() {
    sealing = {.recipients = {identity.recipient()},
               .compare_key = std::vector<std::byte>(32, std::byte{3})};
  }
};

TEST_F(EncryptedPublishOpen, IsReadByItsRecipients) {
  const auto done = publish(open_to(kWal));
  EXPECT_EQ(done.what, Publication::What::stored);
  ASSERT_TRUE(store.objects.contains(key));
  EXPECT_FALSE(store.objects.contains(kKey));
  EXPECT_EQ(padded_from(*store.head(key)), kName.start(kSize) + kWal);
  const auto& stored = store.objects.at(key).bytes;
  AgeOpened opened(std::make_unique<MemoryBytes>(stored), std::span(&identity, 1), key);
  std::vector<std::byte> plain(opened.size());
  EXPECT_EQ(opened.read_at(0, plain), kSegment);
  EXPECT_EQ(plain, open_to(kWal).wal);
  EXPECT_EQ(done.entry->name, kName.to_string() + ".age");
  EXPECT_EQ(done.entry->hmac, store.objects.at(key).metadata.at("pgweir-hmac"));
}

TEST_F(EncryptedPublishOpen, GoesOnWhereItWasLeft) {
  static_cast<void>(publish(open_to(kWal)));
  auto done = publish(open_to(kWal));
  EXPECT_EQ(done.what, Publication::What::was_there);
  EXPECT_TRUE(done.compared);
  EXPECT_EQ(publish(open_to(2 * kWal)).what, Publication::What::extended);
  // What has more cannot be compared, and stays.
  done = publish(open_to(kWal));
  EXPECT_EQ(done.what, Publication::What::was_there);
  EXPECT_FALSE(done.compared);
}

TEST_F(EncryptedPublishOpen, ComparesByItsKeyOrNotAtAll) {
  static_cast<void>(publish(open_to(kWal)));
  const auto before = store.objects.at(key).bytes;
  EXPECT_THROW(publish(open_to(2 * kWal, std::byte{2})), Error);
  sealing.compare_key.assign(32, std::byte{4});
  EXPECT_THROW(publish(open_to(2 * kWal)), Error);
  EXPECT_EQ(store.objects.at(key).bytes, before);
  sealing.former_keys = {std::vector<std::byte>(32, std::byte{3})};
  EXPECT_EQ(publish(open_to(2 * kWal)).what, Publication::What::extended);
}

TEST_F(PublishOpen, NeedsWhatIsBefore) {
  const auto entry = [](std::string_view name) {
    return archive::SegmentEntry{.name = *archive::SegmentFileName::parse(name), .bytes = {}};
  };
  archive::Listing listing;
  const auto require = [&](wal::SegmentName segment, bool first) {
    listing.segments = {entry("000000010000000000000001")};
    if (first) listing.segments.clear();
    listing.segments.push_back(entry(segment.to_string() + ".partial"));
    require_what_is_before(store, kLayout, segment, kSize, {}, listing);
  };
  EXPECT_THROW(require(kName, false), Error);
  EXPECT_NO_THROW(require(kName, true));
  store.objects["p/main/wals/0000000100000000/000000010000000000000002.zst"] = {};
  EXPECT_NO_THROW(require(kName, false));
  const auto newer = *wal::SegmentName::parse("000000020000000000000003");
  EXPECT_THROW(require(newer, true), Error) << "its history";
  store.objects["p/main/wals/00000002.history"] = {};
  EXPECT_NO_THROW(require(newer, true));
}

TEST_F(PublishOpen, TellsWhatToDoIfTheSegmentBeforeIsAPartialFileAsWell) {
  archive::Listing listing;
  for (const auto* name : {"000000010000000000000001", "000000010000000000000002.partial",
                           "000000010000000000000003.partial"})
    listing.segments.push_back({.name = *archive::SegmentFileName::parse(name), .bytes = {}});
  const auto error =
      test::error_of([&] { require_what_is_before(store, kLayout, kName, kSize, {}, listing); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_NE(error.hint().find("000000010000000000000002.partial"), std::string::npos);
  EXPECT_NE(error.hint().find("import --extend"), std::string::npos);
}

}  // namespace
}  // namespace weir::store::publish_open_test
