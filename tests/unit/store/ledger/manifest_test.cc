#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "archive/listing.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "store/ledger/manifest_chain.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/manifest_prune.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_report.h"
#include "store/ledger/manifest_writer.h"
#include "store/ledger/mark.h"
#include "store/send/publish_open.h"
#include "store/shelf/near_shelf.h"
#include "store/shelf/open_object.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::manifest_test {
namespace {

using test::MemoryStore;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = ManifestEntry::Kind;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");
const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
constexpr const char* kId = "0123456789abcdef";

std::string segment(std::uint64_t segno) { return wal::SegmentName(1, segno, kSize).to_string(); }

test::Bytes content_of(std::uint64_t segno) {
  return test::bytes_of("segment " + std::to_string(segno));
}

ManifestEntry entry_of(std::uint64_t segno) {
  const auto bytes = content_of(segno);
  return {.name = segment(segno) + ".zst",
          .size = bytes.size(),
          .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, bytes),
          .md5 = crypto::digest_of(crypto::Digest::Kind::md5, bytes),
          .first = wal::Lsn(segno * kSize.bytes() + 40),
          .last = wal::Lsn((segno + 1) * kSize.bytes() - 8),
          .commit = wal::PgTime{static_cast<std::int64_t>(800'000'000'000'000 + segno)},
          .system_identifier = 4711};
}

std::string key_of(std::uint64_t segno) {
  return kLayout.key(wal::SegmentName(1, segno, kSize)) + ".zst";
}

class Manifest : public ::testing::Test {
 protected:
  /// Segments with a line each, written by one process.
  ManifestMemory write(std::uint64_t first, std::uint64_t end,
                       const std::optional<ManifestMemory>& memory = {}) {
    ManifestWriter writer(store_, kLayout, key_, log_);
    writer.start(memory, kId);
    for (auto segno = first; segno < end; ++segno) {
      store_.place(key_of(segno), content_of(segno));
      writer.append(entry_of(segno));
      if (segno % 7 == 0) writer.put();
    }
    writer.put();
    return writer.memory();
  }
  ManifestReport report(ManifestQuestion question = {}) {
    question.segment_size = kSize;
    question.keys_given = !keys_.empty();
    NearShelf shelf([this]() -> ObjectStore& { return store_; }, "memory", kLayout, {}, 1);
    question.timelines = archive::Timelines::read(shelf, archive::list_archive(shelf));
    chains_ = read_manifests(store_, kLayout, keys_, {});
    objects_ = list_stored(store_, kLayout, {});
    return check_manifests(chains_, objects_, question);
  }
  std::string object(std::uint64_t number) { return manifest_key(kLayout, kId, number); }
  std::string text(std::uint64_t number) {
    const auto& bytes = store_.objects.at(object(number)).bytes;
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void put_text(std::uint64_t number, const std::string& text) {
    store_.place(object(number), test::bytes_of(text));
  }
  std::vector<std::string> lines(std::uint64_t number) {
    std::vector<std::string> found;
    auto rest = text(number);
    while (!rest.empty()) {
      found.push_back(rest.substr(0, rest.find('\n') + 1));
      rest.erase(0, rest.find('\n') + 1);
    }
    return found;
  }
  void put_lines(std::uint64_t number, const std::vector<std::string>& lines) {
    std::string all;
    for (const auto& line : lines) all += line;
    put_text(number, all);
  }
  void sign() {
    key_ = std::make_shared<const SignifyKey>(SignifyKey::make());
    keys_ = {key_->public_key()};
  }

  MemoryStore store_;
  struct Warnings final : Log {
    void write(LogLevel level, std::string_view message) override {
      if (level == LogLevel::warning) lines.emplace_back(message);
    }
    [[nodiscard]] bool enabled(LogLevel) const override { return true; }
    std::vector<std::string> lines;
  } log_;
  std::shared_ptr<const SignifyKey> key_;
  std::vector<SignifyPublic> keys_;
  std::vector<ManifestChain> chains_;
  StoredObjects objects_;
};

TEST(ManifestLine, HasOneTextForWhatItTells) {
  auto entry = entry_of(3);
  const std::string before = genesis_of("a");
  for (const auto kind : {Kind::put, Kind::same, Kind::seen, Kind::rewrapped, Kind::padded}) {
    entry.kind = kind;
    const ManifestLine line{entry, before};
    EXPECT_EQ(ManifestLine::parse(line.to_text()), line) << line.to_text();
  }
  ManifestLine bare{{.name = "00000002.history", .system_identifier = 1}, before};
  EXPECT_THAT(bare.to_text(), HasSubstr("put 00000002.history 0 - - 0/0 0/0 - - 1 "));
  EXPECT_EQ(ManifestLine::parse(bare.to_text()), bare);
  const ManifestLine begin{{.kind = Kind::begin,
                            .name = segment(7),
                            .system_identifier = 1,
                            .chain = kId,
                            .after = before},
                           before};
  EXPECT_EQ(ManifestLine::parse(begin.to_text()), begin);
  const ManifestLine cut{
      {.kind = Kind::cut, .size = 12, .system_identifier = 1, .chain = kId, .after = before},
      before};
  EXPECT_THAT(cut.to_text(), HasSubstr("cut 12 "));
  EXPECT_EQ(ManifestLine::parse(cut.to_text()), cut);
}

TEST(ManifestLine, IsNothingElse) {
  const auto good = ManifestLine{entry_of(3), genesis_of("a")}.to_text();
  ASSERT_TRUE(ManifestLine::parse(good));
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"put ", "got "},
                                                        {"put ", "put  "},
                                                        {" 4711 ", " 04711 "},
                                                        {" 4711 ", " x "},
                                                        {"0/300028", "0/0300028"},
                                                        {"0/300028", "300028"},
                                                        {"T", " "},
                                                        {"Z ", "+00 "}}) {
    auto text = good;
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), from.size(), to);
    EXPECT_FALSE(ManifestLine::parse(text)) << text;
  }
  EXPECT_FALSE(ManifestLine::parse(""));
  EXPECT_FALSE(ManifestLine::parse(good + " "));
  EXPECT_FALSE(ManifestLine::parse(good.substr(0, good.size() - 1)));
}

TEST_F(Manifest, TellsOfEachSegmentInObjectsOf256Lines) {
  const auto memory = write(1, 601);
  EXPECT_EQ(memory.lines, 600u);
  const auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.objects, 600u);
  ASSERT_EQ(found.chains.size(), 1u);
  EXPECT_EQ(found.chains[0].head, memory.head);
  EXPECT_EQ(found.chains[0].signed_by, "");
  EXPECT_EQ(lines(0).size(), 257u);
  EXPECT_EQ(lines(2).size(), 600u - 512 + 1);
  ASSERT_EQ(found.coverage.size(), 1u);
  EXPECT_EQ(found.coverage[0].from, entry_of(1).first);
  EXPECT_EQ(found.coverage[0].to, entry_of(600).last);
  EXPECT_EQ(found.coverage[0].commit, entry_of(600).commit);
  EXPECT_TRUE(object(0).find("/wals/") == std::string::npos &&
              object(0).find("manifest") != std::string::npos);
}

TEST_F(Manifest, GoesOnWhereAnotherProcessEnded) {
  auto memory = write(1, 100);
  for (std::uint64_t first = 100; first < 600; first += 50)
    memory = write(first, first + 50, memory);
  EXPECT_EQ(memory.lines, 599u);
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings, IsEmpty());
}

/// Google compares generations, and rejects all that is not a number.
TEST_F(Manifest, GoesOnWhereAnETagIsNoDigest) {
  store_.generations = true;
  const auto memory = write(20, 300, write(1, 20));
  EXPECT_EQ(memory.id, kId);
  EXPECT_FALSE(memory.only_full);
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings, IsEmpty());
  for (const std::uint64_t segno : {3, 5}) {
    ManifestWriter writer(store_, kLayout, key_, log_);
    writer.start_with_store(std::string(kPruneChain));
    writer.append({.kind = Kind::begin,
                   .name = segment(segno),
                   .system_identifier = 4711,
                   .chain = kId,
                   .after = memory.head});
    writer.put();
    EXPECT_EQ(report().begin, segment(segno));
  }
  EXPECT_THAT(log_.lines, IsEmpty());
}

