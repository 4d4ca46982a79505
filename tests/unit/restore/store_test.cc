// Restoring out of an object store, alone and as the second home of a directory: what the store
// cannot tell is never told as absent, and few requests are enough.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "archive/own_names.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"
#include "restore/restore.h"
#include "store/ledger/manifest_chain.h"
#include "store/shelf/near_shelf.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"
#include "support/wal_builder.h"

namespace weir::restore::store_test {
namespace {

using codec::Method;
using store::Layout;
using store::NearShelf;
using test::Bytes;
using test::MemoryStore;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using Fault = MemoryStore::Fault;

constexpr const char* kClaim =
    R"({"version": 1, "system_identifier": "1", "segment_size": 1048576, "layout": "barman"})";

std::string name_of(wal::TimelineId timeline, std::uint64_t segno) {
  return wal::SegmentName(timeline, segno, kSize).to_string();
}

class Messages final : public Log {
 public:
  void write(LogLevel, std::string_view message) override { text += std::string(message) + "\n"; }
  bool enabled(LogLevel) const override { return true; }
  std::string text;
};

class RestoreFromStore : public ::testing::TestWithParam<Layout::Form> {
 protected:
  void SetUp() override {
    wal_.grow_to(Lsn(10 * kSize.bytes()));
    options_.system_identifier = wal_.options().system_identifier;
  }

  std::string key(std::uint64_t segno, Method method = Method::none, wal::TimelineId timeline = 1) {
    return layout_.key(archive::SegmentFileName{wal::SegmentName(timeline, segno, kSize), method});
  }
  Bytes content(std::uint64_t segno) {
    const auto bytes = ArchiveBuilder::content(wal_, segno);
    return {bytes.begin(), bytes.end()};
  }
  void put(std::uint64_t segno, Method method = Method::none) {
    store_.place(key(segno, method),
                 method == Method::none
                     ? content(segno)
                     : verify::packed(method, ArchiveBuilder::content(wal_, segno)));
  }
  void put_history(wal::TimelineId timeline, const std::string& text) {
    store_.place(layout_.history_key(timeline), test::as_bytes(text));
  }

  void claim() { store_.place(layout_.own_key("pgweir.json"), test::as_bytes(kClaim)); }
  /// A chain of lines that tell of these objects.
  void tell(const std::vector<std::string>& names, const std::string& chain,
            const store::SignifyKey* key = nullptr) {
    std::vector<std::string> lines;
    auto before = store::genesis_of(chain);
    for (const auto& name : names) {
      const auto segment = wal::SegmentName::parse(name);
      const auto digest = segment && key != nullptr
                              ? crypto::to_hex(crypto::sha256(content(segment->segno(kSize))))
                              : std::string(64, 'a');
      lines.push_back(store::ManifestLine{{.name = name,
                                           .size = 1,
                                           .sha256 = digest,
                                           .md5 = std::string(32, 'b'),
                                           .system_identifier = 1},
                                          before}
                          .to_text());
      before = store::hash_of_line(lines.back());
    }
    const auto text = store::manifest_text({chain, 0}, lines);
    store_.place(store::manifest_key(layout_, chain, 0),
                 test::as_bytes(key != nullptr ? key->sign(text) : text));
  }

  /// 0, 1 or 200, as the command would say.
  int ask(const std::string& file, bool with_directory = false) {
    what_.clear();
    restored_.clear();
    store_.calls.clear();
    const auto request = parse_request(file);
    NearShelf stored([this]() -> store::ObjectStore& { return store_; }, "s3://memory/p", layout_,
                     {.retry_for = std::chrono::milliseconds(0)}, 1, {}, keys_);
    if (const auto* const segment = std::get_if<wal::SegmentName>(&request))
      stored.look_around(*segment);
    else
      stored.look_around_histories();
    const auto local = local_.disk.open();
    std::vector<io::Shelf*> shelves;
    if (with_directory) shelves.push_back(local.get());
    options_.store = shelves.size();
    options_.stored = &stored;
    shelves.push_back(&stored);
    sim::SimDisk target;
    const auto to = target.open();
    int status = 200;
    try {
      status = restore_file(shelves, request, *to, "RECOVERYXLOG", options_, log_).restored ? 0 : 1;
    } catch (const Error& error) {
      what_ = error.what();
    }
    if (const auto written = to->open_bytes("RECOVERYXLOG")) {
      restored_.resize(written->size());
      EXPECT_EQ(written->read_at(0, restored_), restored_.size());
    }
    EXPECT_EQ(status == 0, !restored_.empty());
    return status;
  }

