#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::testing {

/// Writes WAL as a PostgreSQL server would, for tests: a deterministic stream of legal pages and
/// records that knows its own record borders. Kept in memory, from `start` to end(); grown by the
/// append functions or, from the seed alone, by grow_to().
///
/// The bytes depend only on the options and the order of the append calls, never on how far or in
/// which steps the stream was grown. Shares no code with the verifier: the CRC is its own.
/// Copyable; a copy grows on by itself to the same bytes. One thread.
class WalBuilder {
 public:
  struct Options {
    std::uint64_t seed = 1;
    int server_major = 18;
    wal::SegmentSize segment_size = *wal::SegmentSize::of(1 << 20);
    wal::TimelineId timeline = 1;
    std::uint64_t system_identifier = 7301234567890123456;
    wal::Lsn start = wal::Lsn(1 << 20);  ///< a segment's first byte
    /// What grow_to() writes: one xlog-switch in so many records, one aborted record, one record
    /// of several pages; 0: none.
    unsigned switch_every = 400;
    unsigned abort_every = 300;
    unsigned large_every = 100;
    std::uint32_t large_body = 60'000;  ///< upper limit of the body of a large one
  };

  enum class Kind {
    ordinary,
    xlog_switch,  ///< the rest of its segment is filler
    aborted,      ///< its continuation was overwritten: never complete, `end` is the page's border
    overwrite,    ///< XLOG_OVERWRITE_CONTRECORD, the first record behind an aborted one
  };

  struct Record {
    wal::Lsn start;
    wal::Lsn end{};            ///< aligned; of an xlog-switch its own, not the segment's
    std::uint32_t length = 0;  ///< xl_tot_len
    wal::Lsn previous;         ///< xl_prev
    std::uint8_t resource_manager = 0;
    std::uint8_t info = 0;
    Kind kind = Kind::ordinary;
  };

  explicit WalBuilder(Options options);

  /// Continues this stream's history on a timeline of its own: the same bytes up to `switchpoint`,
  /// which fork_point() gave, and others behind it. Page headers of the
  /// child's timeline begin with the first page behind the switchpoint, as on a server.
  [[nodiscard]] WalBuilder fork(wal::Lsn switchpoint, wal::TimelineId timeline,
                                std::uint64_t seed) const;

  /// Another server's history on the same timeline: the same bytes up to `from`, which fork_point()
  /// gave, and others behind it. `same_layout`: up to end() records of the same kinds and lengths,
  /// so that each lies where this stream has one, and names the same one before it.
  [[nodiscard]] WalBuilder other_branch(wal::Lsn from, std::uint64_t seed, bool same_layout) const;

  /// One record with this body. Its header may be split over two pages where the position wants it.
  const Record& append(std::uint8_t resource_manager, std::uint8_t info,
                       std::span<const std::byte> body);
  /// One record of `length` bytes in all (24 at least) with a random body.
  const Record& append_random(std::uint32_t length);
  /// An xlog-switch and the filler; nothing (and false), as on a server, at a segment's start.
  bool append_switch();
  /// The head of a record of `length` bytes (more than fit on the page) up to the end of this page
  /// and `pages` more, then a page that overwrites the rest, with the record that says so.
  const Record& append_aborted(std::uint32_t length, unsigned pages = 0);
  /// Appends a record that ends exactly at `end` (aligned, on this page, 24 bytes ahead or more).
  const Record& append_up_to(wal::Lsn end);
  /// Appends as the seed says until end() >= `at`.
  void grow_to(wal::Lsn at);

  [[nodiscard]] wal::Lsn start() const { return options_.start; }
  /// Where the next record's first byte (or the header of its page) goes.
  [[nodiscard]] wal::Lsn end() const { return options_.start + wal_.size(); }
  [[nodiscard]] const Options& options() const { return options_; }

  /// Bytes from `from` to `to`, grown if need be. Valid until the builder grows again.
  [[nodiscard]] std::span<const std::byte> bytes(wal::Lsn from, wal::Lsn to);
  /// All that is there.
  [[nodiscard]] std::span<const std::byte> bytes() const { return wal_; }

  /// Every record so far in order, aborted ones among them.
  [[nodiscard]] const std::vector<Record>& records() const { return records_; }
  /// End of the last record that is complete in the bytes before `at` (of an xlog-switch the
  /// segment's end when the filler is there, too); 0/0 if none is. `at` <= end().
  [[nodiscard]] wal::Lsn complete_end(wal::Lsn at) const;
  /// The last position not behind `at` where a timeline can fork: complete_end(), but never between
  /// an xlog-switch record and its segment's end, since to a server the record reaches to there.
  [[nodiscard]] wal::Lsn fork_point(wal::Lsn at) const;

  /// Address of byte `offset` of a record that starts at `start`, over the page headers between.
  [[nodiscard]] wal::Lsn byte_of_record(wal::Lsn start, std::uint64_t offset) const;

 private:
  std::uint32_t random(std::uint32_t below);
  std::vector<std::byte> random_bytes(std::size_t size);
  std::vector<std::byte> record_bytes(const Record& record, std::span<const std::byte> body) const;
  [[nodiscard]] const Record* last_complete(wal::Lsn at) const;
  wal::Lsn begin_record(bool overwrites);
  void write(std::span<const std::byte> record);
  void write_page_header(std::uint32_t remaining, bool overwrites);
  const Record& add(Kind kind, std::uint8_t resource_manager, std::uint8_t info,
                    std::span<const std::byte> body, bool overwrites = false);
  [[nodiscard]] std::size_t page_header_size(wal::Lsn page) const;
  [[nodiscard]] std::uint64_t room_on_page() const;

  Options options_;
  std::mt19937_64 generator_;
  std::vector<std::byte> wal_;
  std::vector<Record> records_;
  wal::Lsn previous_;  ///< start of the last complete record
  std::uint64_t overwrite_time_ = 0x0002'1234'5678'9ABC;
};

/// CRC-32C as PostgreSQL computes it, table driven.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes);

/// PGWEIR_SEED if set, else `fallback`; prints which, so that a failure can be repeated.
[[nodiscard]] std::uint64_t test_seed(std::uint64_t fallback);

}  // namespace weir::testing