TEST_F(Manifest, GoesOnWhereAProcessWasKilledBeforeItCouldRemember) {
  for (const std::uint64_t remembered : {1, 200, 255, 256, 257}) {
    SCOPED_TRACE(remembered);
    store_.objects.clear();
    const auto memory = write(1, remembered + 1);
    write(remembered + 1, 520, memory);
    const auto last = write(400, 530, memory);  // these lines once more
    EXPECT_EQ(last.lines, 519u + 130);
    EXPECT_THAT(report({.expected_heads = {memory.head, last.head}}).findings, IsEmpty());
  }
}

TEST_F(Manifest, HasNoHoleWhateverBecomesOfItsRequests) {
  std::mt19937_64 random(test::seed_or(97));
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start({}, kId);
  std::set<std::string> heads;
  for (std::uint64_t segno = 1; segno < 1200; ++segno) {
    store_.fault = nullptr;
    store_.place(key_of(segno), content_of(segno));
    writer.append(entry_of(segno));
    store_.fault = [&](const MemoryStore::Call&) {
      const auto dice = random() % 3;
      return dice == 0 ? Fault::lost_answer : dice == 1 ? Fault::lost_request : Fault::none;
    };
    if (random() % 40 != 0) continue;
    try {
      writer.put();
      heads.insert(writer.head());
    } catch (const StoreError&) {
    }
    store_.fault = nullptr;
    // Whoever looks now finds a chain that has no hole, and all that was put for sure.
    const auto found = report({.expected_heads = {heads.begin(), heads.end()}});
    EXPECT_THAT(found.findings, IsEmpty()) << segno;
  }
  store_.fault = nullptr;
  writer.put();
  EXPECT_EQ(report().untold, 0u);
}

TEST_F(Manifest, IsNotOverwrittenByARequestThatWasGivenUp) {
  using Conditions = MemoryStore::Conditions;
  const std::vector<std::tuple<Conditions, store::Conditions>> kinds = {
      {Conditions::heeded, store::Conditions::heeded},
      {Conditions::ignored, store::Conditions::ignored},
      {Conditions::refused, store::Conditions::refused},
      {Conditions::unmatched, store::Conditions::ignored}};
  // The first object's first put, one of its later ones, its last one, and the next one's first.
  for (const auto& [of_store, told] : kinds)
    for (const std::uint64_t given_up : {1, 7, 256, 257}) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(told) << " " << given_up);
      // (Refused is the condition, not what is put without one.)
      const bool begins_object = given_up % kManifestLines == 1;
      if (of_store == Conditions::refused && begins_object) continue;
      store_.objects.clear();
      store_.conditions = of_store;
      ManifestWriter writer(store_, kLayout, key_, log_, told);
      writer.start({}, kId);
      for (std::uint64_t segno = 1; segno <= 260; ++segno) {
        store_.place(key_of(segno), content_of(segno));
        writer.append(entry_of(segno));
        store_.fault = [&](const MemoryStore::Call& call) {
          return segno == given_up && call.what == "put" ? Fault::late : Fault::none;
        };
        if (segno == given_up)
          EXPECT_THROW(writer.put(), StoreError);
        else
          writer.put();
      }
      store_.fault = nullptr;
      store_.do_late();
      if (of_store != Conditions::heeded) {
        // (A whole object is the same each time.)
        EXPECT_EQ(report().sound() && report().untold == 0, given_up % kManifestLines == 0)
            << "an older one came over it";
        EXPECT_TRUE(writer.in_doubt());
        writer.look_again();
      } else {
        EXPECT_FALSE(writer.in_doubt());
      }
      EXPECT_THAT(report({.expected_heads = {writer.head()}}).findings, IsEmpty());
      EXPECT_EQ(report().untold, 0u);
      writer.end_doubt();
      EXPECT_FALSE(writer.in_doubt());
    }
}

TEST_F(Manifest, IsInDoubtAfterARestartToo) {
  store_.conditions = MemoryStore::Conditions::ignored;
  auto memory = write(1, 30);
  {
    ManifestWriter writer(store_, kLayout, key_, log_);
    writer.start(memory, kId);
    writer.append(entry_of(100));
    store_.fault = [](const MemoryStore::Call& call) {
      return call.what == "put" ? Fault::late : Fault::none;
    };
    EXPECT_THROW(writer.put(), StoreError);  // and is killed
  }
  store_.fault = nullptr;
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(memory, kId);
  writer.append(entry_of(30));
  writer.append(entry_of(31));
  writer.put();
  const auto head = writer.head();
  store_.do_late();
  EXPECT_THAT(report({.expected_heads = {head}}).findings, Not(IsEmpty()));
  ASSERT_TRUE(writer.in_doubt());
  writer.look_again();
  EXPECT_THAT(report({.expected_heads = {head}}).findings, Each(Not(HasSubstr("rolled back"))));
}

TEST_F(Manifest, GoesOnAfterTheLinesOfAKilledProcessThatComeLate) {
  store_.conditions = MemoryStore::Conditions::heeded;
  for (const bool is_signed : {false, true}) {
    SCOPED_TRACE(is_signed);
    store_.objects.clear();
    if (is_signed) sign();
    const auto memory = write(1, 30);
    for (std::uint64_t segno = 30; segno < 34; ++segno)
      store_.place(key_of(segno), content_of(segno));
    {
      ManifestWriter writer(store_, kLayout, key_, log_, store::Conditions::heeded);
      writer.start(memory, kId);
      for (const std::uint64_t segno : {30, 31, 32}) writer.append(entry_of(segno));
      store_.fault = [](const MemoryStore::Call& call) {
        return call.what == "put" ? Fault::late : Fault::none;
      };
      EXPECT_THROW(writer.put(), StoreError);
    }
    store_.fault = nullptr;
    ManifestWriter writer(store_, kLayout, key_, log_, store::Conditions::heeded);
    writer.start(memory, kId);
    writer.append(entry_of(30));
    store_.do_late();
    const auto late = text(0);
    writer.put();
    EXPECT_EQ(text(0), late);
    EXPECT_EQ(writer.lines(), 32u);
    writer.append(entry_of(33));
    writer.put();
    EXPECT_EQ(writer.lines(), 33u);
    EXPECT_THAT(report({.expected_heads = {memory.head, writer.head()}}).findings, IsEmpty());
    EXPECT_EQ(report().untold, 0u);
  }
  EXPECT_THAT(log_.lines, IsEmpty());
}

TEST_F(Manifest, OfSeveralWritersLosesNoLine) {
  const auto memory = write(1, 20);
  const auto begin_at = [&](std::uint64_t segno) {
    return ManifestEntry{.kind = Kind::begin,
                         .name = segment(segno),
                         .system_identifier = 4711,
                         .chain = kId,
                         .after = memory.head};
  };
  ManifestWriter one(store_, kLayout, key_, log_);
  ManifestWriter other(store_, kLayout, key_, log_);
  for (auto* const writer : {&one, &other}) writer->start_with_store(std::string(kPruneChain));
  one.append(begin_at(3));
  one.put();
  other.append(begin_at(5));
  try {
    other.put();
    ADD_FAILURE() << "the line of the first one is gone";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry);
    EXPECT_THAT(error.what(), HasSubstr("another process has written the manifest"));
  }
  EXPECT_EQ(report().begin, segment(3));
  other.start_with_store(std::string(kPruneChain));
  other.append(begin_at(5));
  other.put();
  EXPECT_EQ(report().begin, segment(5));
}

