#include "store/store_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/home.h"
#include "store/cluster_record.h"
#include "store/ledger/mark.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"

namespace weir::store::store_check_test {
namespace {

using test::MemoryStore;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

/// "bad: text / hint", one for each finding.
std::vector<std::string> told(const StoreCheck& check) {
  std::vector<std::string> lines;
  for (const auto& each : check.findings) {
    const char* level = each.level == StoreFinding::Level::good      ? "good: "
                        : each.level == StoreFinding::Level::warning ? "warning: "
                                                                     : "bad: ";
    lines.push_back(level + each.text + (each.hint.empty() ? "" : " / " + each.hint));
  }
  return lines;
}

StoreCheck check(ObjectStore& store) {
  StoreCheck result;
  check_store(store, kLayout, 7, result);
  return result;
}

TEST(StoreCheck, TriesAllThatIsNeededAndLeavesNothingBehind) {
  MemoryStore store;
  const auto result = check(store);
  EXPECT_TRUE(result.all_good());
  EXPECT_THAT(told(result), Not(Contains(HasSubstr("warning: "))));
  EXPECT_THAT(told(result), Contains("good: a stored object is read back unchanged"));
  EXPECT_THAT(told(result), Contains("good: objects can be removed"));
  EXPECT_TRUE(store.objects.empty());
}

TEST(StoreCheck, SeesThatThePlaceIsAnotherClusters) {
  MemoryStore store;
  const auto of = [&](std::optional<std::uint64_t> ours) {
    StoreCheck result;
    check_store(store, kLayout, 7, result, ours);
    return told(result);
  };
  EXPECT_THAT(of(4711), Not(Contains(HasSubstr("bad: ")))) << "it is nobody's yet";
  static_cast<void>(write_cluster(store, kLayout, Conditions::heeded,
                                  {.system_identifier = 1, .segment_size = kSize}));
  EXPECT_THAT(of({}), Not(Contains(HasSubstr("bad: "))));
  EXPECT_THAT(of(1), Not(Contains(HasSubstr("bad: "))));
  EXPECT_THAT(of(4711), Contains(HasSubstr("bad: the system identifier of this cluster is 4711 / "
                                           "Its WAL is rejected.")));
}

TEST(StoreCheck, SaysThatConditionsAreNotHeeded) {
  for (const auto conditions :
       {MemoryStore::Conditions::ignored, MemoryStore::Conditions::refused}) {
    MemoryStore store;
    store.conditions = conditions;
    const auto result = check(store);
    EXPECT_TRUE(result.all_good()) << "one archiver can do with it";
    EXPECT_THAT(told(result),
                Contains(AllOf(HasSubstr("warning: objects can be stored, but"),
                               HasSubstr("Let only one machine send to this prefix"))));
  }
}

/// A store, or something before it, that does with objects what it likes.
class StrangeStore final : public ObjectStore {
 public:
  explicit StrangeStore(bool changes) : changes_(changes) {}
  [[nodiscard]] std::string name() const override { return under_.name(); }
  [[nodiscard]] Put put_if_absent(const std::string& key, const Content& content) override {
    return under_.put_if_absent(key, content);
  }
  [[nodiscard]] Put put_if_match(const std::string& key, const Content& content,
                                 const std::string& etag) override {
    return under_.put_if_match(key, content, etag);
  }
  [[nodiscard]] Traits traits() const override { return under_.traits(); }
  void put(const std::string& key, const Content& content) override { under_.put(key, content); }
  [[nodiscard]] std::optional<ObjectHead> head(const std::string& key) override {
    return under_.head(key);
  }
  bool get(const std::string& key, const std::optional<Range>& range,
           const codec::Sink& sink) override {
    return under_.get(key, range, [&](std::span<const std::byte> piece) {
      test::Bytes bytes(piece.begin(), piece.end());
      if (changes_) bytes.front() ^= std::byte{1};
      return sink(bytes);
    });
  }
  [[nodiscard]] ObjectPage list(const std::string& prefix, const std::string& after,
                                std::size_t most) override {
    return under_.list(prefix, after, most);
  }
  [[nodiscard]] std::vector<Kept> remove(std::span<const std::string> keys) override {
    if (changes_) return under_.remove(keys);
    return {};  // says that it has
  }

 private:
  const bool changes_;
  MemoryStore under_;
};

TEST(StoreCheck, FindsAStoreThatChangesWhatItIsGiven) {
  StrangeStore store(true);
  const auto result = check(store);
  EXPECT_FALSE(result.all_good());
  EXPECT_THAT(told(result),
              Contains("bad: a stored object is read back with different content / A proxy or "
                       "gateway between this machine and the store changes objects."));
}

TEST(StoreCheck, SaysThatNothingCanBeRemoved) {
  MemoryStore locked;
  locked.locked.insert(kLayout.own_key("pgweir-check-0000000000000007"));
  auto lines = told(check(locked));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("warning: objects cannot be removed: AccessDenied"),
                                    HasSubstr("need s3:DeleteObject"))));
  StrangeStore kept(false);
  lines = told(check(kept));
  EXPECT_THAT(lines, Contains(HasSubstr("warning: a removed object is still there")));
}

