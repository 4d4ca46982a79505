// Pages and records: a verifier fed in one piece and one fed in many must agree, whatever comes.

#include <algorithm>
#include <optional>

#include "fuzz.h"
#include "support/wal_builder.h"
#include "wal/record_verifier.h"

using namespace weir;

namespace {

const auto kSize = *wal::SegmentSize::of(1 << 20);

class TakeAll final : public wal::RecordObserver {
 public:
  bool wants(const wal::RecordHeader& header) override { return header.info % 2 == 0; }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    PGWEIR_CHECK(start < end);
    PGWEIR_CHECK(body.empty() || body.size() + wal::kRecordHeaderSize == header.total_length);
  }
};

struct Outcome {
  std::optional<wal::Damage> damage;
  wal::Lsn position, last_end, last_start, first, newest;
  std::uint64_t records;
};

Outcome feed(std::span<const std::byte> wal, wal::Lsn start, const wal::TimelineHistory* history,
             std::uint64_t cut) {
  TakeAll observer;
  wal::RecordVerifier verifier({.segment_size = kSize,
                                .timeline = history ? history->timeline() : 1,
                                .observer = &observer,
                                .history = history},
                               start);
  std::optional<wal::Damage> damage;
  while (!wal.empty()) {
    // The pieces differ in length, from a byte on.
    cut = cut * 6364136223846793005u + 1442695040888963407u;
    const auto length = cut == 0 ? wal.size() : 1 + (cut >> 33) % ((cut >> 60) % 2 ? 7 : 9000);
    const auto piece = wal.first(std::min<std::uint64_t>(length, wal.size()));
    wal = wal.subspan(piece.size());
    damage = verifier.feed(piece);
    PGWEIR_CHECK(verifier.last_record_end() <= verifier.position());
  }
  return {damage,
          verifier.position(),
          verifier.last_record_end(),
          verifier.last_record_start(),
          verifier.first_record_start(),
          verifier.newest_record_start(),
          verifier.records()};
}

Outcome feed_whole(std::span<const std::byte> wal, wal::Lsn start,
                   const wal::TimelineHistory* history) {
  TakeAll observer;
  wal::RecordVerifier verifier({.segment_size = kSize,
                                .timeline = history ? history->timeline() : 1,
                                .observer = &observer,
                                .history = history},
                               start);
  auto damage = verifier.feed(wal);
  return {damage,
          verifier.position(),
          verifier.last_record_end(),
          verifier.last_record_start(),
          verifier.first_record_start(),
          verifier.newest_record_start(),
          verifier.records()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto wal = fuzz::bytes(data, size);
  const auto how = fuzz::take(wal);
  const auto start = kSize.start(1 + how % 2) + std::uint64_t{wal::kPageSize} * ((how >> 1) % 4);
  const auto history = wal::TimelineHistory::parse(3, "1\t0/104000\tx\n2\t0/106000\tx\n");
  const auto* const used = how >= 128 ? &*history : nullptr;
  const auto whole = feed_whole(wal, start, used);
  const auto pieces = feed(wal, start, used, how + 1);
  PGWEIR_CHECK(whole.damage.has_value() == pieces.damage.has_value());
  PGWEIR_CHECK(!whole.damage || (whole.damage->at == pieces.damage->at &&
                                 whole.damage->found_at == pieces.damage->found_at &&
                                 whole.damage->what == pieces.damage->what));
  PGWEIR_CHECK(whole.position == pieces.position && whole.last_end == pieces.last_end);
  PGWEIR_CHECK(whole.last_start == pieces.last_start && whole.first == pieces.first);
  PGWEIR_CHECK(whole.newest == pieces.newest && whole.records == pieces.records);
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const int major : {13, 15, 18, 19})
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
      testing::WalBuilder builder({.seed = seed,
                                   .server_major = major,
                                   .switch_every = 30,
                                   .abort_every = 10,
                                   .large_every = 8,
                                   .large_body = 20'000});
      const auto start = builder.start();
      for (const unsigned page : {0u, 1u, 3u}) {
        test::Bytes input{static_cast<std::byte>(page << 1)};
        const auto from = start + page * wal::kPageSize;
        const auto wal = builder.bytes(from, from + 5 * wal::kPageSize);
        input.insert(input.end(), wal.begin(), wal.end());
        inputs.push_back(std::move(input));
      }
    }
  return inputs;
}