TEST_F(Manifest, PutsAgainWhatTheStoreHasLost) {
  const auto before = write(1, 300);
  const auto old = text(1);
  const auto memory = write(300, 400, before);
  put_text(1, old);
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings,
              ElementsAre(HasSubstr("rolled back")));
  const auto last = write(400, 401, memory);
  EXPECT_EQ(last.id, memory.id);
  EXPECT_THAT(report({.expected_heads = {memory.head, last.head}}).findings, IsEmpty());
  store_.objects.erase(object(1));
  EXPECT_THAT(report({.expected_heads = {write(401, 402, last).head, last.head}}).findings,
              IsEmpty());
}

/// Its newest object has to be proved for the earlier ones to be.
TEST_F(Manifest, PutsAgainAnObjectThatIsCutOff) {
  for (const bool is_signed : {false, true}) {
    if (is_signed) sign();
    store_.objects.clear();
    const auto memory = write(1, 260);
    const auto whole = text(1);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      SCOPED_TRACE(size);
      put_text(1, whole.substr(0, size));
      const auto last = write(260, 261, memory);
      ASSERT_EQ(last.id, memory.id);
      const auto found = report({.expected_heads = {memory.head, last.head}});
      ASSERT_THAT(found.findings, IsEmpty());
      ASSERT_EQ(found.untold, 0u);
    }
  }
}

/// As where a bucket was emptied: the front of the chain will never be there again.
TEST_F(Manifest, StartsAnewWhereTheStoreHasLostTheChain) {
  const auto memory = write(1, 600);
  store_.objects.clear();
  const std::string id = "fedcba9876543210";
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(memory, id);
  EXPECT_EQ(writer.id(), id);
  writer.put();
  static_cast<void>(report());
  ASSERT_EQ(chains_.size(), 1u);
  EXPECT_EQ(chains_[0].id, id);
  EXPECT_THAT(chains_[0].broken, IsEmpty());
  EXPECT_EQ(chains_[0].lines.size(), memory.tail.size());
  EXPECT_EQ(log_.lines.size(), 1u);
}

TEST_F(Manifest, LeavesAChainThatSomebodyElseHasWritten) {
  const auto memory = write(1, 30);
  write(30, 40, memory);  // a copy of the archive has gone on
  auto mine = memory;
  {  // and so has the archive itself, without being heard
    MemoryStore elsewhere;
    ManifestWriter writer(elsewhere, kLayout, key_, log_);
    writer.start({}, kId);
    for (std::uint64_t segno = 1; segno < 35; ++segno) writer.append(entry_of(segno + 100));
    mine = writer.memory();
  }
  const auto before = text(0);
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(mine, "fedcba");
  EXPECT_EQ(writer.id(), "fedcba");
  writer.append(entry_of(1));
  writer.put();
  EXPECT_EQ(text(0), before);
  EXPECT_EQ(report().chains.size(), 2u);
}

/// While both run: each would overwrite the other's lines, and at the end of an object those before
/// it would no longer be proved.
TEST_F(Manifest, LeavesAChainThatACopyOfTheArchiveContinues) {
  using OfStore = MemoryStore::Conditions;
  std::size_t times = 0;
  for (const bool is_signed : {false, true}) {
    if (is_signed) sign();
    for (const auto of_store :
         {OfStore::heeded, OfStore::ignored, OfStore::refused, OfStore::unmatched}) {
      SCOPED_TRACE(::testing::Message() << is_signed << " " << static_cast<int>(of_store));
      const auto told = of_store == OfStore::heeded    ? Conditions::heeded
                        : of_store == OfStore::refused ? Conditions::refused
                                                       : Conditions::ignored;
      store_.objects.clear();
      store_.conditions = of_store;
      const auto memory = write(1, 250);
      ManifestWriter one(store_, kLayout, key_, log_, told);
      ManifestWriter other(store_, kLayout, key_, log_, told);
      for (auto* const writer : {&one, &other}) writer->start(memory, kId);
      for (std::uint64_t segno = 250; segno < 270; ++segno) {
        store_.place(key_of(segno), content_of(segno));
        for (auto* const writer : {&one, &other}) {
          auto entry = entry_of(segno);
          if (writer == &other) entry.kind = Kind::same;
          writer->append(std::move(entry));
          writer->put();
        }
      }
      EXPECT_NE(one.id(), other.id());
      const auto found = report({.expected_heads = {one.head(), other.head()}});
      EXPECT_THAT(found.findings, IsEmpty());
      EXPECT_EQ(found.untold, 0u);
      EXPECT_EQ(found.chains.size(), 2u);
      EXPECT_EQ(log_.lines.size(), ++times) << "once for each";
    }
  }
}

TEST_F(Manifest, SeesALineThatWasChanged) {
  write(1, 600);
  for (const std::uint64_t number : {0, 1, 2})
    for (const std::size_t at : {1, 2, 50, 80}) {
      SCOPED_TRACE(fmt::format("{} {}", number, at));
      const auto good = text(number);
      const auto all = lines(number);
      const auto found = [&](const std::vector<std::string>& changed) {
        put_lines(number, changed);
        const auto findings = report().findings;
        put_text(number, good);
        return findings;
      };
      auto altered = all;
      altered[at].replace(0, 4, "same ");
      EXPECT_THAT(found(altered), Contains(HasSubstr("a line was changed, removed or moved")));
      auto dropped = all;
      dropped.erase(dropped.begin() + static_cast<std::ptrdiff_t>(at));
      EXPECT_THAT(found(dropped), Contains(HasSubstr("a line was changed, removed or moved")));
      auto swapped = all;
      std::swap(swapped[at], swapped[at + 1]);
      EXPECT_THAT(found(swapped), Contains(HasSubstr("a line was changed, removed or moved")));
      auto repeated = all;
      repeated.insert(repeated.begin() + static_cast<std::ptrdiff_t>(at), all[at]);
      EXPECT_THAT(found(repeated), Contains(HasSubstr("a line was changed, removed or moved")));
      auto nonsense = all;
      nonsense[at] = "nonsense\n";
      EXPECT_THAT(found(nonsense), Contains(HasSubstr("cannot be read")));
      EXPECT_THAT(report().findings, IsEmpty());
    }
}

TEST_F(Manifest, SeesObjectsThatAreGoneOrMoved) {
  write(1, 600);
  const auto whole = store_.objects;
  store_.objects.erase(object(0));
  EXPECT_THAT(report().findings, Contains(HasSubstr("1 manifest object before")));
  store_.objects = whole;
  store_.objects.erase(object(1));
  EXPECT_THAT(report().findings, Contains(HasSubstr("1 manifest object before")));
  store_.objects = whole;
  std::swap(store_.objects[object(0)], store_.objects[object(1)]);
  EXPECT_THAT(report().findings, Contains(HasSubstr("does not match its name")));
  store_.objects = whole;
  auto cut = lines(1);
  cut.resize(100);
  put_lines(1, cut);
  EXPECT_THAT(report().findings, Contains(HasSubstr("lines are missing before")));
}

TEST_F(Manifest, SeesAChainThatWasRolledBackByItsHead) {
  const auto memory = write(1, 600);
  store_.objects.erase(object(2));
  const auto found = report();
  EXPECT_THAT(found.findings, IsEmpty()) << "by itself it is whole";
  EXPECT_EQ(found.untold, 599u - 512);
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings,
              ElementsAre(HasSubstr("rolled back")));
}

TEST_F(Manifest, SeesWhatLiesBehindWhatTheKeyProves) {
  sign();
  write(1, 300);
  // The manifest of last week is put back, and a segment behind it is somebody's own.
  store_.objects.erase(object(1));
  const auto found = report();
  EXPECT_THAT(found.findings, Contains(HasSubstr("newer than all WAL that the public key proves")));
  EXPECT_EQ(found.untold, 299u - 256);
  // What was there before the manifest began, or without a key, is only counted.
  write(300, 310);
  keys_ = {};
  EXPECT_THAT(report().findings, Not(Contains(HasSubstr("is newer than all WAL"))));
}

