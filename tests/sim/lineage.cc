#include "lineage.h"

#include <algorithm>
#include <array>
#include <memory>

#include "random.h"

namespace weir::sim {

const Lineage& Lineage::variant(std::uint64_t number) {
  static std::array<std::unique_ptr<const Lineage>, kVariants> variants;
  auto& variant = variants[number % kVariants];
  if (!variant) variant.reset(new Lineage(number % kVariants));
  return *variant;
}

Lineage::Lineage(std::uint64_t seed) {
  Random random(seed * 977 + 5);
  testing::WalBuilder::Options options;
  options.seed = seed;
  options.server_major = static_cast<int>(random.between(13, 18));
  options.segment_size = kSegment;
  options.system_identifier = kSystem;
  options.start = wal::Lsn(2 * kSegmentBytes);
  // Some with little in a segment, some full, some with records over many pages.
  options.switch_every = random.coin() ? 60 : 800;
  options.abort_every = random.coin() ? 100 : 0;
  options.large_every = random.coin() ? 20 : 100;
  options.large_body = random.one_in(4) ? 150'000 : 20'000;

  const auto count = random.between(1, 4);
  auto wal = testing::WalBuilder(options);
  wal::Lsn begin;
  std::string ancestry;
  for (wal::TimelineId id = 1; id <= count; ++id) {
    const auto from = id == 1 ? wal.start() : begin;
    auto received = from + random.between(kSegmentBytes / 4, 5 * kSegmentBytes / 2);
    // Now and then the switch is exactly at a segment's end.
    if (random.one_in(3)) received = kSegment.start_of(received) + kSegmentBytes;
    wal.grow_to(received);
    if (kSegment.offset(received) == 0 && wal.fork_point(received) != received && random.coin()) {
      wal.append_switch();
      received = wal.end();
    }
    const auto fork = wal.fork_point(received);
    wal.grow_to(received + kSegmentBytes + kSegmentBytes / 2);
    const bool last = id == count;
    timelines_.push_back({id, begin, received, last ? wal::Lsn() : fork, wal});
    histories_.push_back(ancestry);
    if (last) break;
    wal = wal.fork(fork, id + 1, seed * 131 + id);
    begin = fork;
    ancestry += fmt::format("{}\t{}\tno recovery target specified\n", id, fork);
  }
}

std::span<const std::byte> Lineage::bytes(wal::TimelineId id, wal::Lsn from, wal::Lsn to) const {
  const auto all = timeline(id).wal.bytes();
  return all.subspan(from - start(), to - from);
}

}  // namespace weir::sim
