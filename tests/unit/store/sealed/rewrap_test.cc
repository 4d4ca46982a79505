#include "store/sealed/rewrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_writer.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::rewrap_test {
namespace {

using test::error_of;
using test::MemoryStore;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");
const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
constexpr std::uint64_t kSegments = 6;
constexpr std::size_t kChunk = 64 * 1024;

AgeIdentity new_identity() {
  crypto::X25519 key{};
  crypto::random_bytes(key);
  return AgeIdentity(key);
}

std::string name_of(std::uint64_t segno) {
  return wal::SegmentName(1, segno, kSize).to_string() + ".zst.age";
}
std::string key_of(std::uint64_t segno) {
  return kLayout.key(wal::SegmentName(1, segno, kSize)) + ".zst.age";
}

class RewrapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_.objects.clear();
    store_.puts.clear();
    ManifestWriter writer(store_, kLayout, nullptr, log_);
    writer.start({}, "0123");
    for (std::uint64_t segno = 1; segno <= kSegments; ++segno)
      add(writer, segno, {.system_identifier = 4711});
    writer.put();
  }
  void add(ManifestWriter& writer, std::uint64_t segno, ManifestEntry entry) {
    const auto plain = plain_of(segno);
    MemoryBytes content(plain);
    const std::array recipients{old_.recipient()};
    AgeSealed sealed(content, recipients);
    test::Bytes bytes(sealed.size());
    static_cast<void>(sealed.read_at(0, bytes));
    store_.place(key_of(segno), bytes);
    store_.objects[key_of(segno)].metadata = {{"pgweir-system-id", "4711"}};
    entry.name = name_of(segno);
    entry.size = bytes.size();
    entry.sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes);
    entry.md5 = crypto::digest_of(crypto::Digest::Kind::md5, bytes);
    writer.append(entry);
  }
  static test::Bytes plain_of(std::uint64_t segno) {
    // Also none, and a full chunk.
    return test::Bytes(segno == 2   ? 0
                       : segno == 3 ? kChunk
                                    : 3 * kChunk + segno,
                       static_cast<std::byte>(segno));
  }
  RewrapResult rewrap(const AgeIdentity& from, const AgeIdentity& to) {
    return store::rewrap(store_, kLayout,
                         {.identities = {from},
                          .recipients = {to.recipient()},
                          .patience = {.retry_for = std::chrono::milliseconds(20)}},
                         log_);
  }
  bool reads(const AgeIdentity& identity, std::uint64_t segno) {
    auto& bytes = store_.objects.at(key_of(segno)).bytes;
    try {
      AgeOpened opened(std::make_unique<MemoryBytes>(bytes), std::array{identity}, "object");
      test::Bytes plain(opened.size());
      static_cast<void>(opened.read_at(0, plain));
      EXPECT_EQ(plain, plain_of(segno));
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::refused) << error.what();
      return false;
    }
  }
  ManifestReport report() {
    const auto chains = read_manifests(store_, kLayout, {}, {});
    const auto objects = list_stored(store_, kLayout, {});
    auto found = check_manifests(chains, objects, {.segment_size = kSize});
    compare_deeply(store_, {}, objects, told_objects(chains, false), {}, 1, found, nullptr);
    return found;
  }

  NullLog log_;
  MemoryStore store_;
  const AgeIdentity old_ = new_identity();
  const AgeIdentity new_ = new_identity();
};

TEST_F(RewrapTest, GivesEachObjectToOthersAndToNobodyElse) {
  const auto before = store_.objects;
  const auto result = rewrap(old_, new_);
  EXPECT_EQ(result.rewrapped, kSegments);
  EXPECT_THAT(result.left, IsEmpty());
  for (std::uint64_t segno = 1; segno <= kSegments; ++segno) {
    EXPECT_TRUE(reads(new_, segno));
    EXPECT_FALSE(reads(old_, segno));
    const auto& one = before.at(key_of(segno)).bytes;
    const auto& other = store_.objects.at(key_of(segno)).bytes;
    ASSERT_EQ(one.size(), other.size());
    const auto payload = plain_of(segno).size();
    EXPECT_TRUE(std::equal(one.end() - static_cast<std::ptrdiff_t>(payload), one.end(),
                           other.end() - static_cast<std::ptrdiff_t>(payload)))
        << "the payload is as it was";
    EXPECT_EQ(store_.objects.at(key_of(segno)).metadata.at("pgweir-system-id"), "4711");
    EXPECT_EQ(store_.objects.at(key_of(segno)).metadata.at("pgweir-sha256"),
              crypto::digest_of(crypto::Digest::Kind::sha256, other));
  }
  EXPECT_THAT(report().findings, IsEmpty());
  EXPECT_EQ(rewrap(new_, new_).were_so, kSegments);
  // And again to others.
  const auto third = new_identity();
  EXPECT_EQ(rewrap(new_, third).rewrapped, kSegments);
  EXPECT_THAT(report().findings, IsEmpty());
}