TEST_F(Manifest, SeesWhatIsNotAsItWasStored) {
  write(1, 10);
  const auto whole = store_.objects;
  store_.objects.erase(key_of(4));
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("1 segments are missing"),
                                             HasSubstr(segment(4) + ".zst is in the manifest")));
  store_.objects = whole;
  store_.place(key_of(4), test::bytes_of("short"));
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("it has 5 bytes, expected 9")));
  store_.place(key_of(4), test::bytes_of("segment X"));
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("its MD5 is")));
  // A store that tells no MD5.
  store_.objects[key_of(4)].etag = "somethingelse";
  auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.by_size, 1u);
  EXPECT_TRUE(
      compare_deeply(store_, {}, objects_, told_objects(chains_, false), {}, 3, found, nullptr));
  EXPECT_THAT(found.findings, ElementsAre(HasSubstr("its SHA-256 is")));
  store_.objects = whole;
  // Put beside it: a raw form is what a recovery would take.
  store_.place(kLayout.key(wal::SegmentName(1, 4, kSize)), test::bytes_of("other"));
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("is not listed in the manifest")));
}

TEST_F(Manifest, DoesNotCountWhatIsMissingInAHoleThatIsKnown) {
  const auto hole = [](std::uint64_t first, std::uint64_t end) {
    archive::Loss loss;
    loss.timeline = loss.next_timeline = 1;
    loss.begin = kSize.start(first);
    loss.end = kSize.start(end);
    return loss;
  };
  write(1, 10);
  for (const std::uint64_t segno : {4, 5, 6}) store_.objects.erase(key_of(segno));
  EXPECT_EQ(report().findings.size(), 4u);
  auto found = report({.known_holes = {hole(4, 7)}});
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_THAT(found.remarks, Contains(HasSubstr("3 segments are missing in holes that are ack")));
  EXPECT_THAT(found.remarks, Contains(HasSubstr("3 objects in the manifest are missing")));
  // Beside it, and on another timeline, it counts.
  EXPECT_THAT(report({.known_holes = {hole(5, 9)}}).findings,
              ElementsAre("1 segments are missing, " + segment(4) + " to " + segment(4),
                          HasSubstr(segment(4) + ".zst is in the manifest")));
  auto other = hole(4, 7);
  other.timeline = other.next_timeline = 2;
  EXPECT_EQ(report({.known_holes = {other}}).findings.size(), 4u);
  // A line that accepts a hole has one timeline.
  for (const std::uint64_t segno : {7, 8, 9}) store_.objects.erase(key_of(segno));
  store_.place(kLayout.history_key(2),
               test::bytes_of(fmt::format("1\t{}\tno reason\n", kSize.start(6) + 100)));
  store_.place(kLayout.key(wal::SegmentName(2, 9, kSize)) + ".zst", content_of(9));
  EXPECT_THAT(report().findings, Contains("5 segments are missing, 000000010000000000000004 to "
                                          "000000020000000000000008"));
  EXPECT_THAT(report({.known_holes = {hole(4, 9)}}).findings,
              ElementsAre(HasSubstr(segment(6)), HasSubstr(segment(7)), HasSubstr(segment(8)),
                          HasSubstr(segment(9))))
      << "those of the timeline that was left";
}

/// A store that encrypts may list an ETag that looks like an MD5, and is another number.
TEST_F(Manifest, GoesByTheContentIfAllOfItIsRead) {
  write(1, 10);
  store_.objects[key_of(3)].etag = std::string(32, 'a');
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("its MD5 is aaa")));
  const auto deep = [&](const ReadDigests& read) {
    auto found = report({.deep = true});
    EXPECT_EQ(found.by_size, 0u);
    EXPECT_TRUE(compare_deeply(store_, {}, objects_, told_objects(chains_, false), read, 3, found,
                               nullptr));
    return found.findings;
  };
  EXPECT_THAT(deep({}), IsEmpty());
  // One that was replaced is found, whatever was read of an older version.
  store_.place(key_of(4), test::bytes_of("segment X"));
  EXPECT_THAT(deep({}), ElementsAre(HasSubstr("its SHA-256 is")));
  EXPECT_THAT(deep({{key_of(4), entry_of(4).sha256}}), ElementsAre(HasSubstr("its SHA-256 is")));
}

TEST_F(Manifest, TellsWhatCannotBeReadWhereItIs) {
  write(1, 10);
  EXPECT_THAT(report().remarks, Not(Contains(HasSubstr("archive class"))));
  for (const std::uint64_t segno : {2, 3}) objects_.at(segment(segno) + ".zst").frozen = true;
  const auto found = check_manifests(chains_, objects_, {});
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.frozen, 2u);
  EXPECT_EQ(found.first_frozen, segment(2) + ".zst");
  EXPECT_THAT(found.remarks, Contains(HasSubstr("2 objects, the last of them " + segment(3) +
                                                ".zst, are in an archive class or tier")));
}

/// A standby asks for them every few seconds.
TEST_F(Manifest, TellsItsNewestLinesWithoutReadingThoseOfRewraps) {
  write(1, 300);
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start_with_store(std::string(kRewrapChain));
  for (std::uint64_t segno = 1; segno < 300; ++segno) {
    auto entry = entry_of(segno);
    entry.kind = Kind::rewrapped;
    for (int run = 0; run < 4; ++run) writer.append(entry);
  }
  writer.put();
  store_.calls.clear();
  const auto last = read_last_lines(store_, kLayout, {}, {});
  EXPECT_EQ(store_.count("get"), 2u) << "one for each chain";
  EXPECT_TRUE(std::any_of(last.begin(), last.end(), [](const ManifestEntry& entry) {
    return entry.kind == Kind::put && entry.name == segment(299) + ".zst";
  }));
}

/// Lines that are read again after the listing, since others may have been written before it.
TEST_F(Manifest, DoesNotMissWhatWasStoredAfterTheListing) {
  const auto memory = write(1, 10);
  EXPECT_THAT(report().findings, IsEmpty());
  const auto before = chains_;
  const auto older = told_objects(before, false);
  const auto listed = objects_;
  write(10, 12, memory);
  EXPECT_THAT(report().findings, IsEmpty());
  EXPECT_THAT(check_manifests(chains_, listed, {}).findings.size(), 2u);
  EXPECT_THAT(check_manifests(chains_, listed, {.older = &older}).findings, IsEmpty());
  auto fewer = listed;
  fewer.erase(segment(4) + ".zst");
  EXPECT_THAT(check_manifests(chains_, fewer, {.older = &older}).findings,
              ElementsAre(HasSubstr(segment(4) + ".zst is in the manifest")));
}

/// The objects are read for hours, and a prune may run meanwhile.
TEST_F(Manifest, TakesNoObjectForAChangedOneThatIsGoneSinceTheListing) {
  write(1, 10);
  auto found = report();
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.what == "get") store_.objects.erase(key_of(4));
    return Fault::none;
  };
  EXPECT_TRUE(
      compare_deeply(store_, {}, objects_, told_objects(chains_, false), {}, 1, found, nullptr));
  EXPECT_THAT(found.findings, IsEmpty());
}

TEST_F(Manifest, SeesSegmentsThatAreMissingAtASwitchOfTimelines) {
  const auto place = [&](wal::TimelineId timeline, std::uint64_t segno) {
    store_.place(kLayout.key(wal::SegmentName(timeline, segno, kSize)) + ".zst", content_of(segno));
  };
  write(3, 6);
  place(2, 8);
  place(2, 9);
  EXPECT_THAT(report().findings,
              ElementsAre("2 segments are missing between 000000010000000000000005 and "
                          "000000020000000000000008"));
  // Timeline 1 is longer than what timeline 2 continues.
  place(2, 5);
  EXPECT_THAT(report().findings, ElementsAre("2 segments are missing, 000000020000000000000006 to "
                                             "000000020000000000000007"));
  place(2, 6);
  place(2, 7);
  EXPECT_THAT(report().findings, IsEmpty());
  // Timeline 3 may start on any older one.
  place(3, 10);
  EXPECT_THAT(report().findings, IsEmpty());
  place(4, 12);
  EXPECT_THAT(report().findings,
              ElementsAre("1 segments are missing between 00000003000000000000000A and "
                          "00000004000000000000000C"));
}

