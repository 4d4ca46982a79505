#include "lineage.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <tuple>

#include "random.h"
#include "support/archive_builder.h"
#include "wal/page.h"

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
  options.server_major = static_cast<int>(random.between(13, 19));
  options.segment_size = kSegment;
  options.system_identifier = kSystem;
  options.start = wal::Lsn(2 * kSegmentBytes);
  // Some with little in a segment, some full, some with records over many pages: so a timeline may
  // be left in a record that is longer than a segment, or behind segments that are mostly empty.
  constexpr std::array kSwitchEvery{20U, 60U, 800U};
  options.switch_every = kSwitchEvery[random.below(kSwitchEvery.size())];
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
    // And some go on long enough for a disk that hangs, and for pruning.
    if (id == count && random.one_in(3)) received = received + 6 * kSegmentBytes;
    wal.grow_to(received);
    if (kSegment.offset(received) == 0 && wal.fork_point(received) != received && random.coin()) {
      wal.append_switch();
      received = wal.end();
    }
    const auto fork = wal.fork_point(received);
    wal.grow_to(received + kSegmentBytes + kSegmentBytes / 2);
    const bool last = id == count;
    // What a server has flushed ends with a record or a page.
    if (last)
      received =
          random.coin() ? wal.complete_end(received) : wal::Lsn(received.byte() / 8192 * 8192);
    timelines_.push_back({id, begin, received, last ? wal::Lsn() : fork, wal});
    histories_.push_back(ancestry);
    if (last) break;
    wal = verify::promote(wal, fork, id + 1, seed * 131 + id);
    begin = fork;
    ancestry += fmt::format("{}\t{}\tno recovery target specified\n", id, fork);
  }
  make_sibling(random, seed);
  const auto& last = timelines_.back();
  const auto from = last.id == 1 ? last.wal.start() : last.begin;
  if (last.received < from + 4 * kSegmentBytes) return;
  const auto fork = last.wal.fork_point(from + random.between(5'000, kSegmentBytes));
  other_branch_ = OtherBranch{fork, last.wal.other_branch(fork, seed + 7777, true),
                              last.wal.other_branch(fork, seed + 8888, false)};
  other_branch_->same_layout.grow_to(last.received + 4 * kSegmentBytes);
  other_branch_->own_layout.grow_to(last.received + 4 * kSegmentBytes);
}

void Lineage::make_sibling(Random& random, std::uint64_t seed) {
  if (timelines_.size() < 2) return;
  const auto& parent = timelines_[timelines_.size() - 2];
  const auto from = parent.id == 1 ? parent.wal.start() : parent.begin;
  const auto fork =
      parent.wal.fork_point(from + random.between(2'000, parent.wal.end() - from - 2'000));
  if (fork == parent.switchpoint || fork <= from) return;
  const auto id = newest() + (random.coin() ? 1 : 0);
  auto wal = verify::promote(parent.wal, fork, id, seed * 577 + id);
  wal.grow_to(fork + 2 * kSegmentBytes);
  const auto before = parent.id == 1 ? std::string() : history(parent.id);
  sibling_ =
      Sibling{id, fork, std::move(wal),
              before + fmt::format("{}\t{}\tno recovery target specified\n", parent.id, fork)};
}

std::span<const std::byte> Lineage::bytes(wal::TimelineId id, wal::Lsn from, wal::Lsn to) const {
  const auto all = timeline(id).wal.bytes();
  return all.subspan(from - start(), to - from);
}

std::optional<wal::Lsn> Lineage::first_wrong(wal::TimelineId id, wal::Lsn at,
                                             std::span<const std::byte> wal) const {
  const auto truth = bytes(id, at, at + wal.size());
  // Nearly always: and this takes a tenth of the time.
  if (std::memcmp(truth.data(), wal.data(), wal.size()) == 0) return std::nullopt;
  auto [expected, found] = std::mismatch(truth.begin(), truth.end(), wal.begin());
  while (expected != truth.end()) {
    const auto byte = at + static_cast<std::uint64_t>(expected - truth.begin());
    if (is_read(id, byte)) return byte;
    std::tie(expected, found) = std::mismatch(expected + 1, truth.end(), found + 1);
  }
  return std::nullopt;
}

bool Lineage::is_read(wal::TimelineId id, wal::Lsn byte) const {
  using Kind = testing::WalBuilder::Kind;
  const auto& wal = timeline(id).wal;
  const auto& records = wal.records();
  const auto record = std::partition_point(
      records.begin(), records.end(),
      [&](const testing::WalBuilder::Record& each) { return each.end <= byte; });
  const auto before = record == records.begin() ? record : std::prev(record);
  if (before != record && before->kind == Kind::xlog_switch && kSegment.offset(before->end) != 0 &&
      kSegment.segno(before->end) == kSegment.segno(byte))
    return false;
  const auto in_page = byte.byte() % wal::kPageSize;
  const auto header =
      kSegment.offset(byte) < wal::kPageSize ? wal::kLongHeaderSize : wal::kShortHeaderSize;
  // (Behind xlp_rem_len, XLogPageHeaderData has four bytes of padding.)
  if (in_page < header) return in_page < 20 || in_page >= 24;
  if (record == records.end() || byte < record->start) return true;
  return record->kind != Kind::aborted &&
         byte <= wal.byte_of_record(record->start, record->length - 1);
}

wal::Lsn Lineage::record_end(wal::TimelineId id, wal::Lsn lsn) const {
  const auto& records = timeline(id).wal.records();
  const auto record = std::partition_point(
      records.begin(), records.end(),
      [&](const testing::WalBuilder::Record& each) { return each.end <= lsn; });
  return record == records.end() ? end(id) : record->end;
}

void Lineage::take_over_aborted(wal::TimelineId id, wal::Lsn start,
                                std::span<std::byte> wal) const {
  for (const auto& record : timeline(id).wal.records()) {
    if (record.kind != testing::WalBuilder::Kind::aborted) continue;
    const auto header_end = record.start + wal::kRecordHeaderSize;
    const auto end = std::min(record.end, start + wal.size());
    // One that begins in the segment before continues after this one's page header.
    const bool began_before = header_end <= start && record.end > start;
    const auto from = began_before ? start + wal::kLongHeaderSize : record.start;
    if (began_before ? from >= end : record.start < start || header_end > end) continue;
    const auto truth = bytes(id, from, end);
    const auto got = wal.subspan(from - start, truth.size());
    if (began_before ||
        std::equal(got.begin(), got.begin() + wal::kRecordHeaderSize, truth.begin()))
      std::copy(truth.begin(), truth.end(), got.begin());
  }
}

wal::Lsn Lineage::first_read_from(wal::TimelineId id, wal::Lsn lsn) const {
  const auto& records = timeline(id).wal.records();
  const auto record = std::partition_point(
      records.begin(), records.end(),
      [&](const testing::WalBuilder::Record& each) { return each.end <= lsn; });
  return record != records.end() && record->start < lsn ? record->end : lsn;
}

std::optional<Lineage::Spot> Lineage::spot(wal::TimelineId id, wal::Lsn from, wal::Lsn to,
                                           Random& random) const {
  constexpr std::uint64_t kPage = 8192;
  const auto at = from + random.below(to - from);
  if (random.one_in(4)) {
    // Of a page header the magic and the address; a timeline may turn into an older one unnoticed.
    const auto page = wal::Lsn(at.byte() / kPage * kPage);
    const auto byte = page + (random.coin() ? random.below(2) : 8 + random.below(8));
    // (The header as a whole: a walsender does not cut one. Behind an xlog-switch there is none.)
    if (page < from || page + 40 > to || bytes(id, page, page + 1)[0] == std::byte{0})
      return std::nullopt;
    return Spot{byte, page, page + 24, true};
  }
  const auto& wal = timeline(id).wal;
  const auto& records = wal.records();
  const auto record =
      std::partition_point(records.begin(), records.end(),
                           [&](const testing::WalBuilder::Record& each) { return each.end <= at; });
  if (record == records.end() || record->start > at ||
      record->kind == testing::WalBuilder::Kind::aborted)
    return std::nullopt;
  // Not its length: a reader that takes it for a longer record knows better only at the next page.
  const auto byte = wal.byte_of_record(record->start, 4 + random.below(record->length - 4));
  if (byte < from || byte >= to) return std::nullopt;
  return Spot{byte, record->start, record->end};
}

}  // namespace weir::sim
