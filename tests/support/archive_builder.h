#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "codec/codec.h"
#include "support/bytes.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"
#include "verify/verify.h"

namespace weir::verify {

using testing::WalBuilder;
using wal::Lsn;

inline const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

inline test::Bytes packed(codec::Method method, std::span<const std::byte> raw) {
  if (method == codec::Method::none) return {raw.begin(), raw.end()};
  test::Bytes out;
  const auto sink = [&](std::span<const std::byte> piece) {
    out.insert(out.end(), piece.begin(), piece.end());
  };
  const auto name = std::string(codec::suffix(method)).substr(1);
  const auto compressor = codec::make_compressor(codec::Compression::parse(name == "zst"  ? "zstd"
                                                                           : name == "gz" ? "gzip"
                                                                                          : name),
                                                 raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return out;
}

/// An archive on a simulated disk, written from WAL builders.
class ArchiveBuilder {
 public:
  /// Finished segments [first, behind) of the builder's timeline.
  ArchiveBuilder& segments(WalBuilder& wal, std::uint64_t first, std::uint64_t behind,
                           codec::Method method = codec::Method::none) {
    for (auto segno = first; segno < behind; ++segno)
      disk.put(name(wal, segno, method), packed(method, content(wal, segno)));
    return *this;
  }
  /// The segment that holds `end`, up to there, padded as `tail` says.
  enum class Tail { none, zeros, old };
  ArchiveBuilder& partial(WalBuilder& wal, Lsn end, Tail tail = Tail::zeros,
                          codec::Method method = codec::Method::none) {
    const auto segno = kSize.segno(end);
    const auto start = kSize.start(segno);
    test::Bytes bytes;
    if (end > start) {
      const auto wal_bytes = wal.bytes(start, end);
      bytes.assign(wal_bytes.begin(), wal_bytes.end());
    }
    if (tail == Tail::old) {
      // A recycled file: what an earlier segment had there.
      const auto before = kSize.start(segno - 1);
      const auto old = wal.bytes(before + bytes.size(), before + kSize.bytes());
      bytes.insert(bytes.end(), old.begin(), old.end());
    }
    if (tail == Tail::zeros) bytes.resize(kSize.bytes());
    disk.put(name(wal, segno, method, true), packed(method, bytes));
    return *this;
  }
  ArchiveBuilder& history(wal::TimelineId timeline, const std::string& content) {
    disk.put(wal::history_name(timeline), test::as_bytes(content));
    return *this;
  }

  static std::span<const std::byte> content(WalBuilder& wal, std::uint64_t segno) {
    return wal.bytes(kSize.start(segno), kSize.start(segno + 1));
  }
  static std::string name(const WalBuilder& wal, std::uint64_t segno,
                          codec::Method method = codec::Method::none, bool partial = false) {
    return archive::SegmentFileName{wal::SegmentName(wal.options().timeline, segno, kSize), method,
                                    partial}
        .to_string();
  }
  /// Flips one bit of a file.
  void flip(const std::string& file, std::uint64_t offset, unsigned bit) {
    auto bytes = disk.content(file);
    bytes.at(offset) ^= static_cast<std::byte>(1u << bit);
    disk.put(file, bytes);
  }
  Report verify(Options options = {}) {
    if (options.jobs == 1) options.jobs = jobs;
    const auto directory = disk.open();
    return verify::verify(*directory, options);
  }

  sim::SimDisk disk;
  unsigned jobs = 2;
};

/// A child timeline as a server begins one: its first record says whose successor it is.
inline WalBuilder promote(const WalBuilder& parent, Lsn switchpoint, wal::TimelineId timeline,
                          std::uint64_t seed) {
  auto child = parent.fork(switchpoint, timeline, seed);
  test::Bytes body(2 + 16);
  body[0] = std::byte{255};
  body[1] = std::byte{16};
  const std::uint32_t timelines[] = {timeline, parent.options().timeline};
  std::memcpy(body.data() + 2 + 8, timelines, sizeof(timelines));
  child.append(0, 0x90, body);  // XLOG_END_OF_RECOVERY
  return child;
}

inline std::string history_line(wal::TimelineId timeline, Lsn switchpoint) {
  return std::to_string(timeline) + "\t" + switchpoint.to_string() +
         "\tno recovery target specified\n";
}

}  // namespace weir::verify