/// The old primary went on: what it wrote does not cover what the new timeline lacks.
TEST_F(Manifest, SeesSegmentsThatAreMissingBesideAnAbandonedTimeline) {
  const auto place = [&](wal::TimelineId timeline, std::uint64_t segno) {
    store_.place(kLayout.key(wal::SegmentName(timeline, segno, kSize)) + ".zst", content_of(segno));
  };
  const auto switched = [](std::uint64_t segno) {
    return fmt::format("1\t{}\tno reason\n", kSize.start(segno) + 100);
  };
  write(11, 17);
  store_.place(kLayout.history_key(2), test::bytes_of(switched(14)));
  EXPECT_THAT(report().findings, IsEmpty()) << "timeline 2 has nothing yet";
  place(2, 17);
  EXPECT_THAT(report().findings, ElementsAre("3 segments are missing, 00000002000000000000000E to "
                                             "000000020000000000000010"));
  for (const std::uint64_t segno : {14, 15, 16}) place(2, segno);
  EXPECT_THAT(report().findings, IsEmpty());
  // Timeline 3 was left before it had a segment; of timeline 4, the same segment is here.
  store_.place(kLayout.history_key(3),
               test::bytes_of(switched(14) + fmt::format("2\t{}\tno\n", kSize.start(18) + 100)));
  store_.place(
      kLayout.history_key(4),
      test::bytes_of(switched(14) + fmt::format("2\t{0}\tno\n3\t{1}\tno\n", kSize.start(18) + 100,
                                                kSize.start(18) + 200)));
  place(4, 18);
  EXPECT_THAT(report().findings, IsEmpty());
}

TEST_F(Manifest, IsPutWhenItIsFullWhereNothingIsReplaced) {
  store_.replaces = false;
  // The first lines are an object that stays as it is; all are in a new chain as well.
  auto memory = write(1, 20);
  EXPECT_TRUE(memory.only_full);
  EXPECT_NE(memory.id, kId);
  EXPECT_EQ(memory.lines, 19u);
  EXPECT_EQ(store_.puts[object(0)], 1u);
  const auto is_there = [&](std::uint64_t number) {
    return store_.objects.contains(manifest_key(kLayout, memory.id, number));
  };
  EXPECT_FALSE(is_there(0));
  EXPECT_FALSE(stored_head(memory)) << "all lines wait";
  // Another process goes on with what is remembered, and complains of nothing.
  memory = write(20, kManifestLines + 10, memory);
  EXPECT_EQ(memory.lines, kManifestLines + 9);
  EXPECT_EQ(memory.tail.size(), 9u);
  EXPECT_TRUE(is_there(0));
  EXPECT_FALSE(is_there(1));
  EXPECT_THAT(log_.lines, ElementsAre(HasSubstr("cannot be replaced")));
  auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.untold, 9u) << "known to the archiver only";
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings, Not(IsEmpty()));
  EXPECT_THAT(report({.expected_heads = {stored_head(memory).value()}}).findings, IsEmpty());
  memory = write(kManifestLines + 10, 2 * kManifestLines + 1, memory);
  EXPECT_TRUE(is_there(1));
  EXPECT_EQ(stored_head(memory), memory.head);
  found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.untold, 0u);
}

TEST_F(Manifest, OfOneWhoMayWriteNothingIsNoNewOne) {
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" ? MemoryStore::Fault::refused : MemoryStore::Fault::none;
  };
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start({}, kId);
  writer.append(entry_of(1));
  EXPECT_THROW(writer.put(), StoreError);
  EXPECT_EQ(writer.id(), kId);
  EXPECT_TRUE(writer.due());
  // Nor is it one where rights to replace objects are not apart, and a refusal is another trouble.
  store_.fault = nullptr;
  writer.put();
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" ? MemoryStore::Fault::refused : MemoryStore::Fault::none;
  };
  writer.append(entry_of(2));
  EXPECT_THROW(writer.put(), StoreError);
  EXPECT_EQ(writer.id(), kId);
  EXPECT_FALSE(writer.memory().only_full);
}

TEST_F(Manifest, SaysThatAnotherProgramsRetentionMayHaveRemovedTheBeginning) {
  const auto word = HasSubstr("\"pgweir prune --store ... --keep-from " + segment(4) + "\"");
  write(1, 10);
  EXPECT_THAT(report().remarks, Not(Contains(word)));
  for (const std::uint64_t segno : {1, 2, 3}) store_.objects.erase(key_of(segno));
  EXPECT_THAT(report().remarks, Contains(word));
  // Not if others are gone, too.
  store_.objects.erase(key_of(6));
  EXPECT_THAT(report().remarks, Not(Contains(word)));
}

TEST_F(Manifest, LetsAnObjectGoThatIsThereInAnotherForm) {
  write(1, 10);
  store_.objects.erase(key_of(4));
  const auto raw = kLayout.key(wal::SegmentName(1, 4, kSize));
  store_.place(raw, content_of(4));
  auto again = entry_of(4);
  again.name = segment(4);
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start({}, "other");
  writer.append(again);
  writer.put();
  EXPECT_THAT(report().findings, IsEmpty());
}

TEST_F(Manifest, BelievesWhatTheKeyProvesAndNothingElse) {
  sign();
  const auto memory = write(1, 300);
  auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_TRUE(found.chains[0].proved);
  EXPECT_EQ(found.chains[0].signed_by, to_string(key_->public_key().number));
  // Somebody who has no key writes a chain of his own, that fits what he has put there.
  store_.place(key_of(4), test::bytes_of("segment X"));
  auto forged = entry_of(4);
  forged.md5 = crypto::digest_of(crypto::Digest::Kind::md5, test::bytes_of("segment X"));
  for (const auto& key : {std::shared_ptr<const SignifyKey>(),
                          std::make_shared<const SignifyKey>(SignifyKey::make())}) {
    ManifestWriter writer(store_, kLayout, key, log_);
    writer.start({}, "forged");
    writer.append(forged);
    writer.put();
    EXPECT_THAT(report().findings, ElementsAre(HasSubstr("its lines are ignored"),
                                               HasSubstr("does not match the manifest")));
  }
  store_.objects.erase(manifest_key(kLayout, "forged", 0));
  store_.place(key_of(4), content_of(4));
  // The chain itself, changed in its newest object and linked anew.
  const auto whole = text(1);
  auto changed = whole;
  changed.replace(changed.rfind("put "), 4, "same ");
  put_text(1, changed);
  EXPECT_THAT(report().findings, Contains(HasSubstr("does not match its lines")));
  put_text(1, whole);
  // Its signature taken away.
  const auto all = lines(1);
  put_lines(1, {all.begin() + 2, all.end()});
  EXPECT_THAT(report().findings, Contains(HasSubstr("is not signed")));
  // Our own next process finds that, too, and signs it again.
  write(300, 301, memory);
  EXPECT_THAT(report().findings, IsEmpty());
}

