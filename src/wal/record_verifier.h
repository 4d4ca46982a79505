#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wal/lsn.h"
#include "wal/page.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::wal {

/// What is wrong with WAL, and where. `at` is the record's or page's start; `found_at` the byte.
struct Damage {
  Lsn at;
  Lsn found_at;
  std::string what;  ///< "incorrect record checksum: expected 0x…, found 0x…"
  /// The header of the record at `at`, where it could be read; it may be what is damaged.
  std::optional<RecordHeader> record = std::nullopt;
};

/// The CRC-32C that a whole record must carry in its header: over its body, then over its header
/// up to that field. `record` is the record without page headers, kRecordHeaderSize bytes at least.
[[nodiscard]] std::uint32_t record_crc(std::span<const std::byte> record);

/// Told of every record whose CRC was right, in order. For readers that look into records (commit
/// times, xids). Called from within feed().
class RecordObserver {
 public:
  virtual ~RecordObserver() = default;
  /// True if the observer wants this record's body; then it is collected (bounded by the record).
  [[nodiscard]] virtual bool wants(const RecordHeader& header) = 0;
  /// `body` is what follows the 24 bytes of header, empty if not wanted; valid during the call.
  virtual void on_record(Lsn start, Lsn end, const RecordHeader& header,
                         std::span<const std::byte> body) = 0;
};

/// Checks a stream of WAL while it passes: page headers (magic, address, timeline, system
/// identifier, segment and page size, flags), record headers, prev-links and the CRC-32C of every
/// record, as xlogreader.c does. Pure: bytes in, verdict out; keeps no copy of the stream (only a
/// record header, and a body where an observer wants it). Accepts every legal oddity: a start in
/// the middle of a record, records over pages and segments, xlog-switch records and the zeros
/// behind them, overwritten continuation records, page headers of an ancestor timeline in the
/// first segment of a new one.
/// One thread. Never throws on what the bytes say.
class RecordVerifier {
 public:
  struct Options {
    SegmentSize segment_size{};
    TimelineId timeline = 1;              ///< pages may carry this or a lower (ancestor's) timeline
    std::uint64_t system_identifier = 0;  ///< 0: take it from the first long header
    std::optional<int> server_major =
        std::nullopt;                    ///< nullopt: take the version from the first magic
    RecordObserver* observer = nullptr;  ///< not owned
    /// Start of the last record that begins before the stream's start (newest_record_start() of
    /// the verifier that read up to there): checks the first prev-link, too. nullopt: not known.
    std::optional<Lsn> previous_record = std::nullopt;
    /// That of `timeline`, not owned: then each page must carry the very timeline that its first
    /// byte belongs to, not just a lower one. nullptr: not known.
    const TimelineHistory* history = nullptr;
  };

  /// The stream begins at `start`, which lies on a page boundary (usually a segment's first byte);
  /// aborts if it does not.
  RecordVerifier(Options options, Lsn start);

  /// The next bytes of the stream, in pieces of any size. nullopt: all of it is sound so far.
  /// After damage the verifier stays at it: every further call returns the same damage. Where no
  /// record is (zeros, as in a .partial behind its end), `what` says that the WAL ends there. What
  /// is found, and where, does not depend on how the stream was cut into pieces.
  [[nodiscard]] std::optional<Damage> feed(std::span<const std::byte> wal);

  /// One that begins where this one stands, and knows nothing of what lies before: it tells whether
  /// what comes is sound in itself. Observes nothing. position() must lie on a page boundary.
  [[nodiscard]] RecordVerifier begin_afresh() const;

  /// What is fed from here on belongs to another timeline's history, which contains all that was
  /// fed so far: the segment of a switch, behind the last one of the old timeline. `history` as in
  /// Options.
  void follow(TimelineId timeline, const TimelineHistory* history);