TEST_F(RewrapTest, LeavesAPaddedSegmentToBeReplaced) {
  constexpr auto kPadded = kSegments + 1;
  const auto end = kSize.start(kPadded) + 100;
  const ManifestEntry line{
      .kind = ManifestEntry::Kind::padded, .last = end, .system_identifier = 4711};
  ManifestWriter published(store_, kLayout, nullptr, log_);
  published.start({}, "published");
  add(published, kPadded, line);
  published.put();
  store_.objects[key_of(kPadded)].metadata["pgweir-padded-from"] = end.to_string();
  const auto third = new_identity();
  EXPECT_EQ(rewrap(old_, new_).rewrapped, kPadded);
  EXPECT_EQ(rewrap(new_, third).rewrapped, kPadded);
  EXPECT_TRUE(reads(third, kPadded));
  const auto padded = store_.objects.at(key_of(kPadded));
  EXPECT_EQ(padded.metadata.at("pgweir-padded-from"), end.to_string());
  EXPECT_FALSE(padded.to_lock);
  EXPECT_TRUE(store_.objects.at(key_of(1)).to_lock);
  const auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(std::count_if(found.remarks.begin(), found.remarks.end(),
                          [](const auto& each) {
                            return each.find("padded after 0/700064") != std::string::npos;
                          }),
            1);
  // When the complete segment has replaced it, it must not come back.
  ManifestWriter writer(store_, kLayout, nullptr, log_);
  writer.start({}, "4567");
  add(writer, kPadded, {.system_identifier = 4711});
  writer.put();
  EXPECT_THAT(report().findings, IsEmpty());
  store_.objects[key_of(kPadded)] = padded;
  EXPECT_THAT(report().findings, Contains(HasSubstr("does not match the manifest")));
}

TEST_F(RewrapTest, IsTrueWhereverItEnds) {
  for (std::size_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    SetUp();
    std::size_t calls = 0;
    store_.fault = [&](const MemoryStore::Call&) {
      ++calls;
      return calls < call ? Fault::none : calls == call ? Fault::lost_answer : Fault::lost_request;
    };
    bool done = false;
    try {
      rewrap(old_, new_);
      done = true;
    } catch (const StoreError&) {
    }
    store_.fault = nullptr;
    EXPECT_THAT(report().findings, IsEmpty());
    for (std::uint64_t segno = 1; segno <= kSegments; ++segno)
      EXPECT_NE(reads(old_, segno), reads(new_, segno));
    const auto rest = store::rewrap(
        store_, kLayout, {.identities = {old_, new_}, .recipients = {new_.recipient()}}, log_);
    EXPECT_EQ(rest.rewrapped + rest.were_so, kSegments);
    EXPECT_THAT(report().findings, IsEmpty());
    if (done || HasFailure()) break;
  }
}

TEST_F(RewrapTest, LeavesWhatIsLockedOrNotWhatWasStored) {
  store_.locked.insert(key_of(1));
  // Somebody has encrypted other WAL to the same recipient.
  const auto other = test::bytes_of("other WAL");
  MemoryBytes content(other);
  AgeSealed sealed(content, std::array{old_.recipient()});
  test::Bytes forged(sealed.size());
  static_cast<void>(sealed.read_at(0, forged));
  store_.place(key_of(2), forged);
  store_.place(key_of(9), forged);
  const auto before = store_.objects;
  const auto result = rewrap(old_, new_);
  EXPECT_EQ(result.rewrapped, kSegments - 2);
  ASSERT_EQ(result.left.size(), 3u);
  EXPECT_EQ(result.left[0].name, name_of(1));
  EXPECT_THAT(result.left[0].why, HasSubstr("locked"));
  EXPECT_THAT(result.left[1].why, HasSubstr("does not match the manifest"));
  EXPECT_THAT(result.left[2].why, HasSubstr("it is not listed in the manifest"));
  for (const std::uint64_t segno : {1, 2, 9})
    EXPECT_EQ(store_.objects.at(key_of(segno)).bytes, before.at(key_of(segno)).bytes);
}

TEST_F(RewrapTest, ReplacesNothingThatChangesMeanwhile) {
  const auto changed = test::bytes_of("somebody was quicker");
  store_.before_put = [&](const std::string& key) {
    if (key == key_of(3)) store_.objects[key] = {changed, {}, "anotheretag"};
  };
  const auto result = rewrap(old_, new_);
  EXPECT_EQ(result.rewrapped, kSegments - 1);
  ASSERT_EQ(result.left.size(), 1u);
  EXPECT_THAT(result.left[0].why, HasSubstr("another process"));
  EXPECT_EQ(store_.objects.at(key_of(3)).bytes, changed);
}