/// The newest object is signed, and as it was. An older one is not needed to write it again.
TEST_F(Manifest, BelievesNoLineThatTheNewestObjectIsNotLinkedTo) {
  sign();
  write(1, 2 * kManifestLines + 50);
  const auto whole = store_.objects;
  const auto is_believed = [&](std::uint64_t segno) {
    return told_objects(read_manifests(store_, kLayout, keys_, {}), true)
        .contains(segment(segno) + ".zst");
  };
  const auto restored = [&](std::uint64_t segno) -> std::string {
    NearShelf shelf([this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout, kOnce, 1,
                    {}, keys_);
    try {
      return shelf.open_bytes(segment(segno) + ".zst") ? "yes" : "no";
    } catch (const Error& error) {
      return error.message();
    }
  };
  EXPECT_TRUE(is_believed(4) && is_believed(300) && is_believed(550));
  EXPECT_EQ(restored(4), "yes");

  // Whoever may write to the bucket replaces a segment, and the object with its line.
  store_.place(key_of(4), test::bytes_of("segment X"));
  auto forged = entry_of(4);
  forged.sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, test::bytes_of("segment X"));
  forged.md5 = crypto::digest_of(crypto::Digest::Kind::md5, test::bytes_of("segment X"));
  std::vector<std::string> linked;
  auto before = genesis_of(kId);
  for (std::uint64_t segno = 1; segno <= kManifestLines; ++segno) {
    linked.push_back(ManifestLine{segno == 4 ? forged : entry_of(segno), before}.to_text());
    before = hash_of_line(linked.back());
  }
  put_text(0, manifest_text({kId, 0}, linked));
  const auto found = report();
  EXPECT_TRUE(found.chains[0].proved);
  EXPECT_THAT(found.findings, Contains(HasSubstr("does not continue the previous line")));
  EXPECT_FALSE(is_believed(4));
  EXPECT_THAT(restored(4), HasSubstr("not listed in a manifest that the public key proves"));
  EXPECT_TRUE(is_believed(300) && is_believed(550)) << "later lines are proved as before";
  EXPECT_EQ(restored(300), "yes");

  // A line alone, which the one after it does not continue.
  store_.objects = whole;
  auto some = lines(1);
  const auto at = std::find_if(some.begin(), some.end(), [](const std::string& line) {
    return line.find(segment(300)) != line.npos;
  });
  at->replace(at->find("put "), 4, "same ");
  put_lines(1, some);
  EXPECT_FALSE(is_believed(4) || is_believed(300));
  EXPECT_TRUE(is_believed(301) && is_believed(550));

  // Nor what precedes an object that is gone, or is not the one of its name.
  store_.objects = whole;
  store_.objects.erase(object(1));
  EXPECT_FALSE(is_believed(4));
  EXPECT_TRUE(is_believed(550));
  store_.objects = whole;
  store_.objects[object(2)] = whole.at(object(1));
  EXPECT_FALSE(is_believed(4) || is_believed(300));
}