  WalBuilder wal_{WalBuilder::Options{.switch_every = 0}};
  std::vector<store::SignifyPublic> keys_{};
  Layout layout_{GetParam(), {"memory", "p"}, "main"};
  MemoryStore store_;
  ArchiveBuilder local_;
  Options options_{};
  Messages log_;
  std::string what_;
  Bytes restored_;
};

INSTANTIATE_TEST_SUITE_P(Layouts, RestoreFromStore,
                         ::testing::Values(Layout::Form::barman, Layout::Form::wal_g));

TEST_P(RestoreFromStore, GivesEachFormWithTwoRequests) {
  put(1);
  put(2, Method::zstd);
  put(3, Method::gzip);
  put(4, Method::lz4);
  for (std::uint64_t segno = 1; segno <= 4; ++segno) {
    EXPECT_EQ(ask(name_of(1, segno)), 0) << what_;
    EXPECT_EQ(restored_, content(segno));
    EXPECT_LE(store_.calls.size(), 2u);
  }
}

TEST_P(RestoreFromStore, TellsWhatIsAbsentAndWhatIsMissing) {
  for (const std::uint64_t segno : {1, 2, 3, 5, 6}) put(segno);
  EXPECT_EQ(ask(name_of(1, 7)), 1) << what_;
  EXPECT_LE(store_.calls.size(), 4u);
  EXPECT_EQ(ask(name_of(1, 8)), 1) << what_;
  EXPECT_EQ(ask(name_of(1, 4)), 200);
  EXPECT_NE(what_.find("later segments of this timeline exist"), std::string::npos) << what_;
  EXPECT_LE(store_.calls.size(), 3u);
  EXPECT_EQ(ask("00000002.history"), 1) << what_;
  EXPECT_LE(store_.calls.size(), 4u);
}

// One of them looks for manifests.
TEST_P(RestoreFromStore, NeedsFourRequestsHoweverMuchThereIs) {
  // Whose WAL it is tell those that are looked at; the others are names.
  wal_.grow_to(Lsn(40 * kSize.bytes()));
  for (std::uint64_t segno = 1; segno < 40; ++segno) put(segno);
  constexpr std::uint64_t kMany = 100'000;
  for (std::uint64_t segno = 40; segno < kMany; ++segno)
    store_.objects[key(segno, Method::zstd)] = {};
  WalBuilder far({.start = Lsn((kMany - 1) * kSize.bytes()), .switch_every = 0});
  far.grow_to(Lsn(kMany * kSize.bytes()));
  const auto last = ArchiveBuilder::content(far, kMany - 1);
  store_.place(key(kMany - 1), last);
  EXPECT_EQ(ask(name_of(1, kMany)), 1) << what_;
  EXPECT_LE(store_.calls.size(), 4u);
  EXPECT_EQ(ask("00000002.history"), 1) << what_;
  EXPECT_LE(store_.calls.size(), 4u);
  store_.objects.erase(key(kMany / 2, Method::zstd));
  EXPECT_EQ(ask(name_of(1, kMany / 2)), 200);
  EXPECT_LE(store_.calls.size(), 3u);
}

TEST_P(RestoreFromStore, KnowsThatALaterTimelineLeftBehindIt) {
  put(1);
  put(2);
  put_history(2, "1\t0/400010\tno reason\n");
  EXPECT_EQ(ask(name_of(1, 3)), 200);
  EXPECT_NE(what_.find("00000002.history"), std::string::npos) << what_;
  EXPECT_EQ(ask(name_of(1, 5)), 1) << what_;
  // What lies before its beginning was never written under its number.
  EXPECT_EQ(ask(name_of(2, 2)), 1) << what_;
  EXPECT_EQ(ask("00000002.history"), 0) << what_;
  EXPECT_EQ(ask("00000003.history"), 1) << what_;
  put_history(4, "1\t0/400010\tno reason\n3\t0/500000\tno reason\n");
  EXPECT_EQ(ask("00000003.history"), 200);
}

TEST_P(RestoreFromStore, NeverTakesTroubleForAbsence) {
  for (const std::uint64_t segno : {1, 2, 3}) put(segno);
  put_history(2, "1\t0/800000\tno reason\n");
  // At each call in turn, whatever is asked for.
  for (const auto& file : {name_of(1, 2), name_of(1, 4), name_of(2, 8),
                           std::string("00000002.history"), std::string("00000003.history")}) {
    store_.fault = nullptr;
    const auto expected = ask(file);
    const auto calls = store_.calls.size();
    ASSERT_GT(calls, 0u);
    for (const auto fault :
         {Fault::lost_request, Fault::lost_answer, Fault::throttled, Fault::refused})
      for (std::size_t fatal = 1; fatal <= calls; ++fatal) {
        store_.fault = [&](const MemoryStore::Call& call) {
          return call.number >= fatal ? fault : Fault::none;
        };
        EXPECT_EQ(ask(file), 200) << file << " at " << fatal << " instead of " << expected;
      }
  }
}

TEST_P(RestoreFromStore, TellsOfARecordedHole) {
  put(1);
  put(2);
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = kSize.start(3);
  loss.end = kSize.start(5);
  loss.system_identifier = wal_.options().system_identifier;
  loss.segment_size = kSize;
  const auto local = local_.disk.open();
  archive::record_loss(*local, loss);
  const auto name = archive::loss_record_name(loss.id());
  const auto record = local->open_bytes(name);
  Bytes bytes(record->size());
  ASSERT_EQ(record->read_at(0, bytes), bytes.size());
  EXPECT_EQ(ask(name_of(1, 3)), 1) << "nothing tells of it";
  store_.place(*layout_.key_of(name), bytes);
  EXPECT_EQ(ask(name_of(1, 3)), 200);
  EXPECT_NE(what_.find(" is recorded"), std::string::npos) << what_;
  EXPECT_EQ(ask(name_of(1, 5)), 1) << what_;
}

TEST_P(RestoreFromStore, GivesWhatItsDirectoryLacks) {
  claim();
  for (std::uint64_t segno = 1; segno <= 4; ++segno) put(segno, Method::zstd);
  EXPECT_EQ(ask(name_of(1, 2), true), 0) << what_ << log_.text;
  EXPECT_EQ(ask(name_of(1, 5), true), 1) << what_ << log_.text;
  EXPECT_EQ(log_.text, "") << "an empty directory is as it should be";
  local_.segments(wal_, 4, 6);
  EXPECT_EQ(ask(name_of(1, 4), true), 0) << what_;
  EXPECT_EQ(store_.calls.size(), 0u) << "the store is not asked for what is here";
  EXPECT_EQ(ask(name_of(1, 2), true), 0) << what_;
  EXPECT_EQ(ask(name_of(1, 6), true), 1) << what_;
  // A store in trouble is in nobody's way as long as the file is here, and is no end of the WAL.
  store_.fault = [](const MemoryStore::Call&) { return Fault::refused; };
  EXPECT_EQ(ask(name_of(1, 5), true), 0) << what_;
  EXPECT_EQ(ask(name_of(1, 6), true), 200);
  EXPECT_EQ(ask("00000002.history", true), 200);
}

TEST_P(RestoreFromStore, ChecksWhatItGives) {
  for (std::uint64_t segno = 1; segno <= 3; ++segno) put(segno);
  auto damaged = content(2);
  damaged[kSize.bytes() / 2] ^= std::byte{4};
  store_.place(key(2), damaged);
  EXPECT_EQ(ask(name_of(1, 2)), 200);
  EXPECT_NE(what_.find("damaged WAL"), std::string::npos) << what_;
  // Another sound form of it is as good.
  store_.place(key(2, Method::zstd), verify::packed(Method::zstd, content(2)));
  EXPECT_EQ(ask(name_of(1, 2)), 0) << what_;
  EXPECT_NE(log_.text.find("was restored from its other, valid file"), std::string::npos)
      << log_.text;
  // The directory's copy is damaged: the store's is taken, and that is told.
  log_.text.clear();
  put(3);
  local_.disk.put(name_of(1, 3), damaged);
  EXPECT_EQ(ask(name_of(1, 3), true), 0) << what_;
  EXPECT_NE(log_.text.find("valid file"), std::string::npos) << log_.text;
  options_.system_identifier = 4711;
  EXPECT_EQ(ask(name_of(1, 1)), 200);
  EXPECT_EQ(ask(name_of(1, 9)), 200);
  EXPECT_NE(what_.find("another cluster"), std::string::npos) << what_;
}

TEST_P(RestoreFromStore, FindsNothingAtAWrongPlace) {
  EXPECT_EQ(ask(name_of(1, 1)), 200);
  EXPECT_NE(what_.find("there is no WAL at all at this location of the store"), std::string::npos)
      << what_;
  EXPECT_EQ(ask(name_of(1, 1), true), 200);
  options_.empty_is_absence = true;
  EXPECT_EQ(ask(name_of(1, 1)), 1) << what_;
  EXPECT_EQ(ask(name_of(1, 1), true), 1) << what_;
}

TEST_P(RestoreFromStore, TakesNoPlaceWhereNobodyHasSentAnythingForAnArchive) {
  // Beside a directory that lacks WAL: another prefix, name or layout was meant.
  local_.segments(wal_, 1, 4);
  EXPECT_EQ(ask(name_of(1, 2), true), 0) << what_;
  EXPECT_EQ(ask(name_of(1, 4), true), 200);
  EXPECT_NE(what_.find("there is no WAL at all at this location of the store"), std::string::npos)
      << what_;
  EXPECT_EQ(ask("00000002.history", true), 200);
  options_.empty_is_absence = true;
  EXPECT_EQ(ask(name_of(1, 4), true), 1) << what_;
  EXPECT_EQ(ask("00000002.history", true), 1) << what_;
  options_.empty_is_absence = false;
  // An archiver has begun there, or Barman has sent something.
  claim();
  EXPECT_EQ(ask(name_of(1, 4), true), 1) << what_;
  store_.objects.clear();
  put(3);
  EXPECT_EQ(ask(name_of(1, 4), true), 1) << what_;
}

TEST_P(RestoreFromStore, BelievesTheManifestThatTellsOfWhatIsGone) {
  for (std::uint64_t segno = 1; segno <= 6; ++segno) put(segno);
  put_history(2, "1\t0/400010\tno reason\n");
  store_.place(layout_.key(archive::SegmentFileName{wal::SegmentName(2, 4, kSize)}), content(4));
  tell({name_of(1, 4), name_of(1, 5) + ".zst", name_of(1, 6)}, "one");
  tell({name_of(1, 4), "00000002.history", name_of(2, 4) + ".zst.age"}, "other");
  EXPECT_EQ(ask(name_of(1, 7)), 1) << what_;
  EXPECT_EQ(ask(name_of(2, 5)), 1) << what_;
  EXPECT_EQ(ask("00000003.history"), 1) << what_;
  store_.objects.erase(key(6));
  EXPECT_EQ(ask(name_of(1, 6)), 200);
  EXPECT_NE(what_.find("according to the store's manifest, " + name_of(1, 6) + " was uploaded"),
            std::string::npos)
      << what_;
  store_.objects.erase(key(5));
  EXPECT_EQ(ask(name_of(1, 5)), 200);
  // All that tells of timeline 2.
  store_.objects.erase(key(4, Method::none, 2));
  EXPECT_EQ(ask(name_of(2, 4)), 200);
  store_.objects.erase(layout_.history_key(2));
  EXPECT_EQ(ask("00000002.history"), 200);
  EXPECT_EQ(ask("00000003.history"), 1) << what_;
  // With a directory beside the store, too; and what that has is not missed.
  local_.segments(wal_, 4, 5);
  EXPECT_EQ(ask(name_of(1, 5), true), 200);
  local_.segments(wal_, 5, 7);
  EXPECT_EQ(ask(name_of(1, 6), true), 0) << what_;
  EXPECT_EQ(ask(name_of(1, 7), true), 1) << what_;
}

TEST_P(RestoreFromStore, MissesNothingThatIsStoredWhileItLooks) {
  for (const std::uint64_t segno : {1, 2}) put(segno);
  // Stored with its line behind the listing.
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.key.find("manifest/") != std::string::npos && !store_.objects.contains(key(3))) {
      put(3);
      tell({name_of(1, 3)}, "one");
    }
    return Fault::none;
  };
  EXPECT_EQ(ask(name_of(1, 3)), 0) << what_;
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.key.find("manifest/") != std::string::npos &&
        !store_.objects.contains(layout_.history_key(2))) {
      put_history(2, "1\t0/300010\tno reason\n");
      tell({"00000002.history"}, "two");
    }
    return Fault::none;
  };
  EXPECT_EQ(ask("00000002.history"), 0) << what_;
}