TEST(StoreCheck, LeavesOutTheRestWhereAStepFails) {
  MemoryStore store;
  store.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" ? MemoryStore::Fault::refused : MemoryStore::Fault::none;
  };
  const auto result = check(store);
  EXPECT_FALSE(result.all_good());
  ASSERT_EQ(result.findings.size(), 3U);
  EXPECT_EQ(told(result)[2], "bad: AccessDenied");
}

// ---- settings

std::vector<std::string> settings(const std::map<std::string, std::string>& of) {
  MemoryStore store;
  store.settings = of;
  StoreCheck result;
  check_settings(store, kLayout, result);
  return told(result);
}

TEST(StoreSettings, TellOfRulesThatEndAnArchive) {
  const auto rule = [](const std::string& what) {
    return std::map<std::string, std::string>{
        {"lifecycle",
         "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter>"
         "<Prefix>p/</Prefix></Filter>" +
             what + "</Rule></LifecycleConfiguration>"}};
  };
  const auto moved_to = [&](const std::string& storage_class) {
    return settings(rule("<Transition><Days>1</Days><StorageClass>" + storage_class +
                         "</StorageClass></Transition>"));
  };
  EXPECT_THAT(settings({}), Contains("good: no rule of the bucket removes, moves or locks the "
                                     "archive"));
  EXPECT_THAT(
      settings(rule("<Expiration><Days>30</Days></Expiration>")),
      Contains(HasSubstr("bad: the lifecycle rule \"r\" removes the archive's objects after "
                         "30 days / A base backup")));
  EXPECT_THAT(settings(rule("<Expiration><Date>2027-01-01</Date></Expiration>")),
              Contains(HasSubstr("removes the archive's objects on 2027-01-01")));
  for (const char* const frozen : {"GLACIER", "DEEP_ARCHIVE"})
    EXPECT_THAT(moved_to(frozen), Contains(AllOf(HasSubstr("bad: the lifecycle rule"),
                                                 HasSubstr("a recovery stops at each one"))));
  for (const char* const at_once : {"STANDARD_IA", "GLACIER_IR"})
    EXPECT_THAT(moved_to(at_once),
                Contains("good: the lifecycle rule \"r\" moves the archive's objects to " +
                         std::string(at_once)));
}

/// As some stores answer each question about a bucket.
TEST(StoreSettings, TakeAListingForNoSettings) {
  for (const auto* const which : {"lifecycle", "versioning", "object-lock"}) {
    const auto lines = settings({{which, "<ListBucketResult></ListBucketResult>"}});
    EXPECT_THAT(lines, Contains(HasSubstr("warning: the bucket's settings (" + std::string(which) +
                                          ") cannot be read")));
    EXPECT_THAT(lines, ::testing::Not(Contains(HasSubstr("no rule of the bucket"))));
  }
}

TEST(StoreSettings, TellOfVersionsAndLocks) {
  EXPECT_THAT(settings({{"versioning",
                         "<VersioningConfiguration><Status>Enabled</Status>"
                         "</VersioningConfiguration>"}}),
              Contains(HasSubstr("good: the bucket keeps versions")));
  const auto lock = [](const std::string& rule) {
    return settings(
        {{"object-lock", "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>" +
                             rule + "</ObjectLockConfiguration>"}});
  };
  EXPECT_THAT(lock(""), Contains(HasSubstr("the bucket has no default retention")));
  EXPECT_THAT(lock("<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days>"
                   "</DefaultRetention></Rule>"),
              Contains(HasSubstr("objects are locked for 30 days (COMPLIANCE)")));
  EXPECT_THAT(lock("<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>2</Years>"
                   "</DefaultRetention></Rule>"),
              Contains(HasSubstr("objects are locked for 2 years (GOVERNANCE)")));
}

// ---- an archive against the store