  /// The next byte expected; after damage its found_at.
  [[nodiscard]] Lsn position() const;
  /// End of the last complete, sound record (8-byte aligned), never beyond position(): a record is
  /// complete when its alignment padding is there, too. Once the filler behind an xlog-switch
  /// record has passed, the end of the segment. 0/0 before the first record was complete.
  [[nodiscard]] Lsn last_record_end() const;
  /// Start of that record; 0/0 before.
  [[nodiscard]] Lsn last_record_start() const;
  /// The same end, but without the filler behind an xlog switch. What lies there is of no meaning,
  /// and copies of it may differ: zeros in the server's file, while walsenders of PostgreSQL 17 on
  /// may send page headers that were still in its buffers (WALReadFromBuffers() in xlog.c).
  [[nodiscard]] Lsn records_end() const;
  /// Start of the last record that began, complete or not; Options.previous_record, or 0/0 without
  /// it, before the first one.
  [[nodiscard]] Lsn newest_record_start() const;
  /// Where the first record that begins in this stream begins; 0/0 as long as none did.
  [[nodiscard]] Lsn first_record_start() const;
  /// What that record says of the one before it (xl_prev), once its header has passed; 0/0 before.
  [[nodiscard]] Lsn first_record_previous() const;
  /// True while position() lies inside a record (or its alignment padding's page gap).
  [[nodiscard]] bool inside_record() const;
  /// The WAL is of a server newer than we know: what its records say, and where they are, is not
  /// known for sure; it is checked as far as it follows the rules of the newest version we know,
  /// and feed() still returns damage. Decided by server_major, else by the first page's magic.
  [[nodiscard]] bool unchecked() const;
  [[nodiscard]] std::uint64_t records() const;
  /// From the first long header, 0 before it.
  [[nodiscard]] std::uint64_t system_identifier() const;

 private:
  /// What comes next; a page header may come between, wherever the position is at a page's start.
  enum class State : std::uint8_t {
    record_header,  ///< the header of a record: a new one as long as have_ is 0
    body,           ///< left_ bytes of the record
    skipped_body,   ///< left_ bytes of a record that began before the stream: not checked
    padding,        ///< zeros up to the next multiple of 8 (not looked at)
    filler,         ///< behind an xlog-switch record up to the end of the segment (not looked at)
    unchecked,      ///< all that follows: rules that we do not know
  };

  std::size_t take_page_header(std::span<const std::byte> wal);
  void check_page(const PageHeader& page);
  bool check_version(Lsn at, const PageHeader& page);
  std::size_t skip_unchecked(std::span<const std::byte> wal);
  void forget_records();
  bool check_cluster(Lsn at, const PageHeader& page);
  bool check_continuation(Lsn at, const PageHeader& page);
  void drop_record();
  std::size_t take_page_content(std::span<const std::byte> page);
  std::size_t take_plain_records(std::span<const std::byte> page);
  bool check_length();
  bool check_header();
  void begin_body();
  void end_of_body(std::span<const std::byte> body);
  bool check_overwritten(std::span<const std::byte> body);
  void begin_padding();
  void finish_record();
  std::size_t skip_filler(std::size_t available);
  bool fail(Lsn at, Lsn found_at, std::string what);

  [[nodiscard]] std::size_t page_header_size(Lsn at) const;
  [[nodiscard]] Lsn byte_of_record(std::uint64_t offset) const;
  [[nodiscard]] std::uint32_t bytes_left_of_record() const;
  [[nodiscard]] bool is_overwrite_record() const;

  Options options_;
  Lsn position_;
  State state_ = State::record_header;
  std::optional<Damage> damage_;

  // Pages.
  std::array<std::byte, kLongHeaderSize> page_bytes_{};  ///< a page header that came in pieces
  bool first_page_ = true;
  std::uint16_t magic_ = 0;  ///< of every page; 0 until known
  int major_ = 0;            ///< the version that writes it
  Lsn unchecked_page_;       ///< the page by whose magic nothing is checked
  TimelineId page_timeline_ = 0;
  std::uint64_t system_identifier_ = 0;

  // The record being read. have_ bytes of its header are in header_bytes_.
  std::array<std::byte, kRecordHeaderSize> header_bytes_{};
  std::size_t have_ = 0;
  Lsn record_start_;
  RecordHeader header_;
  bool header_known_ = false;  ///< header_ is that of the record at record_start_
  std::uint32_t left_ = 0;
  std::uint32_t crc_ = 0;
  bool collect_ = false;   ///< the body is wanted, by the observer or by check_overwritten()
  bool observed_ = false;  ///< the observer wants the body
  std::vector<std::byte> body_;

  // The records before it.
  std::optional<Lsn> previous_;     ///< what its prev-link must be
  bool after_overwrite_ = false;    ///< it is the first on a page that overwrites a continuation
  std::optional<Lsn> overwritten_;  ///< start of the record whose continuation that page overwrites
  Lsn newest_record_start_;
  Lsn first_record_start_;
  Lsn first_record_previous_;
  Lsn last_record_start_;
  Lsn last_record_end_;
  Lsn records_end_;
  std::uint64_t records_ = 0;
};

}  // namespace weir::wal