/// An object that the archiver could not compare: anybody who can write to the bucket may have put
/// it there first.
TEST_F(Manifest, DoesNotProveWhatWasOnlySeen) {
  sign();
  write(1, 3);
  const auto restored = [&] {
    NearShelf shelf([this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout, kOnce, 1,
                    {}, keys_);
    return shelf.open_bytes(segment(3) + ".zst") != nullptr;
  };
  store_.place(key_of(3), content_of(3));
  auto entry = entry_of(3);
  entry.kind = Kind::seen;
  const auto tell = [&](const std::string& id) {
    ManifestWriter writer(store_, kLayout, key_, log_);
    writer.start({}, id);
    writer.append(entry);
    writer.put();
  };
  tell("one");
  EXPECT_THAT(test::error_of(restored).message(), HasSubstr("not listed in a manifest"));
  EXPECT_EQ(report().not_compared, 1u);
  entry.kind = Kind::put;
  tell("other");
  EXPECT_TRUE(restored());
}

/// It starts again, and somebody has added a line meanwhile.
TEST_F(Manifest, SignsNoLineThatItHasNotPut) {
  sign();
  auto memory = write(1, 10);
  const auto is_true = [&] {
    const auto told = told_objects(read_manifests(store_, kLayout, keys_, {}), true);
    return told.contains(segment(4) + ".zst") && !told.contains(segment(99) + ".zst");
  };
  auto forged = entry_of(99);
  for (const bool with_signature : {false, true}) {
    SCOPED_TRACE(with_signature);
    auto all = lines(0);
    if (!with_signature) all.erase(all.begin(), all.begin() + 2);
    all.push_back(ManifestLine{forged, memory.head}.to_text() + "\n");
    put_lines(0, all);
    log_.lines.clear();
    memory = write(10, 12, memory);
    EXPECT_TRUE(is_true());
    EXPECT_THAT(log_.lines, ElementsAre(HasSubstr("1 unknown lines that are not signed")));
    EXPECT_THAT(report().findings, IsEmpty());
  }
  // One that it has put, and was killed before it could remember, is its own.
  log_.lines.clear();
  write(12, 14, memory);
  memory = write(14, 16, memory);
  EXPECT_EQ(memory.lines, 15u + 2);
  EXPECT_THAT(log_.lines, IsEmpty());
}

/// The chains of the prunes, rewraps and published segments have no single writer, who would
/// remember its lines.
class SharedManifest : public Manifest {
 protected:
  void SetUp() override {
    sign();
    memory_ = write(1, 10);
  }
  void add(const std::shared_ptr<const SignifyKey>& key, const ManifestEntry& entry,
           std::string_view chain = kPruneChain) {
    ManifestWriter writer(store_, kLayout, key, log_);
    writer.start_with_store(std::string(chain));
    writer.append(entry);
    writer.put();
  }
  [[nodiscard]] ManifestEntry begin_at(std::uint64_t segno) const {
    return {.kind = Kind::begin,
            .name = segment(segno),
            .system_identifier = 4711,
            .chain = kId,
            .after = memory_.head};
  }
  [[nodiscard]] std::string begin(std::span<const SignifyPublic> keys) {
    const auto begin = recorded_begin(read_manifests(store_, kLayout, keys, {}), true);
    return begin ? begin->to_string() : "";
  }
  [[nodiscard]] bool is_told(std::uint64_t segno) {
    return told_objects(read_manifests(store_, kLayout, keys_, {}), true)
        .contains(segment(segno) + ".zst");
  }

  ManifestMemory memory_;
};

TEST_F(SharedManifest, TakesNoSegmentFromAPrune) {
  add(key_, entry_of(99));
  add(key_, begin_at(2));
  EXPECT_EQ(begin(keys_), segment(2));
  EXPECT_TRUE(is_told(3));
  EXPECT_FALSE(is_told(99));
}

TEST_F(SharedManifest, SignsNoLineThatItsKeyHasNotSigned) {
  const auto former = std::make_shared<const SignifyKey>(SignifyKey::make());
  add(nullptr, begin_at(9));
  add(former, begin_at(8));
  add(key_, begin_at(2));
  EXPECT_EQ(begin(keys_), segment(2));
  EXPECT_EQ(begin(proofs_of(key_, std::array{former->public_key()})), segment(8))
      << "for those who trust that key, too";

  // Somebody adds a line to the chain of the key itself.
  const auto name = manifest_key(kLayout, std::string(kPruneChain) + to_string(keys_[0].number), 0);
  const auto whole = store_.objects.at(name);
  const std::string signed_text(reinterpret_cast<const char*>(whole.bytes.data()),
                                whole.bytes.size());
  const auto last = signed_text.rfind('\n', signed_text.size() - 2) + 1;
  const auto head = hash_of_line(signed_text.substr(last, signed_text.size() - last - 1));
  for (const bool with_signature : {false, true}) {
    SCOPED_TRACE(with_signature);
    auto forged = signed_text + ManifestLine{begin_at(9), head}.to_text() + "\n";
    if (!with_signature) forged = SignedText::parse(forged)->text;
    store_.place(name, test::bytes_of(forged));
    const auto error = test::error_of([&] { add(key_, begin_at(3)); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.what(), HasSubstr("no longer signed with its key"));
    EXPECT_EQ(store_.objects.at(name).bytes, test::bytes_of(forged));
  }
  store_.objects[name] = whole;
  add(key_, begin_at(3));
  EXPECT_EQ(begin(keys_), segment(3));
}

TEST_F(SharedManifest, TellsOfAPublishedSegmentAlthoughSomebodyElseHas) {
  add(nullptr, entry_of(99), "published");
  add(nullptr, entry_of(11), "published");
  EXPECT_TRUE(tell_published(store_, kLayout, entry_of(11), key_, {}, log_));
  EXPECT_TRUE(is_told(11));
  EXPECT_FALSE(is_told(99));
  const auto puts = store_.count("put");
  EXPECT_TRUE(tell_published(store_, kLayout, entry_of(11), key_, {}, log_));
  EXPECT_EQ(store_.count("put"), puts);
}

TEST_F(Manifest, IsSignedAsSoonAsThereIsAKey) {
  const auto memory = write(1, 10);
  sign();
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(memory, kId);
  EXPECT_TRUE(writer.due());
  writer.put();
  EXPECT_THAT(report().findings, IsEmpty());
}

TEST_F(Manifest, BeginsWhereAPruneHasSaid) {
  const auto memory = write(1, 300);
  for (std::uint64_t segno = 1; segno < 200; ++segno) store_.objects.erase(key_of(segno));
  EXPECT_FALSE(report().sound());
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start_with_store("prune");
  writer.append({.kind = Kind::begin,
                 .name = segment(200),
                 .system_identifier = 4711,
                 .chain = kId,
                 .after = memory.head});
  writer.put();
  auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_EQ(found.begin, segment(200));
  EXPECT_EQ(found.coverage[0].first, segment(200));
  store_.objects.erase(key_of(200));
  EXPECT_FALSE(report().sound());
  store_.place(key_of(200), content_of(200));
  // The chain that the prune saw, rolled back since.
  store_.objects.erase(object(1));
  EXPECT_THAT(report().findings, Contains(HasSubstr("that was its last one at a prune")));
  // The next one goes on behind it.
  ManifestWriter next(store_, kLayout, key_, log_);
  next.start_with_store("prune");
  EXPECT_EQ(next.lines(), 1u);
}

/// As `pgweir prune` does it.
class PrunedManifest : public Manifest {
 protected:
  void prune(std::uint64_t begin) {
    const wal::SegmentName first(1, begin, kSize);
    ManifestWriter writer(store_, kLayout, key_, log_);
    writer.start_with_store(std::string(kPruneChain));
    for (auto& line :
         prune_lines(read_manifests(store_, kLayout, keys_, {}), first, 4711, !keys_.empty()))
      writer.append(std::move(line));
    writer.put();
    for (std::uint64_t segno = 1; segno < begin; ++segno) store_.objects.erase(key_of(segno));
  }
  std::vector<std::string> remove_needless(std::uint64_t begin) {
    auto keys = needless_objects(store_, kLayout, wal::SegmentName(1, begin, kSize), keys_, {});
    for (const auto& key : keys) store_.objects.erase(key);
    return keys;
  }
};

TEST_F(PrunedManifest, HasNoGapBeforeTheTimelineWithWhichItBegins) {
  write(1, 6);
  for (const std::uint64_t segno : {8, 9})
    store_.place(kLayout.key(wal::SegmentName(2, segno, kSize)) + ".zst", content_of(segno));
  EXPECT_THAT(report().findings, ElementsAre(HasSubstr("2 segments are missing")));
  prune(8);
  EXPECT_THAT(report().findings, IsEmpty());
}

TEST_F(PrunedManifest, TakesNoteOfWhatAnotherProgramRemovedFromTheBeginning) {
  write(1, 30);
  for (std::uint64_t segno = 1; segno < 10; ++segno) store_.objects.erase(key_of(segno));
  const wal::SegmentName first(1, 10, kSize);
  const auto chains = [&] { return read_manifests(store_, kLayout, keys_, {}); };
  EXPECT_EQ(told_before(chains(), first, !keys_.empty()).size(), 9u);
  EXPECT_EQ(report().findings.size(), 9u);
  EXPECT_THAT(report().remarks, Contains(HasSubstr("--keep-from 00000001000000000000000A")));
  prune(10);
  EXPECT_THAT(told_before(chains(), first, !keys_.empty()), IsEmpty());
  EXPECT_THAT(report().findings, IsEmpty());
  EXPECT_THAT(report().remarks, Not(Contains(HasSubstr("--keep-from"))));
  // In the midst it is missed as before.
  store_.objects.erase(key_of(10));
  store_.objects.erase(key_of(20));
  EXPECT_FALSE(report().sound());
  EXPECT_THAT(report().remarks, Not(Contains(HasSubstr("--keep-from"))));
}

/// A recovery from the archive's directory, which has older WAL than the store, has begun timeline
/// 2 before the recorded start.
TEST_F(PrunedManifest, MissesWhatATimelineThatBeganBeforeTheRecordedStartHasLost) {
  const auto memory = write(1, 10);
  prune(8);
  const auto name_of = [](std::uint64_t segno) { return wal::SegmentName(2, segno, kSize); };
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(memory, kId);
  for (const std::uint64_t segno : {5, 6, 7}) {
    store_.place(kLayout.key(name_of(segno)) + ".zst", content_of(segno));
    auto entry = entry_of(segno);
    entry.name = name_of(segno).to_string() + ".zst";
    writer.append(entry);
  }
  writer.put();
  EXPECT_THAT(report().findings, IsEmpty());
  ASSERT_EQ(report().coverage.size(), 2u);
  EXPECT_EQ(report().coverage[1].segments, 3u);
  store_.objects.erase(kLayout.key(name_of(6)) + ".zst");
  EXPECT_THAT(report().findings,
              Contains(HasSubstr("000000020000000000000006.zst is in the manifest, but missing")));
  EXPECT_EQ(report().begin, segment(8));
  const auto chains = read_manifests(store_, kLayout, keys_, {});
  EXPECT_THAT(told_before(chains, name_of(7), !keys_.empty()), ElementsAre(name_of(5), name_of(6)));
}

TEST_F(PrunedManifest, LosesTheObjectsThatNoSegmentNeeds) {
  for (const bool is_signed : {false, true}) {
    SCOPED_TRACE(is_signed);
    store_.objects.clear();
    keys_.clear();
    key_.reset();
    if (is_signed) sign();
    const auto memory = write(1, 900);
    prune(600);
    EXPECT_THAT(report().findings, IsEmpty()) << "killed before they went";
    const auto reads = store_.count("get");
    EXPECT_THAT(remove_needless(600), ElementsAre(object(0), object(1)));
    EXPECT_EQ(store_.count("get"), reads + 1) << "of manifests, only what the prunes have written";
    auto found = report({.expected_heads = {memory.head}});
    EXPECT_THAT(found.findings, IsEmpty());
    EXPECT_EQ(found.chains[0].lines, 899u);
    EXPECT_EQ(found.coverage[0].first, segment(600));
    EXPECT_TRUE(
        compare_deeply(store_, {}, objects_, told_objects(chains_, false), {}, 2, found, nullptr));
    EXPECT_THAT(found.findings, IsEmpty());
    // A head of before: the one at the cut is known, others are not.
    const auto& cut = *chains_[0].cut;
    EXPECT_THAT(report({.expected_heads = {cut.after}}).findings, IsEmpty());
    EXPECT_THAT(report({.expected_heads = {hash_of_line("another one")}}).findings,
                ElementsAre(HasSubstr("a prune has removed that line")));
    // The archiver goes on, and so does the next prune.
    static_cast<void>(write(900, 1300, memory));
    EXPECT_THAT(report().findings, IsEmpty());
    prune(1100);
    EXPECT_THAT(remove_needless(1100), ElementsAre(object(2), object(3)));
    EXPECT_THAT(report().findings, IsEmpty());
    EXPECT_THAT(remove_needless(1100), IsEmpty());
  }
}

TEST_F(PrunedManifest, IsCutWithAnotherKeyAsWithTheFormerOne) {
  sign();
  auto memory = write(1, 900);
  prune(600);
  static_cast<void>(remove_needless(600));
  const auto former = keys_[0];
  sign();
  keys_.push_back(former);
  memory = write(900, 1300, memory);
  EXPECT_THAT(report().findings, IsEmpty());
  prune(1100);
  EXPECT_THAT(remove_needless(1100), ElementsAre(object(2), object(3)));
  EXPECT_THAT(report({.expected_heads = {memory.head}}).findings, IsEmpty());
  EXPECT_EQ(chains_.size(), 3u) << "a chain of prunes for each key";
}

TEST_F(PrunedManifest, IsMissedWhereNoPruneHasSaidSo) {
  sign();
  static_cast<void>(write(1, 900));
  prune(600);
  static_cast<void>(remove_needless(600));
  const auto before = store_.objects;
  const auto prunes =
      manifest_key(kLayout, std::string(kPruneChain) + to_string(keys_[0].number), 0);
  EXPECT_THAT(report().findings, IsEmpty());
  const auto after = chains_[0].lines[kManifestLines].before;
  store_.objects.erase(prunes);
  EXPECT_THAT(report().findings, Contains(HasSubstr("manifest objects before")));
  // Without its key nobody says where a chain begins.
  store_.objects = before;
  key_ = std::make_shared<const SignifyKey>(SignifyKey::make());
  store_.objects.erase(prunes);
  ManifestWriter forged(store_, kLayout, key_, log_);
  forged.start_with_store(std::string(kPruneChain));
  forged.append(
      {.kind = Kind::cut, .size = 3, .system_identifier = 4711, .chain = kId, .after = after});
  forged.put();
  EXPECT_THAT(report().findings, Contains(HasSubstr("manifest objects before")));
  // What a prune has left behind counts for nothing, one object behind it that is gone for much.
  store_.objects = before;
  store_.objects.erase(object(2));
  EXPECT_THAT(report().findings, Contains(HasSubstr("before")));
}

TEST_F(PrunedManifest, TellsAgainOfHistories) {
  const auto memory = write(1, 300);
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start(memory, kId);
  const auto history = test::bytes_of("1\t0/100\tno reason\n");
  store_.place(kLayout.history_key(2), history);
  writer.append({.name = "00000002.history",
                 .size = history.size(),
                 .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, history),
                 .md5 = crypto::digest_of(crypto::Digest::Kind::md5, history),
                 .system_identifier = 4711});
  writer.put();
  static_cast<void>(write(300, 1000, writer.memory()));
  prune(700);
  EXPECT_EQ(remove_needless(700).size(), 2u);
  EXPECT_THAT(report().findings, IsEmpty());
  EXPECT_EQ(report().untold, 0u);
  store_.objects.erase(kLayout.history_key(2));
  EXPECT_THAT(report().findings,
              Contains(HasSubstr("00000002.history is in the manifest, but missing")));
}

TEST_F(PrunedManifest, LeavesAChainAloneThatIsNotWhole) {
  static_cast<void>(write(1, 900));
  auto changed = lines(0);
  changed.erase(changed.begin() + 7);
  put_lines(0, changed);
  prune(600);
  EXPECT_THAT(remove_needless(600), IsEmpty());
  EXPECT_FALSE(report().sound());
}

TEST_F(PrunedManifest, TakesWhatIsLeftOfOpenSegments) {
  static_cast<void>(write(1, 20));
  const auto open = [&](wal::TimelineId timeline, std::uint64_t segno) {
    const wal::SegmentName name(timeline, segno, kSize);
    const auto key =
        OpenObject{.segment = name, .end = name.start(kSize) + 100, .id = "a-1"}.key(kLayout);
    store_.place(key, test::bytes_of("wal"));
    return key;
  };
  const auto first = open(1, 9);
  const auto other = open(2, 8);
  static_cast<void>(open(1, 10));
  const auto published = [&](std::uint64_t segno) {
    const auto name = archive::published_open_name(wal::SegmentName(1, segno, kSize));
    store_.place(*kLayout.key_of(name), test::bytes_of("{}"));
    return *kLayout.key_of(name);
  };
  const auto record = published(9);
  static_cast<void>(published(10));
  prune(10);
  EXPECT_THAT(remove_needless(10), ElementsAre(first, other, record));
}

TEST_F(Manifest, CountsAPaddedSegmentUntilTheTrueOneComes) {
  static_cast<void>(write(1, 5));
  const auto padded = test::bytes_of("padded");
  const auto name = segment(5) + ".gz";
  const auto key = kLayout.key(wal::SegmentName(1, 5, kSize)) + ".gz";
  ManifestEntry entry{.kind = Kind::padded,
                      .name = name,
                      .size = padded.size(),
                      .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, padded),
                      .md5 = crypto::digest_of(crypto::Digest::Kind::md5, padded),
                      .last = wal::Lsn(5 * kSize.bytes() + 1000),
                      .system_identifier = 4711};
  store_.place(key, padded);
  EXPECT_TRUE(tell_published(store_, kLayout, entry, key_, {}, log_));
  EXPECT_TRUE(tell_published(store_, kLayout, entry, key_, {}, log_));
  auto found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_THAT(found.remarks, Contains(HasSubstr(name + ": padded after 0/5003E8")));
  EXPECT_EQ(found.untold, 0u);
  EXPECT_EQ(chains_[1].lines.size(), 1u) << "told once";
  // The true one, in another form: the padded one is no longer to be there.
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start_with_store(kId);
  writer.append(entry_of(5));
  writer.put();
  store_.place(key_of(5), content_of(5));
  EXPECT_THAT(report().findings, Contains(HasSubstr("is not listed in the manifest")));
  store_.objects.erase(key);
  found = report();
  EXPECT_THAT(found.findings, IsEmpty());
  EXPECT_THAT(found.remarks, Not(Contains(HasSubstr("padded"))));
}