/// Removed objects have no place in a listing, and without a manifest nothing else tells of them.
TEST(StoreEnd, FindsTheNextObjectThatWasRemoved) {
  MemoryStore store;
  store.versions_kept = true;
  static_cast<void>(write_cluster(store, kLayout, Conditions::heeded,
                                  {.system_identifier = 1, .segment_size = kSize}));
  const auto key = [](std::uint64_t segno) {
    return kLayout.key(wal::SegmentName(1, segno, kSize)) + ".zst.age";
  };
  const auto bytes = test::bytes_of("WAL");
  const auto end = [&] {
    StoreCheck result;
    check_end(store, kLayout, result);
    EXPECT_TRUE(result.all_good());
    return told(result);
  };
  EXPECT_THAT(end(), ::testing::IsEmpty()) << "no WAL at all";
  for (std::uint64_t segno = 0xFFD; segno < 0x1002; ++segno) store.place(key(segno), bytes);
  store.objects.erase(key(0xFFD));
  EXPECT_THAT(end(), ::testing::IsEmpty()) << "pruned";
  for (std::uint64_t segno = 0x1000; segno < 0x1002; ++segno) store.objects.erase(key(segno));
  EXPECT_THAT(end(), ::testing::ElementsAre(AllOf(
                         HasSubstr("warning: s3://memory/" + key(0x1000) + " follows the newest"),
                         HasSubstr("has only earlier versions of it"))));
  store.versions_kept = false;
  EXPECT_THAT(end(), ::testing::IsEmpty());
  store.versions_kept = true;
  store.place(key(0x1000), bytes);
  store.place(key(0x1001), bytes);
  EXPECT_THAT(end(), ::testing::IsEmpty());
  store.place(kLayout.history_key(2), bytes);
  store.objects.erase(kLayout.history_key(2));
  EXPECT_THAT(end(), Contains(HasSubstr(kLayout.history_key(2) + " follows the newest WAL")));
  store.place(kLayout.history_key(2), bytes);
  store.fault = [](const MemoryStore::Call& call) {
    return call.what == "versions" ? MemoryStore::Fault::refused : MemoryStore::Fault::none;
  };
  EXPECT_THAT(end(), Contains(HasSubstr("cannot be determined: AccessDenied")));
  // An archiver that stores the next one meanwhile.
  store.fault = [&](const MemoryStore::Call& call) {
    if (call.what == "versions") store.place(key(0x1002), bytes);
    return MemoryStore::Fault::none;
  };
  EXPECT_THAT(end(), ::testing::IsEmpty());
}

class CompareArchiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    wal_.grow_to(kSize.start(6));
    archive_.segments(wal_, 1, 5);
    archive_.history(2, verify::history_line(1, kSize.start(4)));
  }
  void store(std::uint64_t segno) {
    store_.place(kLayout.key(wal::SegmentName(1, segno, kSize)),
                 ArchiveBuilder::content(wal_, segno));
  }
  void mark(std::uint64_t behind, const std::string& name = "s3://memory/p") {
    Mark mark;
    mark.store = name;
    mark.system_identifier = wal_.options().system_identifier;
    mark.segment_size = kSize;
    for (std::uint64_t segno = 1; segno < behind; ++segno)
      mark.add(wal::SegmentName(1, segno, kSize));
    mark.add_history(2);
    const auto directory = archive_.disk.open();
    archive::DirectoryHome home(*directory);
    keep_mark(home, mark);
  }
  StoreCheck compare(const std::vector<ManifestChain>& chains = {}, bool keys_given = false) {
    StoreCheck result;
    const auto directory = archive_.disk.open();
    compare_archive(*directory, store_, kLayout, "s3://memory/p", chains, keys_given, result);
    return result;
  }
  /// As an archiver writes it.
  ManifestLine line(std::uint64_t segno) {
    const wal::SegmentName name(1, segno, kSize);
    const auto& object = store_.objects.at(kLayout.key(name));
    return {.entry = {.name = name.to_string(), .size = object.bytes.size(), .md5 = object.etag}};
  }
  WalBuilder wal_{WalBuilder::Options{}};
  ArchiveBuilder archive_;
  MemoryStore store_;
};

TEST_F(CompareArchiveTest, CountsWhatWaits) {
  store(1);
  auto result = compare();
  EXPECT_TRUE(result.all_good());
  EXPECT_THAT(told(result), Contains("warning: this archive has not been sent to this prefix yet"));
  EXPECT_THAT(
      told(result),
      Contains("good: 1 of 4 complete segments are in the store; objects compared: 1 by name, not "
               "listed in a manifest"));
  EXPECT_THAT(told(result), Contains("warning: 4 files are waiting to be sent"))
      << "with the history";
  {
    const auto directory = archive_.disk.open();
    archive::DirectoryHome home(*directory);
    keep_mark(home, {"s3://memory/p", wal_.options().system_identifier, kSize, {}, {}});
  }
  EXPECT_THAT(told(compare()),
              Contains("warning: this archive has not been sent to this prefix yet"))
      << "nothing of it";
  mark(5, "s3://elsewhere");
  EXPECT_THAT(told(compare()), Contains("warning: 4 files are waiting to be sent"))
      << "another store has nothing of this";
  EXPECT_THAT(told(compare()), Contains(HasSubstr("It was sent to s3://elsewhere.")));
}