TEST_P(RestoreFromStore, GivesOnlyWhatTheKeyProves) {
  const auto key = store::SignifyKey::make();
  const auto other = store::SignifyKey::make();
  for (std::uint64_t segno = 1; segno <= 3; ++segno) put(segno);
  tell({name_of(1, 1), name_of(1, 2), name_of(1, 3)}, "one", &key);
  keys_ = {key.public_key()};
  EXPECT_EQ(ask(name_of(1, 2)), 0) << what_;
  EXPECT_EQ(restored_, content(2));
  EXPECT_EQ(ask(name_of(1, 4)), 1) << what_;
  // Nobody signed for this one, nor is the end told by it.
  put(4);
  EXPECT_EQ(ask(name_of(1, 5)), 200);
  EXPECT_EQ(ask(name_of(1, 4)), 200);
  EXPECT_NE(what_.find("not listed in a manifest that the public key proves"), std::string::npos)
      << what_;
  // Sound WAL of the same cluster, from a fork of it.
  WalBuilder fork({.seed = 99, .switch_every = 0});
  fork.grow_to(Lsn(10 * kSize.bytes()));
  const auto forged = ArchiveBuilder::content(fork, 3);
  store_.place(this->key(3), forged);
  EXPECT_EQ(ask(name_of(1, 3)), 200);
  EXPECT_NE(what_.find("the object does not match the manifest"), std::string::npos) << what_;
  // The key of whoever has put it there proves nothing.
  tell({name_of(1, 4)}, "two", &other);
  EXPECT_EQ(ask(name_of(1, 4)), 200);
  tell({name_of(1, 4)}, "two", &key);
  EXPECT_EQ(ask(name_of(1, 4)), 0) << what_;
}

TEST_P(RestoreFromStore, LooksAgainForWhatGoesWhileItIsRead) {
  put(1);
  put(2);
  // Pruned between the listing and the reading.
  bool gone = false;
  store_.fault = [&](const MemoryStore::Call& call) {
    if (call.what == "get" && !gone) {
      gone = true;
      store_.objects.erase(key(1));
    }
    return Fault::none;
  };
  EXPECT_EQ(ask(name_of(1, 1)), 200);
  EXPECT_NE(what_.find("later segments"), std::string::npos) << what_;
}

}  // namespace
}  // namespace weir::restore::store_test