/// While the manifests are compared with the objects.
TEST_F(Manifest, TakesNoPaddedSegmentForAChangedOneThatIsReplacedAfterTheListing) {
  write(1, 5);
  const auto padded = test::bytes_of("padded");
  store_.place(key_of(5), padded);
  ManifestEntry entry{.kind = Kind::padded,
                      .name = segment(5) + ".zst",
                      .size = padded.size(),
                      .sha256 = crypto::digest_of(crypto::Digest::Kind::sha256, padded),
                      .last = wal::Lsn(5 * kSize.bytes() + 1000),
                      .system_identifier = 4711};
  EXPECT_TRUE(tell_published(store_, kLayout, entry, key_, {}, log_));
  EXPECT_THAT(report().findings, IsEmpty());
  const auto before = chains_;
  const auto older = told_objects(before, false);
  const auto listed = objects_;
  store_.place(key_of(5), content_of(5));
  ManifestWriter writer(store_, kLayout, key_, log_);
  writer.start_with_store(kId);
  writer.append(entry_of(5));
  writer.put();
  EXPECT_THAT(report().findings, IsEmpty());
  EXPECT_THAT(check_manifests(chains_, listed, {.older = &older}).findings, IsEmpty());
  // If that had been so before the listing, the object would be an older one, put back.
  const auto since = told_objects(chains_, false);
  EXPECT_THAT(check_manifests(chains_, listed, {.older = &since}).findings,
              ElementsAre(HasSubstr("does not match the manifest")));
}

TEST_F(Manifest, IsNotWrittenUnsignedWhereItIsSigned) {
  sign();
  static_cast<void>(write(1, 5));
  EXPECT_FALSE(tell_published(store_, kLayout, entry_of(5), nullptr, {}, log_));
  EXPECT_TRUE(tell_published(store_, kLayout, entry_of(5), key_, {}, log_));
  store_.place(key_of(5), content_of(5));
  EXPECT_THAT(report().findings, IsEmpty());
}

}  // namespace
}  // namespace weir::store::manifest_test
