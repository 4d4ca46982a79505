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

/// An error in WAL, and its position. `at` is the record's or page's start; `found_at` the byte.
struct Damage {
  Lsn at;
  Lsn found_at;
  std::string what;  ///< "incorrect record checksum: expected 0x…, found 0x…"
  /// The header of the record at `at`, if it could be read; it may itself be damaged.
  std::optional<RecordHeader> record = std::nullopt;
  /// The server had not written there so far: zeros, or a page of an earlier segment in the same
  /// place, since it renames old files for later use (RemoveXlogFile() in access/transam/xlog.c).
  bool is_unwritten = false;
};

/// The CRC-32C that a complete record must have in its header: over its body, then over its header
/// up to that field. `record` is the record without page headers, at least kRecordHeaderSize bytes.
[[nodiscard]] std::uint32_t record_crc(std::span<const std::byte> record);

/// Called for every record with a correct CRC, in order. For readers that decode records (commit
/// times, xids). Called from within feed().
class RecordObserver {
 public:
  virtual ~RecordObserver() = default;
  /// Returns true if the observer needs this record's body, which is then collected (bounded by the
  /// record).
  [[nodiscard]] virtual bool wants(const RecordHeader& header) = 0;
  /// Returns true if nothing but the records of the resource manager XLOG concerns the observer:
  /// the others are checked faster then, and most of them are not reported. May change between
  /// records.
  [[nodiscard]] virtual bool needs_xlog_only() const { return false; }
  /// `body` is what follows the 24-byte header, empty if not requested; valid during the call.
  virtual void on_record(Lsn start, Lsn end, const RecordHeader& header,
                         std::span<const std::byte> body) = 0;
};

/// Verifies a stream of WAL as it passes: page headers (magic, address, timeline, system
/// identifier, segment and page size, flags), record headers, prev-links and the CRC-32C of every
/// record, as xlogreader.c does. Pure: keeps no copy of the stream (only a record header, and a
/// body if an observer needs it). Accepts every legal special case: a start in the middle of a
/// record, records that span pages and segments, xlog-switch records and the zeros after them,
/// overwritten continuation records, page headers of an ancestor timeline in the first segment of a
/// new one. One thread. Never throws because of the bytes.
class RecordVerifier {
 public:
  struct Options {
    SegmentSize segment_size{};
    TimelineId timeline = 1;              ///< pages must have this or a lower (ancestor's) timeline
    std::uint64_t system_identifier = 0;  ///< 0: use that of the first long header
    std::optional<int> server_major =
        std::nullopt;                    ///< nullopt: derive the version from the first magic
    RecordObserver* observer = nullptr;  ///< not owned
    /// Start of the last record that starts before the stream (newest_record_start() of the
    /// verifier that read up to there): also checks the first prev-link. nullopt: unknown.
    std::optional<Lsn> previous_record = std::nullopt;
    /// History of `timeline`, not owned: then each page must have exactly the timeline of its first
    /// byte, not just a lower one. nullptr: unknown.
    const TimelineHistory* history = nullptr;
  };

  /// The stream starts at `start`, which must be on a page boundary (usually a segment's first
  /// byte); aborts otherwise.
  RecordVerifier(Options options, Lsn start);

  /// Verifies the next bytes of the stream, in pieces of any size. nullopt: no damage so far. After
  /// damage every further call returns the same damage. If there is no record (zeros, as in a
  /// .partial after its end), `what` says that the WAL ends there. The result does not depend on
  /// how the stream was split into pieces.
  [[nodiscard]] std::optional<Damage> feed(std::span<const std::byte> wal);

  /// A verifier that starts at this one's position, independent of all before it, to check whether
  /// what follows is valid in itself. Has no observer. position() must be on a page boundary.
  [[nodiscard]] RecordVerifier begin_afresh() const;

  /// From now on the stream belongs to another timeline's history, which contains everything
  /// before: the switchpoint's segment, after the old timeline's last one. `history` as in Options.
  void follow(TimelineId timeline, const TimelineHistory* history);

  /// The next expected byte; after damage its found_at.
  [[nodiscard]] Lsn position() const;
  /// End of the last complete, valid record (8-byte aligned), never beyond position(): its
  /// alignment padding must be complete as well. After the filler that follows an xlog-switch
  /// record, the end of the segment. 0/0 before the first record is complete.
  [[nodiscard]] Lsn last_record_end() const;
  /// Start of that record; 0/0 before.
  [[nodiscard]] Lsn last_record_start() const;
  /// The same end, but without the filler after an xlog switch. The filler has no meaning, and
  /// copies of it may differ: it is zeros in the server's file, while walsenders of PostgreSQL 17
  /// and later may send page headers that were still in its buffers (WALReadFromBuffers() in
  /// xlog.c).
  [[nodiscard]] Lsn records_end() const;
  /// Start of the last record that started, complete or not; before the first one
  /// Options.previous_record, or 0/0 without it.
  [[nodiscard]] Lsn newest_record_start() const;
  /// Start of the first record that starts in this stream; 0/0 before it.
  [[nodiscard]] Lsn first_record_start() const;
  /// That record's prev-link (xl_prev), once its header was read; 0/0 before.
  [[nodiscard]] Lsn first_record_previous() const;
  /// True while position() is inside a record (or its alignment padding's page gap).
  [[nodiscard]] bool inside_record() const;
  /// The WAL is from a server newer than the known versions: the content and positions of its
  /// records are uncertain. It is checked as far as it follows the rules of the newest known
  /// version, and feed() still returns damage. Determined by server_major, else by the first page's
  /// magic.
  [[nodiscard]] bool unchecked() const;
  [[nodiscard]] std::uint64_t records() const;
  /// From the first long header, 0 before it.
  [[nodiscard]] std::uint64_t system_identifier() const;

 private:
  /// The expected content; a page header may precede it whenever the position is at a page's start.
  enum class State : std::uint8_t {
    record_header,  ///< the header of a record: a new one as long as have_ is 0
    body,           ///< left_ bytes of the record
    skipped_body,   ///< left_ bytes of a record that started before the stream: not checked
    padding,        ///< zeros up to the next multiple of 8 (ignored)
    filler,         ///< after an xlog-switch record up to the end of the segment (ignored)
    unchecked,      ///< everything that follows: unknown rules
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
  std::array<std::byte, kLongHeaderSize> page_bytes_{};  ///< a page header that arrived in pieces
  bool first_page_ = true;
  std::uint16_t magic_ = 0;  ///< of every page; 0 until known
  int major_ = 0;            ///< the version that writes it
  Lsn unchecked_page_;       ///< the page whose magic disables all checks
  TimelineId page_timeline_ = 0;
  std::uint64_t system_identifier_ = 0;

  // The current record. have_ bytes of its header are in header_bytes_.
  std::array<std::byte, kRecordHeaderSize> header_bytes_{};
  std::size_t have_ = 0;
  Lsn record_start_;
  RecordHeader header_;
  bool header_known_ = false;  ///< header_ is that of the record at record_start_
  std::uint32_t left_ = 0;
  std::uint32_t crc_ = 0;
  bool collect_ = false;   ///< the body is needed, by the observer or by check_overwritten()
  bool observed_ = false;  ///< the observer needs the body
  std::vector<std::byte> body_;

  // Preceding records.
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