TEST_F(CompareArchiveTest, MissesWhatWasSent) {
  store(1);
  mark(3);
  const auto result = compare();
  EXPECT_FALSE(result.all_good());
  EXPECT_THAT(told(result),
              Contains(AllOf(HasSubstr("bad: 2 of the files that were sent are no longer in the "
                                       "store: 000000010000000000000002, 00000002.history / "),
                             HasSubstr("The next \"pgweir store push\" uploads them again"))));
  EXPECT_THAT(told(result), Contains("warning: 2 files are waiting to be sent"));
  EXPECT_THAT(told(result), Not(Contains(HasSubstr("complete segments are in the store"))));
}

TEST_F(CompareArchiveTest, ComparesAnArchiveWhoseNewestSegmentsAreDamaged) {
  for (const std::uint64_t segno : {1, 2, 3}) store(segno);
  mark(5);
  for (const std::uint64_t segno : {1, 2, 3, 4})
    archive_.disk.put(ArchiveBuilder::name(wal_, segno), test::Bytes(kSize.bytes()));
  const auto result = compare();
  EXPECT_THAT(told(result), Contains(HasSubstr("bad: cannot determine the archive's cluster")));
  EXPECT_THAT(told(result), Contains(HasSubstr("bad: 2 of the files that were sent are no longer "
                                               "in the store: 000000010000000000000004")));
}

TEST_F(CompareArchiveTest, SeesAnObjectThatIsNotWhatWasStored) {
  for (const std::uint64_t segno : {1, 2, 3, 4}) store(segno);
  store_.place(kLayout.history_key(2), test::as_bytes("x"));
  mark(5);
  std::vector<ManifestChain> chains{{.id = "a", .lines = {line(1), line(2), line(3)}}};
  const std::string all = "good: 4 of 4 complete segments are in the store; objects compared: ";
  EXPECT_THAT(told(compare(chains)),
              Contains(all + "3 by size and MD5, 1 by name, not listed in a manifest"));
  EXPECT_THAT(told(compare(chains, true)), Contains(all + "4 by name, not listed in a manifest"))
      << "no key proves the chain";
  store_.objects.at(kLayout.key(wal::SegmentName(1, 3, kSize))).etag = "encrypted-by-the-store";
  EXPECT_THAT(told(compare(chains)),
              Contains(all + "2 by size and MD5, 1 by size, 1 by name, not listed in a manifest"));
  const auto content = ArchiveBuilder::content(wal_, 2);
  test::Bytes other(content.begin(), content.end());
  other.back() ^= std::byte{1};
  store_.place(kLayout.key(wal::SegmentName(1, 2, kSize)), other);
  const auto result = compare(chains);
  EXPECT_FALSE(result.all_good());
  EXPECT_THAT(told(result), Contains(AllOf(HasSubstr("bad: 1 object does not match the manifest: "
                                                     "000000010000000000000002: its MD5 is "),
                                           HasSubstr("Delete an invalid object"))));
  EXPECT_THAT(told(result), Not(Contains(HasSubstr("complete segments are in the store"))));
}

TEST_F(CompareArchiveTest, DoesNotMissWhatARecordedPruneHasRemoved) {
  for (const std::uint64_t segno : {3, 4}) store(segno);
  store_.place(kLayout.history_key(2), test::as_bytes("x"));
  mark(5);
  EXPECT_FALSE(compare().all_good());
  const ManifestLine begin{.entry = {.kind = ManifestEntry::Kind::begin,
                                     .name = wal::SegmentName(1, 3, kSize).to_string()}};
  const std::vector<ManifestChain> chains{{.id = std::string(kPruneChain), .lines = {begin}}};
  EXPECT_TRUE(compare(chains).all_good());
  EXPECT_FALSE(compare(chains, true).all_good()) << "no key proves it";
}

TEST_F(CompareArchiveTest, SeesThatARawSegmentHasAnotherSize) {
  for (const std::uint64_t segno : {1, 2, 3, 4}) store(segno);
  store_.place(kLayout.history_key(2), test::as_bytes("x"));
  mark(5);
  EXPECT_TRUE(compare().all_good());
  store_.place(kLayout.key(wal::SegmentName(1, 3, kSize)), test::as_bytes("short"));
  const auto result = compare();
  EXPECT_FALSE(result.all_good());
  EXPECT_THAT(told(result), Contains("bad: 1 segments have the wrong size in the store: "
                                     "000000010000000000000003 / They are not segments: another "
                                     "program wrote them."));
}

}  // namespace
}  // namespace weir::store::store_check_test
