#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/wal_reader.h"
#include "base/error.h"
#include "base/growing_buffer.h"
#include "io/shelf.h"
#include "relay/served.h"
#include "wal/record_verifier.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// The WAL of the archive as it may be sent (P11): each page's header was verified, and each byte
/// belongs to a record that was read to its end and has the right checksum, or follows an xlog
/// switch. Incomplete records are not sent, because no client could use them; except for one that
/// the next timeline overwrites, since a client gets all of a timeline. If the records of one file
/// of a segment are damaged, and there is another file, that is read.
///
/// A record that is larger than its buffer is verified first and then read again. One reader, one
/// position, one thread; does not own the shelf. Memory: some MB at most.
class CheckedWal {
 public:
  /// From `start` on, which is a position of the history. The WAL before it in its segment is read,
  /// too, and the segment before, if a record crosses the boundary. Throws Error{io}.
  CheckedWal(io::Shelf& archive, const Cluster& cluster, wal::TimelineHistory history,
             wal::Lsn start);
  CheckedWal(const CheckedWal&) = delete;
  CheckedWal& operator=(const CheckedWal&) = delete;

  /// Why the WAL there cannot be sent: for the client, and for the log.
  struct Trouble {
    wire::ErrorReport report;
    Error error;
  };
  struct Read {
    std::span<const std::byte> wal;  ///< valid until the next call; empty: no more, as yet
    std::optional<Trouble> trouble = std::nullopt;  ///< then nothing can be read here any more
    /// Damage of a file that was replaced by another file of the segment: to be logged.
    std::optional<Error> passed_over = std::nullopt;
  };
  /// Reasonable maximum number of bytes to read at once.
  static constexpr std::size_t kMostRead = std::size_t{128} << 10;
  /// Returns the next bytes, before `limit` and `most` at most, which are two pages or more; cut at
  /// a page if more follow. Nothing after `limit` is read: it is not durable, or not on this
  /// timeline. Throws Error{io}.
  [[nodiscard]] Read read(wal::Lsn limit, std::size_t most = kMostRead);
  /// The memory that contains `wal`, which the last read() has returned, if much of it is that; the
  /// bytes are not moved. `other` takes its place, and its content is lost. nullopt: they have to
  /// be copied.
  [[nodiscard]] std::optional<GrowingBuffer> hand_over(std::span<const std::byte> wal,
                                                       GrowingBuffer& other);

  [[nodiscard]] wal::Lsn position() const { return from_; }
  [[nodiscard]] const wal::TimelineHistory& history() const { return *history_; }

 private:
  struct Got {
    std::size_t count = 0;
    std::optional<Trouble> trouble = std::nullopt;
  };
  [[nodiscard]] std::optional<Trouble> read_ahead(wal::Lsn limit, std::size_t most);
  void note_unfinished(const archive::SegmentFileName& file);
  [[nodiscard]] std::optional<Trouble> prove_file(wal::Lsn at);
  bool take_other_form(const wal::Damage& damage);
  template <typename Names>
  [[nodiscard]] bool has_another(const Names& forms) const;
  void begin_segment_again();
  void make_room();
  [[nodiscard]] Read give(wal::Lsn end, std::size_t most);
  [[nodiscard]] wal::Lsn checked() const;
  [[nodiscard]] bool ends_a_timeline(wal::Lsn limit) const;
  [[nodiscard]] bool is_overwritten_from(wal::Lsn limit) const;
  [[nodiscard]] std::optional<Trouble> never_continued(wal::Lsn limit);
  [[nodiscard]] bool is_left(const archive::SegmentFileName& file) const;
  [[nodiscard]] bool has_begun_behind(wal::SegmentName segment) const;
  [[nodiscard]] archive::WalReader::Options reader_options() const;
  [[nodiscard]] Got read_at(archive::WalReader& reader, wal::Lsn at, std::span<std::byte> into);

  io::Shelf& archive_;
  const Cluster cluster_;
  const std::unique_ptr<const wal::TimelineHistory> history_;  ///< used by the verifier
  wal::Lsn from_;                                              ///< next position to return
  wal::Lsn limit_;
  wal::RecordVerifier verifier_;
  /// As it was at the first byte of the segment that is read.
  std::optional<wal::RecordVerifier> segment_begin_;
  std::set<std::string> left_out_;  ///< files with damaged records, or too little
  wal::Lsn looked_again_up_to_;     ///< the limit when partial ones were left out no more
  std::string proved_;              ///< a file that was read to its end
  std::optional<Error> passed_over_;
  std::optional<Trouble> trouble_;                    ///< found after the bytes that are still to
                                                      ///< be given
  std::vector<archive::SegmentFileName> unfinished_;  ///< of those that were read, in order
  std::optional<archive::WalReader> reader_;
  /// Bytes read before verifier_.position(), from buffer_begin_ on: maybe not from from_ on.
  GrowingBuffer buffer_;
  wal::Lsn buffer_begin_;
  std::optional<archive::WalReader> again_;
  std::vector<std::byte> again_bytes_;
};

}  // namespace weir::relay