/// Its lines are signed, and so prove what they list.
TEST_F(RewrapTest, SignsOnlyWhatTheKeyProves) {
  const auto key = std::make_shared<const SignifyKey>(SignifyKey::make());
  const auto tell = [&](const std::string& id, std::shared_ptr<const SignifyKey> by,
                        std::uint64_t segno, ManifestEntry::Kind kind) {
    const auto& bytes = store_.objects.at(key_of(segno)).bytes;
    ManifestWriter writer(store_, kLayout, std::move(by), log_);
    writer.start({}, id);
    writer.append({.kind = kind,
                   .name = name_of(segno),
                   .size = bytes.size(),
                   .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes),
                   .system_identifier = 4711});
    writer.put();
  };
  tell("compared", key, 1, ManifestEntry::Kind::put);
  tell("seen", key, 2, ManifestEntry::Kind::seen);
  const auto result = store::rewrap(
      store_, kLayout,
      {.identities = {old_}, .recipients = {new_.recipient()}, .key = key, .patience = kOnce},
      log_);
  EXPECT_EQ(result.rewrapped, 2u);
  ASSERT_EQ(result.left.size(), kSegments - 2) << "these have lines without a signature";
  EXPECT_THAT(result.left[0].why, HasSubstr("not listed in a manifest that the key proves"));
  EXPECT_TRUE(reads(new_, 1) && reads(new_, 2) && reads(old_, 3));
  const auto chains = read_manifests(store_, kLayout, std::array{key->public_key()}, {});
  const auto told = told_objects(chains, true);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told.at(name_of(1)).back()->kind, ManifestEntry::Kind::rewrapped);
  for (const auto* const line : told.at(name_of(2)))
    EXPECT_EQ(line->kind, ManifestEntry::Kind::seen);
}

/// The rewraps of any host share a chain: nobody remembers its lines.
TEST_F(RewrapTest, SignsNoLineThatSomebodyElseHasAddedToItsChain) {
  const auto key = std::make_shared<const SignifyKey>(SignifyKey::make());
  const auto next = std::make_shared<const SignifyKey>(SignifyKey::make());
  ManifestWriter archiver(store_, kLayout, key, log_);
  archiver.start({}, "compared");
  const auto& bytes = store_.objects.at(key_of(1)).bytes;
  archiver.append({.name = name_of(1),
                   .size = bytes.size(),
                   .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes),
                   .system_identifier = 4711});
  archiver.put();
  ManifestWriter forger(store_, kLayout, nullptr, log_);
  forger.start_with_store("rewrap");
  forger.append(
      {.kind = ManifestEntry::Kind::rewrapped, .name = name_of(9), .system_identifier = 4711});
  forger.put();
  const auto rewrapped = [&](const AgeIdentity& from, const AgeIdentity& to,
                             std::shared_ptr<const SignifyKey> by,
                             std::vector<SignifyPublic> former) {
    return store::rewrap(store_, kLayout,
                         {.identities = {old_, from},
                          .recipients = {to.recipient()},
                          .key = std::move(by),
                          .former = std::move(former),
                          .patience = kOnce},
                         log_)
        .rewrapped;
  };
  EXPECT_EQ(rewrapped(old_, new_, key, {}), 1u);
  const auto told = [&](const SignifyPublic& by) {
    const auto chains = read_manifests(store_, kLayout, std::array{by}, {});
    std::vector<std::string> names;
    for (const auto& [name, lines] : told_objects(chains, true)) names.push_back(name);
    return names;
  };
  EXPECT_THAT(told(key->public_key()), ElementsAre(name_of(1)));
  // With the next key, the lines of the former one count if it is given.
  const auto third = new_identity();
  EXPECT_EQ(rewrapped(new_, third, next, {}), 0u);
  EXPECT_EQ(rewrapped(new_, third, next, {key->public_key()}), 1u);
  EXPECT_THAT(told(next->public_key()), ElementsAre(name_of(1)));
}

TEST_F(RewrapTest, NeedsAKeyThatReadsAndOneThatSigns) {
  EXPECT_EQ(error_of([&] { rewrap(new_, new_); }).kind(), ErrorKind::refused);
  ManifestWriter writer(store_, kLayout, std::make_shared<const SignifyKey>(SignifyKey::make()),
                        log_);
  writer.start({}, "signed");
  writer.append({.name = name_of(1), .system_identifier = 4711});
  writer.put();
  const auto before = store_.objects.size();
  EXPECT_EQ(error_of([&] { rewrap(old_, new_); }).kind(), ErrorKind::usage);
  EXPECT_EQ(store_.objects.size(), before);
  EXPECT_TRUE(reads(old_, 1));
}

}  // namespace
}  // namespace weir::store::rewrap_test
